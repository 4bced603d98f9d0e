// SPDX-License-Identifier: GPL-2.0
/* Latency of a kernel function: one session program, its start time in the session's cookie. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "funclat.h"

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stats);
} stats SEC(".maps");

static int slot_of(__u64 ns)
{
	int slot = 0;

	while (ns > 1 && slot < SLOTS - 1) {
		ns >>= 1;
		slot++;
	}
	return slot;
}

/* Takes the place of the shortest of the slow calls, if it was longer. */
static void keep_if_slow(struct stats *s, __u64 *ctx, __u64 ns)
{
	struct call *least = &s->slowest[0];
	int i;

	for (i = 1; i < SLOWEST; i++)
		if (s->slowest[i].ns < least->ns)
			least = &s->slowest[i];
	if (ns <= least->ns)
		return;

	least->ns = ns;
	least->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(least->comm, sizeof(least->comm));
	bpf_get_func_ret(ctx, &least->ret);
}

/* The function is chosen at run time, so its arguments are not known here. With a fixed one this would be
 * SEC("fsession/vfs_read") int BPF_PROG(read_latency, struct file *file, ..., ssize_t ret)
 */
SEC("fsession")
int funclat(__u64 *ctx)
{
	__u64 *started = bpf_session_cookie(ctx);
	__u64 now = bpf_ktime_get_ns();
	struct stats *s;
	__u32 key = 0;

	s = bpf_map_lookup_elem(&stats, &key);
	if (!s)
		return 0;

	if (!bpf_session_is_return(ctx)) {
		__sync_fetch_and_add(&s->entries, 1);
		*started = now;
		return 0;
	}

	/* another task may be preempted right here on this CPU */
	__sync_fetch_and_add(&s->returns, 1);
	__sync_fetch_and_add(&s->slots[slot_of(now - *started)], 1);
	keep_if_slow(s, ctx, now - *started);
	return 0;
}

// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
/* Latency of kernel functions: a session on each, its start time in the session's cookie. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "funclat.h"
#include "trace.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * Frames to skip: the program's and the trampoline's. On arm64 bpf_get_stack() reports the
 * program twice.
 */
#ifdef __TARGET_ARCH_arm64
#define OWN_FRAMES	3
#else
#define OWN_FRAMES	2
#endif

const volatile __u32 cpus = 1;
const volatile __u64 slow_ns = ~0ULL;	/* calls that take at least as long are sent */
const volatile bool only_failed = false;
const volatile __u32 string_size = 64;
const volatile __u32 stack_size = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);		/* functions * cpus */
	__type(key, __u32);
	__type(value, struct stats);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

static __always_inline __u32 slot_of(__u64 ns)
{
	__u32 slot = 0, bits;

	for (bits = SLOTS / 2; bits; bits /= 2) {
		if (ns >> bits) {
			ns >>= bits;
			slot += bits;
		}
	}
	return slot;
}

static __always_inline bool failed(__u64 *ctx, union identity self)
{
	__u64 value = 0;
	__s64 number;

	bpf_get_func_ret(ctx, &value);
	number = self.error_size == 4 ? (__s32)value : (__s64)value;
	return self.error_size && number < 0 && number >= -MAX_ERRNO;
}

static __always_inline int read_string(char *to, const void *from)
{
	int len = bpf_probe_read_kernel_str(to, string_size, from);

	return len > 0 ? len : bpf_probe_read_user_str(to, string_size, from);
}

static __always_inline void send(__u64 *ctx, struct stats *s, union identity self, __u64 now,
				 __u64 ns)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct event *e;
	char *strings;
	int i;

	e = bpf_ringbuf_reserve(&events, sizeof(*e) + stack_size + STRINGS * string_size, 0);
	if (!e) {
		__sync_fetch_and_add(&s->lost, 1);
		return;
	}
	e->returned = now;
	e->ns = ns;
	e->func = self.func;
	e->pid = id >> 32;
	e->tid = id;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	for (i = 0; i < MAX_ARGS; i++)
		bpf_get_func_arg(ctx, i, &e->values[i]);
	bpf_get_func_ret(ctx, &e->values[RETURNED]);
	e->stack_size = -1;
	if (stack_size)
		e->stack_size = bpf_get_stack(ctx, e->stack, stack_size, OWN_FRAMES);
	strings = (char *)e->stack + stack_size;
	for (i = 0; i < STRINGS; i++)
		if (self.strings[i] < MAX_VALUES)
			e->lengths[i] = read_string(strings + i * string_size,
						    (void *)e->values[self.strings[i]]);
	bpf_ringbuf_submit(e, 0);
}

SEC("fsession")
int funclat(__u64 *ctx)
{
	union identity self = { .cookie = bpf_get_attach_cookie(ctx) };
	__u64 *started = bpf_session_cookie(ctx);
	__u64 now = bpf_ktime_get_ns(), ns, longest;
	__u32 key = self.func * cpus + bpf_get_smp_processor_id();
	struct stats *s = bpf_map_lookup_elem(&stats, &key);
	int i;

	if (!s)
		return 0;

	/* use atomics: another task may have been preempted in this program on this CPU */
	if (!bpf_session_is_return(ctx)) {
		if (!trace_matches())
			return 0;
		__sync_fetch_and_add(&s->entries, 1);
		*started = bpf_ktime_get_ns();
		return 0;
	}
	if (!*started || trace_ended)
		return 0;

	__sync_fetch_and_add(&s->returns, 1);
	if (only_failed && !failed(ctx, self))
		return 0;

	ns = now - *started;
	__sync_fetch_and_add(&s->calls, 1);
	__sync_fetch_and_add(&s->total, ns);
	__sync_fetch_and_add(&s->slots[slot_of(ns) % SLOTS], 1);
	for (i = 0; i < 8; i++) {
		longest = s->longest;
		if (ns <= longest || __sync_bool_compare_and_swap(&s->longest, longest, ns))
			break;
	}
	if (ns >= slow_ns)
		send(ctx, s, self, now, ns);
	return 0;
}

// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
/*
 * The calls in flight in kernel functions. Each call claims a struct call at its entry. The session
 * cookie holds the index of the struct until the return, which frees it with one store. There is no
 * lock and no hash map.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "inflight.h"
#include "trace.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define UNLISTED	~0ULL	/* cookie of a call that is counted but has no struct call */
#define TRIES		64

const volatile __u32 max_calls = 1;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);		/* functions */
	__type(key, __u32);
	__type(value, struct gauge);
} gauges SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);		/* max_calls */
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

/* Returns the cookie: 1 + the index of the struct call, or UNLISTED if none is free. */
static __always_inline __u64 claim_call(__u32 func)
{
	__u32 key = bpf_get_prandom_u32() % max_calls;
	__u64 id = bpf_get_current_pid_tgid();
	struct call *c;
	int i;

	for (i = 0; i < TRIES; i++, key = key + 1 < max_calls ? key + 1 : 0) {
		c = bpf_map_lookup_elem(&calls, &key);
		if (!c || !__sync_bool_compare_and_swap(&c->since, 0, WRITING))
			continue;
		c->func = func;
		c->pid = id >> 32;
		c->tid = id;
		bpf_get_current_comm(c->comm, sizeof(c->comm));
		__sync_lock_test_and_set(&c->since, bpf_ktime_get_ns());
		return key + 1ULL;
	}
	return UNLISTED;
}

SEC("fsession")
int inflight(__u64 *ctx)
{
	__u64 *cookie = bpf_session_cookie(ctx);
	__u32 key = bpf_get_attach_cookie(ctx);
	struct gauge *g = bpf_map_lookup_elem(&gauges, &key);
	struct call *c;

	if (!g)
		return 0;

	if (!bpf_session_is_return(ctx)) {
		if (!trace_matches())
			return 0;
		*cookie = claim_call(key);
		__sync_fetch_and_add(&g->entered, 1);
		if (*cookie == UNLISTED)
			__sync_fetch_and_add(&g->unlisted_entered, 1);
		return 0;
	}
	if (!*cookie)
		return 0;

	__sync_fetch_and_add(&g->returned, 1);
	if (*cookie == UNLISTED) {
		__sync_fetch_and_add(&g->unlisted_returned, 1);
		return 0;
	}
	key = *cookie - 1;
	c = bpf_map_lookup_elem(&calls, &key);
	if (c)
		__sync_lock_test_and_set(&c->since, 0);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/* BPF programs whose functions are traced or replaced, and the replacements. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

#define CALLEES 4

const void *user_page;
__u64 replaced_calls;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, CALLEES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} callees SEC(".maps");

static __always_inline void dwell(void)
{
	__u64 start = bpf_ktime_get_ns();
	int i;

	if (start % 64)
		return;
	bpf_for(i, 0, 1 << 16) {
		if (bpf_ktime_get_ns() - start > 200000)
			break;
	}
}

SEC("syscall")
int sleeping_target(void *ctx)
{
	char c;

	dwell();
	if (bpf_get_prandom_u32() % 32 == 0)
		bpf_copy_from_user(&c, sizeof(c), user_page);
	return 0;
}

SEC("tc")
int calling_target(struct __sk_buff *skb)
{
	dwell();
	bpf_tail_call(skb, &callees, bpf_get_prandom_u32() % CALLEES);
	return 0;
}

SEC("tc")
int target_callee(struct __sk_buff *skb)
{
	dwell();
	return 0;
}

__noinline int replaced(struct __sk_buff *skb)
{
	dwell();
	return skb->len;
}

SEC("tc")
int replaced_main(struct __sk_buff *skb)
{
	return replaced(skb);
}

__noinline int replaced_calling(struct __sk_buff *skb)
{
	volatile int ret = 0;

	dwell();
	bpf_tail_call_static(skb, &callees, 0);
	return ret;
}

SEC("tc")
int replaced_calling_main(struct __sk_buff *skb)
{
	return replaced_calling(skb);
}

__noinline int thrower(struct __sk_buff *skb)
{
	dwell();
	if (bpf_get_prandom_u32() % 2)
		bpf_throw(0);
	return skb->len;
}

SEC("tc")
int thrower_main(struct __sk_buff *skb)
{
	return thrower(skb);
}

SEC("freplace")
int replacement(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&replaced_calls, 1);
	dwell();
	return 0;
}

SEC("freplace")
int replacement_calling(struct __sk_buff *skb)
{
	volatile int ret = 0;

	__sync_fetch_and_add(&replaced_calls, 1);
	dwell();
	bpf_tail_call_static(skb, &callees, 0);
	return ret;
}

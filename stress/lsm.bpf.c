// SPDX-License-Identifier: GPL-2.0
/* Programs for 11 LSM hooks of a cgroup, one more than CGROUP_LSM_NUM. The first hook has two. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

__u64 counted_calls;
__u64 denied_calls;

/* stays attached */
SEC("lsm_cgroup/socket_create")
int counted(__u64 *ctx)
{
	__sync_fetch_and_add(&counted_calls, 1);
	return 1;
}

SEC("lsm_cgroup/socket_create")
int denied(__u64 *ctx)
{
	if (bpf_get_prandom_u32() % 4)
		return 1;
	__sync_fetch_and_add(&denied_calls, 1);
	return 0;
}

#define HOOK(hook)			\
	SEC("lsm_cgroup/" #hook)	\
	int hook(__u64 *ctx)		\
	{				\
		return 1;		\
	}

HOOK(socket_socketpair)
HOOK(socket_bind)
HOOK(socket_connect)
HOOK(socket_listen)
HOOK(socket_sendmsg)
HOOK(socket_recvmsg)
HOOK(socket_getsockname)
HOOK(socket_getpeername)
HOOK(socket_getsockopt)
HOOK(socket_setsockopt)

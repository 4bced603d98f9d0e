// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

__u64 calls = 0, bytes = 0, ns = 0;

SEC("fsession/vfs_read")
int BPF_PROG(read_latency, struct file *file, char *buf, size_t count, loff_t *pos, ssize_t ret)
{
	__u64 *started = bpf_session_cookie(ctx);

	if (!bpf_session_is_return(ctx)) {
		*started = bpf_ktime_get_ns();	/* at the entry ret reads 0 */
		return 0;
	}
	if (ret > 0) {
		__sync_fetch_and_add(&calls, 1);
		__sync_fetch_and_add(&bytes, ret);
		__sync_fetch_and_add(&ns, bpf_ktime_get_ns() - *started);
	}
	return 0;
}

/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */
/* Which calls the tools here look at. */
#ifndef TRACE_BPF_H
#define TRACE_BPF_H

const volatile __u32 only_pid;	/* of a process or of a thread; 0: of all */
const volatile __u32 own_pid;	/* the tool: what it does itself is left out */
bool ended;			/* what enters from now on does not count */

static __always_inline bool watched(void)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tgid = id >> 32, tid = id;

	return !ended && tgid != own_pid && (!only_pid || tgid == only_pid || tid == only_pid);
}

#endif

/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */
/* Decides whether the tool traces a call. */
#ifndef TRACE_BPF_H
#define TRACE_BPF_H

#include "trace_filter.h"

const volatile struct trace_filter trace_filter;
bool trace_ended;		/* set by the tool: later calls are not counted */

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} trace_cgroup SEC(".maps");

static __always_inline bool trace_pid_matches(void)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tgid = id >> 32, tid = id, i;

	if (tgid == trace_filter.own_pid)
		return false;
	for (i = 0; i < TRACE_MAX_PIDS && i < trace_filter.nr_pids; i++)
		if (trace_filter.pids[i] == tgid || trace_filter.pids[i] == tid)
			return true;
	return !trace_filter.nr_pids;
}

static __always_inline bool trace_comm_matches(void)
{
	union trace_comm comm;
	__u32 i;

	if (!trace_filter.nr_comms)
		return true;
	bpf_get_current_comm(comm.text, sizeof(comm.text));
	for (i = 0; i < TRACE_MAX_COMMS && i < trace_filter.nr_comms; i++)
		if (trace_filter.comms[i].words[0] == comm.words[0] &&
		    trace_filter.comms[i].words[1] == comm.words[1])
			return true;
	return false;
}

static __always_inline bool trace_matches(void)
{
	return !trace_ended && trace_pid_matches() && trace_comm_matches() &&
	       (!trace_filter.by_cgroup || bpf_current_task_under_cgroup(&trace_cgroup, 0) == 1);
}

#endif

/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */
/* Which calls a tool traces. The tool sets it, its BPF program reads it. */
#ifndef TRACE_FILTER_H
#define TRACE_FILTER_H

#define TRACE_MAX_PIDS	32
#define TRACE_MAX_COMMS	8
#define TRACE_COMM_SIZE	16	/* TASK_COMM_LEN */

union trace_comm {
	char text[TRACE_COMM_SIZE];
	unsigned long long words[TRACE_COMM_SIZE / 8];
};

struct trace_filter {
	unsigned int own_pid;		/* the tool's: what it does itself is left out */
	unsigned int nr_pids;		/* 0: all */
	unsigned int nr_comms;		/* 0: all */
	unsigned int by_cgroup;		/* only tasks in the cgroup that the map has */
	unsigned int pids[TRACE_MAX_PIDS];	/* of processes or of threads */
	union trace_comm comms[TRACE_MAX_COMMS];
};

#endif

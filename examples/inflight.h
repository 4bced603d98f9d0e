/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */
#ifndef INFLIGHT_H
#define INFLIGHT_H

/* One for each function. Calls in flight: entered - returned. */
struct gauge {
	unsigned long long entered;
	unsigned long long returned;
	unsigned long long unlisted_entered;	/* entered without a struct call */
	unsigned long long unlisted_returned;
};

/* A call in flight */
struct call {
	unsigned long long since;	/* 0: free; WRITING: taken, the rest isn't there yet */
	unsigned int func;
	unsigned int pid;
	unsigned int tid;
	char comm[16];
};

#define WRITING	1

#endif

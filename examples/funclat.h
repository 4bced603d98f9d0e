/* SPDX-License-Identifier: GPL-2.0 */
#ifndef FUNCLAT_H
#define FUNCLAT_H

#define SLOTS	40	/* powers of two of nanoseconds, up to 18 minutes */
#define SLOWEST	8

struct call {
	unsigned long long ns;
	unsigned long long ret;
	unsigned int pid;
	char comm[16];
};

/* One for each CPU: nothing in it is shared, nothing is locked. */
struct stats {
	unsigned long long entries;
	unsigned long long returns;
	unsigned long long slots[SLOTS];
	struct call slowest[SLOWEST];
};

#endif

/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */
#ifndef FUNCLAT_H
#define FUNCLAT_H

#define SLOTS		64	/* powers of two of nanoseconds */
#define MAX_ARGS	12	/* words of arguments, the most that a traced function has */
#define MAX_VALUES	16	/* these and the return value, a power of two */
#define RETURNED	MAX_ARGS
#define STRINGS		3
#define STRING_SIZE	64
#define NO_VALUE	0xff

/* One for each function and CPU. The longest is set to 0 when it is read. */
struct stats {
	unsigned long long entries;
	unsigned long long returns;
	unsigned long long total;
	unsigned long long longest;
	unsigned long long lost;	/* slow calls that found no room in the ring buffer */
	unsigned long long slots[SLOTS];
};

/* What the attach cookie holds: which function it is, and which of its values point to strings. */
union identity {
	unsigned long long cookie;
	struct {
		unsigned short func;
		unsigned char strings[STRINGS];
	};
};

/* A slow call */
struct event {
	unsigned long long returned;
	unsigned long long ns;
	unsigned long long values[MAX_VALUES];
	unsigned int func;
	unsigned int pid;
	unsigned int tid;
	char comm[16];
	int lengths[STRINGS];		/* with the zero at the end; negative: could not be read */
	char strings[STRINGS][STRING_SIZE];
};

#endif

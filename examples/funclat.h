/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */
#ifndef FUNCLAT_H
#define FUNCLAT_H

#define SLOTS		64	/* powers of two of nanoseconds */
#define MAX_ARGS	12	/* words of arguments, the most that a traced function has */
#define MAX_VALUES	16	/* arguments and return value; a power of two, for the verifier */
#define RETURNED	MAX_ARGS
#define STRINGS		3
#define NO_VALUE	0xff
#define MAX_ERRNO	4095

/* One for each function and CPU. The longest is set to 0 when it is read. */
struct stats {
	unsigned long long entries;
	unsigned long long returns;
	unsigned long long calls;	/* finished calls; with -x only failed ones */
	unsigned long long total;
	unsigned long long longest;
	unsigned long long lost;	/* slow calls that found no room in the ring buffer */
	unsigned long long slots[SLOTS];
};

/* The attach cookie: which function it is, which of its values are strings, how it fails. */
union identity {
	unsigned long long cookie;
	struct {
		unsigned short func;
		unsigned char strings[STRINGS];
		unsigned char error_size;	/* of a return value that can be -errno, else 0 */
	};
};

/* A slow call. The kernel stack follows, and strings of string_size bytes. */
struct event {
	unsigned long long returned;
	unsigned long long ns;
	unsigned long long values[MAX_VALUES];
	unsigned int func;
	unsigned int pid;
	unsigned int tid;
	int stack_size;			/* in bytes; negative: there is none */
	char comm[16];
	int lengths[STRINGS];		/* with the zero at the end; negative: could not be read */
	int unused;			/* aligns the stack */
	unsigned long long stack[];
};

#endif

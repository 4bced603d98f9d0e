// SPDX-License-Identifier: GPL-2.0
/* LD_PRELOAD library for scripts/guest-examples: bpf(FAIL_COMMAND) fails with FAIL_ERRNO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <sys/syscall.h>

#define BPF_TRACE_FSESSION	58	/* not in Debian's linux/bpf.h */

long syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	const union bpf_attr *attr = (const union bpf_attr *)b;

	if (nr == SYS_bpf && a == atoi(getenv("FAIL_COMMAND")) &&
	    (a != BPF_PROG_LOAD || attr->expected_attach_type == BPF_TRACE_FSESSION)) {
		errno = atoi(getenv("FAIL_ERRNO"));
		return -1;
	}
	return real(nr, a, b, c, d, e, f);
}

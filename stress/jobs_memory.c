// SPDX-License-Identifier: GPL-2.0
/* Attaches and detaches without memory; detaches above bpf_jit_limit by tasks without CAP_BPF. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "jobs.h"

static struct setting {
	const char *path, *val;
	char saved[16];
} settings[] = {
	{ "/sys/kernel/debug/failslab/ignore-gfp-wait", "N" },
	{ "/sys/kernel/debug/failslab/verbose", "0" },
	{ "/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N" },
	{ "/sys/kernel/debug/fail_page_alloc/min-order", "0" },
	{ "/sys/kernel/debug/fail_page_alloc/verbose", "0" },
};

void start_no_memory(void)
{
	struct setting *s;
	int err;

	for (s = settings; s < settings + ARRAY_SIZE(settings) && runs("memory"); s++) {
		err = read_file(s->path, s->saved, sizeof(s->saved)) ?: write_file(s->path, s->val);
		if (err)
			fail("%s: %s", s->path, strerror(-err));
	}
}

void finish_no_memory(void)
{
	struct setting *s;

	for (s = settings; s < settings + ARRAY_SIZE(settings) && runs("memory"); s++)
		write_file(s->path, s->saved);
}

/* The nth allocation of this thread from now on fails. */
int set_fail_nth(int nth)
{
	char val[16];
	int fd, len;

	len = snprintf(val, sizeof(val), "%d", nth);
	fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, val, len, 0) != len)
		fail("fail-nth: %s", strerror(errno));
	return fd;
}

/* Returns whether the allocation failed, and disables fault injection. */
bool clear_fail_nth(int fd)
{
	char val[16] = "";

	if (pread(fd, val, sizeof(val) - 1, 0) < 0 || pwrite(fd, "0", 1, 0) != 1)
		fail("fail-nth: %s", strerror(errno));
	close(fd);
	return !atoi(val);
}

/* TEST3 has no other programs. The other targets also have watchers. */
void no_memory_visitor(long nr, __u64 *state)
{
	static const struct flavour flavour = { .sets = VISITOR_SETS, .no_memory = true };
	static const int choices[] = { SLEEP, NANOSLEEP, TEST1, SLEEPING_TARGET, TEST3, TEST3 };

	visit(&targets[choices[rnd(state, ARRAY_SIZE(choices))]], &flavour, state);
}

#define LIMIT "/proc/sys/net/core/bpf_jit_limit"

static char limit[32];

/* Lowers bpf_jit_limit to 1 for a while. Only tasks without CAP_BPF are affected. */
void limiter(long nr, __u64 *state)
{
	int err = 0;

	if (!limit[0])
		err = read_file(LIMIT, limit, sizeof(limit));
	err = err ?: write_file(LIMIT, "1");
	if (err)
		fail(LIMIT ": %s", strerror(-err));
	rest(rnd(state, 100 * MS));
	write_file(LIMIT, limit);
	ADD(counts[LIMITS], 1);
}

void finish_limiter(void)
{
	if (limit[0])
		write_file(LIMIT, limit);
}

/* Exits by itself or is killed; nothing here may allocate or lock. */
static void unprivileged_child(__u64 ns)
{
	if (syscall(__NR_setresgid, 65534, 65534, 65534) ||
	    syscall(__NR_setresuid, 65534, 65534, 65534))
		_exit(1);
	rest(ns);
	_exit(0);
}

/* Attaches programs and leaves them to a child without privileges: its end detaches them. */
void daemonizer(long nr, __u64 *state)
{
	static const struct flavour flavour = { .sets = VISITOR_SETS };
	__u64 lifetime = rnd(state, 50 * MS);
	int slot, i, err, status;
	struct instance in;
	pid_t pid;

	err = open_instance(&in, &targets[rnd(state, TEST1 + 1)], &flavour);
	if (err) {
		refused(LOAD, err, in.target->func);
		return;
	}
	for (i = 1 + rnd(state, 6); i; i--)
		change(&in, 1, true, state);
	for (slot = 0; slot < SLOTS; slot++)
		__atomic_store_n(&in.skel->bss->live[slot], 0, __ATOMIC_SEQ_CST);
	pid = fork();
	if (!pid)
		unprivileged_child(lifetime);
	unload_programs(&in);
	for (slot = 0; slot < SLOTS; slot++)
		detach(&in, slot, 0);
	if (pid > 0 && rnd(state, 2)) {
		rest(lifetime / 2);
		kill(pid, SIGKILL);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid ||
	    (WIFEXITED(status) && WEXITSTATUS(status)))
		fail("daemon: %s", strerror(errno));
	close_instance(&in, false);
	ADD(counts[DAEMONS], 1);
}

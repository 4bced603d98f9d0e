// SPDX-License-Identifier: GPL-2.0
/* The calls of the targets: tasks that sleep, preempt others, are killed, run programs. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "jobs.h"

void *user_page;

/* Handles the page faults on user_page: delays them, sometimes for up to 1 s, maps the page, and
 * unmaps it again. Runs until the process exits.
 */
static void *pager(void *arg)
{
	struct uffdio_zeropage zero = { .range = { (__u64)user_page, getpagesize() } };
	__u64 state = rnd_state(0);
	struct uffd_msg msg;

	while (read((long)arg, &msg, sizeof(msg)) == sizeof(msg)) {
		rest(rnd(&state, rnd(&state, 16) ? 3 * MS : 1000 * MS));
		ioctl((long)arg, UFFDIO_ZEROPAGE, &zero);
		rest(rnd(&state, 30 * MS));
		madvise(user_page, getpagesize(), MADV_DONTNEED);
	}
	fail("userfaultfd: %s", strerror(errno));
	return NULL;
}

void start_pager(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	pthread_t thread;
	long fd;

	user_page = mmap(NULL, getpagesize(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (__u64)user_page;
	reg.range.len = getpagesize();
	fd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg) ||
	    pthread_create(&thread, NULL, pager, (void *)fd))
		fail("userfaultfd: %s", strerror(errno));
}

/* A call of SLEEP and, unless fmod_ret keeps it, of NANOSLEEP. */
static void nap(__u64 ns)
{
	struct timespec ts = { ns / (1000 * MS), ns % (1000 * MS) };

	ADD(targets[SLEEP].calls, 1);
	if (syscall(__NR_clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, NULL) < 0)
		refused(CALL, -errno, targets[SLEEP].func);
}

void sleeper(long nr, __u64 *state)
{
	nap(rnd(state, 20 * MS));
}

/* A real-time thread: preempts the others, also inside programs, and leaves them most CPU time. */
void preempter(long nr, __u64 *state)
{
	__u64 ns = 2 * MS + rnd(state, 4 * MS), start = now(), late;

	nap(ns);
	late = 5 * (now() - start - ns);
	rest(late < 20 * MS ? late : 20 * MS);
}

/* A child that shares our memory. Half of the victims sleep until they are killed, the others call
 * the target again and again.
 */
static int victim(void *arg)
{
	__u64 *state = arg;
	bool sleeps = rnd(state, 2);

	for (;;)
		nap(sleeps ? 3600 * 1000 * MS : rnd(state, 20 * MS));
	return 0;
}

static struct {
	char stack[65536] __attribute__((aligned(16)));
	__u64 state;
	pid_t pid;
} victims[4];

/* Without errno, which the victims share. */
void killer(long nr, __u64 *state)
{
	int i = rnd(state, ARRAY_SIZE(victims));

	if (victims[i].pid) {
		if (kill(victims[i].pid, SIGKILL) ||
		    waitpid(victims[i].pid, NULL, __WALL) != victims[i].pid)
			fail("a victim was gone");
		victims[i].pid = 0;
		ADD(counts[KILLS], 1);
	} else if (!stopped()) {
		victims[i].state = rnd_state(rnd(state, 1ULL << 32));
		victims[i].pid = clone(victim, &victims[i].state, CLONE_VM | CLONE_FILES | SIGCHLD,
				       &victims[i].state);
		if (victims[i].pid < 0) {
			victims[i].pid = 0;
			fail("cannot start a task to kill: clone() failed");
		}
	}
}

void finish_killer(void)
{
	__u64 state = rnd_state(1);
	int i;

	for (i = 0; i < ARRAY_SIZE(victims); i++) {
		while (victims[i].pid)
			killer(0, &state);
	}
}

/* Runs a BPF program that is the target or calls it, by BPF_PROG_TEST_RUN. The test run of a
 * tracing program calls bpf_fentry_test*().
 */
void test_runner(long nr, __u64 *state)
{
	static const int choices[] = {
		TEST1, SLEEPING_TARGET, CALLING_TARGET, REPLACED, REPLACED_CALLING, THROWER,
	};
	struct target *t = &targets[choices[rnd(state, ARRAY_SIZE(choices))]];
	struct target *locked = t == &targets[TEST1] ? &targets[TEST3] : t;
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	char packet[64] = {};
	int err, fd;

	if (!runs(t->job))
		return;
	fd = t->prog ? t->prog_fd : bpf_program__fd(watched[TEST1].skel->progs.fentry_0);
	if (t->prog && t != &targets[SLEEPING_TARGET]) {
		opts.data_in = packet;
		opts.data_size_in = sizeof(packet);
	}
	pthread_rwlock_rdlock(&locked->callers);
	ADD(t->calls, 1);
	if (locked != t)
		ADD(locked->calls, 1);
	err = bpf_prog_test_run_opts(fd, &opts);
	pthread_rwlock_unlock(&locked->callers);
	if (err)
		refused(RUN, err, t->func);
}

// SPDX-License-Identifier: GPL-2.0
/* Attaches and detaches programs of each kind while the functions run, and counts: no entry without
 * its return, no return without its entry, nothing left behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/resource.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "jobs.h"

/* The kernel's function for a system call has this prefix. */
#if defined(__x86_64__)
#define SYSCALL_PREFIX	"__x64_sys_"
#elif defined(__aarch64__)
#define SYSCALL_PREFIX	"__arm64_sys_"
#else
#error "SYSCALL_PREFIX is not defined for this architecture"
#endif

/* What each thread does again and again, and how long it rests in between. */
static const struct job {
	const char *name;
	void (*step)(long nr, __u64 *state);
	int threads;
	__u64 rest;
	int nice;
	int realtime;
	bool own_files;		/* own file table: a child inherits no other thread's links */
} jobs[] = {
	{ "calls", test_runner, .threads = 4, .rest = 10 * MS },
	{ "calls", sleeper, .threads = 4, .rest = MS },
	{ "calls", preempter, .threads = 2, .rest = MS, .realtime = 1 },
	{ "calls", killer, .threads = 1, .rest = 20 * MS },
	{ "storm", storm, .threads = WATCHED * (SETS - 1), .rest = 5 * MS, .nice = -10 },
	{ "visits", visitor, .threads = 1, .rest = 10 * MS },
	{ "loads", loader, .threads = 1, .rest = 10 * MS },
	{ "module", module_loader, .threads = 1, .rest = 20 * MS },
	{ "module", module_reader, .threads = 2, .rest = 20 * MS },
	{ "module", module_visitor, .threads = 1, .rest = 10 * MS },
	{ "programs", target_updater, .threads = 1, .rest = 10 * MS },
	{ "replace", replaceable_visitor, .threads = 2, .rest = 10 * MS },
	{ "replace", replacer, .threads = 2, .rest = 10 * MS },
	{ "throw", thrower_visitor, .threads = 1, .rest = 10 * MS },
	{ "tailcalls", callee_updater, .threads = 1, .rest = 5 * MS },
	{ "tailcalls", tail_caller, .threads = 2, .rest = 5 * MS },
	{ "lsm", hooker, .threads = 2, .rest = 10 * MS },
	{ "lsm", socket_maker, .threads = 2, .rest = 5 * MS },
	{ "faults", stumbler, .threads = 1, .rest = 10 * MS },
	{ "memory", no_memory_visitor, .threads = 2, .rest = 10 * MS },
	{ "daemons", limiter, .threads = 1, .rest = 20 * MS },
	{ "daemons", daemonizer, .threads = 2, .rest = 10 * MS, .own_files = true },
};

static struct {
	const char *name;
	int allowed[3];
	__u64 refusals[3];
} ops[OPS] = {
	[ATTACH] = { "attach" },
	[ATTACH_LIMIT] = { "attach, limit of 38 links or 4 cookies", { E2BIG } },
	[ATTACH_REPLACEABLE] = { "attach to a function that may be freplaced", { EBUSY } },
	[ATTACH_NO_MEMORY] = { "attach without memory", { ENOMEM, E2BIG } },
	[ATTACH_AGAIN] = { "attach a program twice", { EBUSY, E2BIG } },
	[LOAD] = { "load" },
	[LOAD_THROWER] = { "load for a function that throws", { EINVAL } },
	[LOAD_MODULE_PROG] = { "load for the module", { ESRCH, ENOENT } },
	[REPLACE] = { "freplace a function that may be traced", { EBUSY } },
	[UPDATE] = { "put a callee into a prog array" },
	[UPDATE_SLEEPABLE] = { "put a sleepable callee into a prog array", { EINVAL } },
	[CLEAR] = { "clear an entry of a prog array", { ENOENT } },
	[ATTACH_HOOK] = { "attach to a cgroup, limit of 10 LSM hooks", { EINVAL } },
	[SOCKET] = { "socket", { EPERM } },
	[INSMOD] = { "load the module", { EEXIST, EBUSY } },
	[RMMOD] = { "unload the module", { EAGAIN, ENOENT, EBUSY } },
	[READ] = { "read the module's file", { EIO, ENOENT, ENODEV } },
	[RUN] = { "test run" },
	[CALL] = { "call" },
};

static const char *const count_names[COUNTS] = {
	[KILLS] = "tasks killed in or between calls",
	[VISITS] = "times programs were loaded, attached, detached and freed",
	[MODULE_LOADS] = "times the module was loaded",
	[LOADS] = "programs loaded and not attached",
	[REPLACEMENTS] = "times a function was replaced",
	[REPLACED_CALLS] = "calls of replaced functions",
	[UPDATES] = "updates of a prog array",
	[CALLEE_ENTRIES] = "tail calls at an entry",
	[CALLEE_RETURNS] = "tail calls at a return",
	[HOOKS] = "programs attached to a cgroup's LSM hooks",
	[DENIED_CALLS] = "calls that they denied",
	[FAULTED] = "loads from a bad pointer",
	[THROWN] = "exceptions",
	[NO_MEMORY_ATTACHES] = "attaches in which an allocation failed",
	[NO_MEMORY_DETACHES] = "detaches in which an allocation failed",
	[LIMITS] = "times bpf_jit_limit was set to 1",
	[DAEMONS] = "daemons that dropped their privileges with programs attached",
};

struct target targets[TARGETS] = {
	[SLEEP] = { SYSCALL_PREFIX "clock_nanosleep", .sleepable = true },
	[NANOSLEEP] = { "hrtimer_nanosleep" },
	[TEST1] = { "bpf_fentry_test1", .sleepable = true },
	[TAIL_CALLS] = { SYSCALL_PREFIX "sched_rr_get_interval", .job = "tailcalls",
			 .sleepable = true, .calling = true },
	[HOOK] = { "bpf_lsm_socket_create", .job = "lsm" },
	[SLEEPING_TARGET] = { "sleeping_target", .prog = "sleeping_target" },
	[CALLING_TARGET] = { "calling_target", .job = "programs", .prog = "calling_target" },
	[MODULE] = { "bpf_testmod_recurse", .job = "module" },
	[REPLACED] = { "replaced", .job = "replace", .prog = "replaced_main",
		       .replaceable = true },
	[REPLACED_CALLING] = { "replaced_calling", .job = "replace",
			       .prog = "replaced_calling_main", .replaceable = true },
	[THROWER] = { "thrower", .job = "throw", .prog = "thrower_main", .throws = true },
	[TEST3] = { "bpf_fentry_test3", .job = "memory" },
};

const char *const kinds[KINDS] = {
	"fentry", "fentry_s", "fexit", "fexit_s", "fmod_ret", "fmod_ret_s",
	"session", "session_c", "session_s", "session_sc",
};

struct instance watched[WATCHED];
struct kind_totals totals[KINDS];
__u64 counts[COUNTS];
__u64 seed;
static char **chosen;		/* names of jobs */
static pthread_barrier_t all_ready;
static bool stop;
static char failure[256];
static pthread_mutex_t failure_lock = PTHREAD_MUTEX_INITIALIZER;

bool runs(const char *job)
{
	char **name;

	for (name = chosen; job && *name; name++) {
		if (!strcmp(*name, job))
			return true;
	}
	return !job || !*chosen;
}

bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_SEQ_CST);
}

/* Stops the run. Only the first failure is reported. */
void fail(const char *format, ...)
{
	va_list args;

	pthread_mutex_lock(&failure_lock);
	if (!failure[0]) {
		va_start(args, format);
		vsnprintf(failure, sizeof(failure), format, args);
		va_end(args);
	}
	pthread_mutex_unlock(&failure_lock);
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
}

void refused(enum op op, int err, const char *what)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(ops[op].allowed) && ops[op].allowed[i]; i++) {
		if (ops[op].allowed[i] == -err) {
			ADD(ops[op].refusals[i], 1);
			return;
		}
	}
	fail("%s: %s: %s", ops[op].name, what, strerror(-err));
}

/* xorshift64*: each thread has its own state */
__u64 rnd(__u64 *state, __u64 below)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (*state * 0x2545f4914f6cdd1dULL >> 16) % below;
}

__u64 rnd_state(__u64 nr)
{
	__u64 state = (seed + nr) * 0x9e3779b97f4a7c15ULL | 1;

	rnd(&state, 1);
	return state;
}

__u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

/* Sleeps without calling a traced function. usleep() would call hrtimer_nanosleep(). */
void rest(__u64 ns)
{
	struct timespec ts = { ns / (1000 * MS), ns % (1000 * MS) };

	ppoll(NULL, 0, &ts, NULL);
}

int read_file(const char *path, char *val, int size)
{
	int fd, len;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read(fd, val, size - 1);
	close(fd);
	if (len < 0)
		return -EIO;
	val[len] = 0;
	return 0;
}

int write_file(const char *path, const char *val)
{
	int fd, err;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = write(fd, val, strlen(val)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static void *worker(void *arg)
{
	const struct job *job = jobs;
	long nr = (long)arg;
	__u64 state = rnd_state(nr);
	struct sched_param param;

	while (nr >= job->threads)
		nr -= job++->threads;
	param.sched_priority = job->realtime;
	if (setpriority(PRIO_PROCESS, 0, job->nice) ||
	    (job->realtime && sched_setscheduler(0, SCHED_FIFO, &param)))
		fail("priority: %s", strerror(errno));
	if (job->own_files && (unshare(CLONE_FILES) || close_range(3, ~0U, 0)))
		fail("own files: %s", strerror(errno));
	pthread_barrier_wait(&all_ready);
	while (runs(job->name) && !stopped()) {
		job->step(nr, &state);
		rest(rnd(&state, job->rest));
	}
	return NULL;
}

static void work(int seconds)
{
	__u64 end = now() + seconds * 1000 * MS;
	long i, nr = 0;

	for (i = 0; i < ARRAY_SIZE(jobs); i++)
		nr += jobs[i].threads;
	pthread_t threads[nr];

	pthread_barrier_init(&all_ready, NULL, nr);
	for (i = 0; i < nr; i++) {
		if (pthread_create(&threads[i], NULL, worker, (void *)i)) {
			perror("pthread_create");
			exit(1);
		}
	}
	while (now() < end && !stopped()) {
		rest(200 * MS);
		for (i = 0; i < WATCHED; i++)
			check_violations(&watched[i]);
	}
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	while (nr)
		pthread_join(threads[--nr], NULL);
}

/* Nobody is in a function any more. */
static void check_balance(void)
{
	struct instance *sleep = &watched[SLEEP];
	__u64 calls = sleep->skel->bss->slots[FENTRY].entries + misses(sleep->progs[FENTRY]);
	int i, slot;

	/* A victim may have been killed just before its call. */
	if (calls > targets[SLEEP].calls || calls + counts[KILLS] < targets[SLEEP].calls)
		fail("%s: %llu calls, %llu seen, %llu killed", targets[SLEEP].func,
		     targets[SLEEP].calls, calls, counts[KILLS]);
	targets[SLEEP].calls = calls;
	targets[NANOSLEEP].calls = calls - sleep->skel->bss->overrides;
	targets[TEST1].calls += counts[MODULE_LOADS]; /* bpf_testmod_init() */
	for (i = 0; i < WATCHED; i++) {
		if (!watched[i].skel)
			continue;
		check_watchers(&watched[i], targets[i].calls);
		check_room(&watched[i]);
		for (slot = 0; slot < SLOTS; slot++)
			detach(&watched[i], slot, 0);
		close_instance(&watched[i], true);
	}
}

static void stress(int seconds)
{
	struct flavour all = { .sets = SETS };
	int i, err;

	start_hooks();
	start_no_memory();
	load_targets();
	for (i = 0; i < WATCHED && !stopped(); i++) {
		if (!runs(targets[i].job))
			continue;
		err = open_instance(&watched[i], &targets[i], &all);
		if (err)
			fail("load for %s: %s", targets[i].func, strerror(-err));
		else
			attach_watchers(&watched[i]);
	}
	if (stopped())
		return;
	work(seconds);
	finish_killer();
	finish_module();
	finish_limiter();
	finish_no_memory();
	finish_hooks();
	check_balance();
	unload_targets();
}

static int objects(void)
{
	int (*next[])(__u32, __u32 *) = {
		bpf_prog_get_next_id, bpf_map_get_next_id,
		bpf_link_get_next_id, bpf_btf_get_next_id,
	};
	int i, n = 0;
	__u32 id;

	for (i = 0; i < ARRAY_SIZE(next); i++) {
		for (id = 0; !next[i](id, &id); n++)
			;
	}
	return n;
}

static void print_totals(void)
{
	int i, j;

	printf("\n%-12s %9s %9s %10s %10s %10s %10s\n", "",
	       "attached", "detached", "entries", "returns", "skipped", "missed");
	for (i = 0; i < KINDS; i++)
		printf("%-12s %9llu %9llu %10llu %10llu %10llu %10llu\n", kinds[i],
		       totals[i].attaches, totals[i].detaches, totals[i].entries,
		       totals[i].returns, totals[i].skipped, totals[i].misses);
	printf("\nskipped: the session was detached while the call was in flight\n"
	       "missed: recursion_misses of the programs that stayed attached\n\n");
	for (i = 0; i < TARGETS; i++) {
		if (targets[i].calls)
			printf("%9llu calls of %s\n", targets[i].calls, targets[i].func);
	}
	printf("\n");
	for (i = 0; i < COUNTS; i++) {
		if (counts[i])
			printf("%9llu %s\n", counts[i], count_names[i]);
	}
	printf("\n");
	for (i = 0; i < OPS; i++) {
		for (j = 0; j < ARRAY_SIZE(ops[i].allowed); j++) {
			if (ops[i].refusals[j])
				printf("%9llu refusals: %s: %s\n", ops[i].refusals[j], ops[i].name,
				       strerror(ops[i].allowed[j]));
		}
	}
}

static int usage(void)
{
	int i;

	fprintf(stderr, "Usage: stress SECONDS SEED bpf_testmod.ko [JOB...]\n\n"
		"Runs the named jobs, or all. Without the job \"calls\" most targets are not\n"
		"called. JOB is one of\n");
	for (i = 0; i < ARRAY_SIZE(jobs); i++) {
		if (!i || strcmp(jobs[i].name, jobs[i - 1].name))
			fprintf(stderr, " %s", jobs[i].name);
	}
	fprintf(stderr, "\n");
	return 2;
}

static bool is_job(const char *name)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(jobs) && strcmp(jobs[i].name, name); i++)
		;
	return i < ARRAY_SIZE(jobs);
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

int main(int argc, char **argv)
{
	pthread_rwlockattr_t writers_first;
	int before, i;

	for (i = 4; i < argc; i++) {
		if (!is_job(argv[i]))
			return usage();
	}
	if (argc < 4)
		return usage();
	seed = strtoull(argv[2], NULL, 0);
	chosen = argv + 4;
	libbpf_set_print(quiet);
	pthread_rwlockattr_init(&writers_first);
	pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	for (i = 0; i < TARGETS; i++)
		pthread_rwlock_init(&targets[i].callers, &writers_first);
	module_fd = open(argv[3], O_RDONLY | O_CLOEXEC);
	if (module_fd < 0)
		fail("%s: %s", argv[3], strerror(errno));
	start_pager();

	before = objects();
	if (!stopped())
		stress(atoi(argv[1]));
	for (i = 0; i < 600 && objects() != before; i++)
		rest(100 * MS);
	if (objects() != before)
		fail("leaked programs, maps, links or BTFs: %d at the end, %d at the start",
		     objects(), before);
	print_totals();
	if (failure[0])
		printf("\nFAIL: %s\n", failure);
	return !!failure[0];
}

// SPDX-License-Identifier: GPL-2.0
/* Attaches and detaches programs of each kind while the functions run, and counts: no entry without its return, no
 * return without its entry, nothing left behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include "stress.h"
#include "stress.skel.h"

#define ARRAY_SIZE(a)	((int)(sizeof(a) / sizeof((a)[0])))
#define ADD(var, n)	__atomic_add_fetch(&(var), n, __ATOMIC_SEQ_CST)
#define MS		1000000LL

static const char *const kinds[KINDS] = {
	"fentry", "fentry_s", "fexit", "fexit_s", "fmod_ret", "fmod_ret_s",
	"session", "session_c", "session_s", "session_sc",
};

static const char *const violations[VIOLATIONS] = {
	[LONE_RETURN] = "a return without an entry",
	[LOST_RETURN] = "a return was lost while the session was attached",
	[STALE_COOKIE] = "the cookie was not 0 at the entry",
	[WRONG_COOKIE] = "the cookie or the argument had changed at the return",
	[WRONG_TAG] = "not its own attach cookie",
	[EARLY_RESULT] = "a result at the entry",
};

/* What is tried, and the errors that may be the answer; each other one is a failure. */
enum op { ATTACH, ATTACH_LIMIT, ATTACH_AGAIN, LOAD, LOAD_MODULE_PROG, INSMOD, RMMOD, READ, RUN, NAP, OPS };
static struct {
	const char *name;
	int allowed[3];
	__u64 refusals[3];
} ops[OPS] = {
	[ATTACH] = { "attach" },
	[ATTACH_LIMIT] = { "attach where 38 links or 4 cookies can be", { E2BIG } },
	[ATTACH_AGAIN] = { "attach what is attached", { EBUSY, E2BIG } },
	[LOAD] = { "load" },
	[LOAD_MODULE_PROG] = { "load for the module", { ESRCH, ENOENT } },
	[INSMOD] = { "load the module", { EEXIST, EBUSY } },
	[RMMOD] = { "unload the module", { EAGAIN, ENOENT, EBUSY } },
	[READ] = { "read the module's file", { EIO, ENOENT, ENODEV } },
	[RUN] = { "test run" },
	[NAP] = { "clock_nanosleep" },
};

struct target {
	const char *func;
	bool sleepable;		/* takes sleepable programs, and fmod_ret */
	__u64 calls;
};

enum { SLEEP, NANOSLEEP, TEST1, CALLEE, WATCHED, MODULE = WATCHED, TARGETS };
static struct target targets[TARGETS] = {
	[SLEEP] = { "__x64_sys_clock_nanosleep", .sleepable = true },
	[NANOSLEEP] = { "hrtimer_nanosleep" },
	[TEST1] = { "bpf_fentry_test1", .sleepable = true },
	[CALLEE] = { "callee" },
	[MODULE] = { "bpf_testmod_recurse" },
};

#define MODULE_CALLS	5	/* that one read makes */
#define CALLERS		16	/* at most so many calls are in a function at once */
#define VISITOR_SETS	2

/* The programs, loaded for one target. */
struct instance {
	struct target *target;
	struct stress_bpf *skel;
	struct bpf_program *progs[SLOTS];
	int links[SLOTS];
	__u32 attaches[SLOTS];
};

static struct instance watched[WATCHED];
static struct stress_bpf *callee_skel;
static int callee_btf_id;
static pthread_rwlock_t module_lock; /* to keep the readers out */
static struct { __u64 attaches, detaches, entries, returns, skipped, misses; } totals[KINDS];
static __u64 kills, loads, visits;
static __u64 seed;
static bool stop;
static char failure[256];
static pthread_mutex_t failure_lock = PTHREAD_MUTEX_INITIALIZER;
static void *user_page;
static int module_fd;

/* The first one counts. */
static void __attribute__((format(printf, 1, 2))) fail(const char *format, ...)
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

static bool stopped(void)
{
	return __atomic_load_n(&stop, __ATOMIC_SEQ_CST);
}

static void refused(enum op op, int err, const char *what)
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
static __u64 rnd(__u64 *state, __u64 below)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (*state * 0x2545f4914f6cdd1dULL >> 16) % below;
}

static __u64 rnd_state(__u64 nr)
{
	__u64 state = (seed + nr) * 0x9e3779b97f4a7c15ULL | 1;

	rnd(&state, 1);
	return state;
}

static __u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

/* Not through a function that is traced, as usleep() would be. */
static void rest(__u64 ns)
{
	struct timespec ts = { ns / (1000 * MS), ns % (1000 * MS) };

	ppoll(NULL, 0, &ts, NULL);
}

/* A call of SLEEP and, unless fmod_ret keeps it, of NANOSLEEP. */
static void nap(__u64 ns)
{
	struct timespec ts = { ns / (1000 * MS), ns % (1000 * MS) };

	ADD(targets[SLEEP].calls, 1);
	if (syscall(__NR_clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, NULL) < 0)
		refused(NAP, -errno, "");
}

static bool takes(const struct target *t, int kind)
{
	return t->sleepable || kind == FENTRY || kind == FEXIT || kind == SESSION || kind == SESSION_C;
}

/* Can E2BIG be the right answer? With all programs attached, those of the visitor included, is a limit passed? */
static bool has_limit(const struct target *t, int kind)
{
	bool has_cookie = kind == SESSION_C || kind == SESSION_SC;
	int sets = (t == &targets[MODULE] ? 0 : SETS) + VISITOR_SETS;

	return sets * (t->sleepable ? 14 : 6) > 38 || (has_cookie && sets * (t->sleepable ? 2 : 1) > 4);
}

static int open_instance(struct instance *in, struct target *t, int sets)
{
	int slot, err, fd = t == &targets[CALLEE] ? bpf_program__fd(callee_skel->progs.callee) : 0;
	char name[32];

	memset(in, 0, sizeof(*in));
	in->target = t;
	in->skel = stress_bpf__open();
	if (!in->skel)
		return -errno;
	in->skel->rodata->seed = seed;
	in->skel->rodata->recursive = t == &targets[MODULE];
	in->skel->rodata->overriding = t == &targets[SLEEP] && sets == SETS;
	in->skel->bss->user_page = user_page;
	bpf_program__set_autoload(in->skel->progs.callee, false);
	for (slot = 0; slot < SLOTS; slot++) {
		struct bpf_program *prog;

		snprintf(name, sizeof(name), "%s_%d", kinds[KIND(slot)], SET(slot));
		prog = bpf_object__find_program_by_name(in->skel->obj, name);
		if (SET(slot) >= sets || !takes(t, KIND(slot))) {
			bpf_program__set_autoload(prog, false);
			continue;
		}
		err = bpf_program__set_attach_target(prog, fd, t->func);
		if (err)
			return err;
		in->progs[slot] = prog;
	}
	return stress_bpf__load(in->skel);
}

/* A program that traces another one can be attached only once: take a copy. It is freed when it is detached. */
static int copy_of(struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		    .expected_attach_type = bpf_program__expected_attach_type(prog),
		    .attach_prog_fd = bpf_program__fd(callee_skel->progs.callee), .attach_btf_id = callee_btf_id);
	int fd;

	fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, bpf_program__name(prog), "GPL", bpf_program__insns(prog),
			   bpf_program__insn_cnt(prog), &opts);
	if (fd < 0)
		refused(LOAD, fd, bpf_program__name(prog));
	return fd;
}

static void attach(struct instance *in, int slot)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	bool copy = in->target == &targets[CALLEE] && SET(slot);
	struct bpf_program *prog = in->progs[slot];
	int fd, link;

	if (TAGGED(slot))
		opts.tracing.cookie = TAG(slot, in->attaches[slot] + 1);
	fd = copy ? copy_of(prog) : bpf_program__fd(prog);
	if (fd < 0)
		return;
	link = bpf_link_create(fd, 0, bpf_program__expected_attach_type(prog), &opts);
	if (copy)
		close(fd);
	if (link < 0) {
		refused(has_limit(in->target, KIND(slot)) ? ATTACH_LIMIT : ATTACH, link, bpf_program__name(prog));
		return;
	}
	ADD(totals[KIND(slot)].attaches, 1);
	in->attaches[slot]++;
	in->links[slot] = link;
	__atomic_store_n(&in->skel->bss->live[slot], MARK(opts.tracing.cookie), __ATOMIC_SEQ_CST);
}

static void detach(struct instance *in, int slot)
{
	if (!in->links[slot])
		return;
	__atomic_store_n(&in->skel->bss->live[slot], 0, __ATOMIC_SEQ_CST);
	close(in->links[slot]);
	in->links[slot] = 0;
	ADD(totals[KIND(slot)].detaches, 1);
}

static void attach_again(struct instance *in, int slot)
{
	struct bpf_program *prog = in->progs[slot];
	int link;

	if (in->target == &targets[CALLEE])
		return;
	link = bpf_link_create(bpf_program__fd(prog), 0, bpf_program__expected_attach_type(prog), NULL);
	if (link >= 0)
		fail("attached twice: %s", bpf_program__name(prog));
	else
		refused(ATTACH_AGAIN, link, bpf_program__name(prog));
}

/* One of the set comes, or goes. */
static void change(struct instance *in, int set, bool fill, __u64 *state)
{
	int slot = set * KINDS + rnd(state, KINDS);

	if (!in->progs[slot])
		return;
	if (!in->links[slot])
		attach(in, slot);
	else if (!rnd(state, 8))
		attach_again(in, slot);
	else if (!fill || !rnd(state, 4))
		detach(in, slot);
}

/* Those that see the returns of all others, the first one attached, come first. */
static void attach_watchers(struct instance *in)
{
	int i;

	for (i = 0; i < KINDS; i++) {
		if (in->progs[(FEXIT + i) % KINDS])
			attach(in, (FEXIT + i) % KINDS);
	}
}

static __u64 misses(struct bpf_program *prog)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_prog_get_info_by_fd(bpf_program__fd(prog), &info, &len))
		fail("bpf_prog_get_info_by_fd: %s", strerror(errno));
	return info.recursion_misses;
}

/* To the unit: nobody calls the function now, and the watchers have seen all that did. */
static void check_watchers(struct instance *in, __u64 calls)
{
	struct slot *slots = in->skel->bss->slots;
	int slot;

	for (slot = 0; slot < KINDS; slot++) {
		struct slot *s = &slots[slot];
		__u64 seen, missed;

		if (!in->links[slot])
			continue;
		missed = misses(in->progs[slot]);
		seen = missed + (slot == FEXIT || slot == FEXIT_S ? s->returns : s->entries);
		if (slot == FMOD_RET || slot == FMOD_RET_S)
			seen += in->skel->bss->overrides;
		if (seen != calls)
			fail("%s: %s: %llu calls, but %llu entries, %llu returns, %llu misses", in->target->func,
			     kinds[slot], calls, s->entries, s->returns, missed);
		if (slot >= SESSION && s->entries != s->returns)
			fail("%s: %s: %llu entries, %llu returns", in->target->func, kinds[slot],
			     s->entries, s->returns);
		ADD(totals[slot].misses, missed);
	}
}

static void check_violations(struct instance *in)
{
	int slot, v;

	for (slot = 0; slot < SLOTS; slot++) {
		for (v = 0; v < VIOLATIONS; v++) {
			if (in->skel->bss->slots[slot].violations[v])
				fail("%s: %s_%d: %s", in->target->func, kinds[KIND(slot)], SET(slot), violations[v]);
		}
	}
}

/* All is detached, and if nobody is in the function now, what entered has returned, but for the calls that were in it
 * when the session was detached.
 */
static void close_instance(struct instance *in, bool idle)
{
	struct stress_bpf__bss *bss = in->skel->bss;
	int slot, i, pid;

	check_violations(in);
	for (pid = 0; pid < PIDS && idle; pid++) {
		for (i = 0; i < SETS * SESSIONS; i++)
			bss->slots[SESSION_SLOT(i)].skipped += !!bss->inside[pid][i];
	}
	for (slot = 0; slot < SLOTS; slot++) {
		struct slot *s = &bss->slots[slot];

		if (idle && KIND(slot) >= SESSION && s->entries != s->returns + s->skipped)
			fail("%s: %s_%d: %llu entries, %llu returns, %llu skipped", in->target->func, kinds[KIND(slot)],
			     SET(slot), s->entries, s->returns, s->skipped);
		if (s->skipped > (__u64)in->attaches[slot] * CALLERS)
			fail("%s: %s_%d: detached %u times, at most %d calls in flight, but %llu did not return",
			     in->target->func, kinds[KIND(slot)], SET(slot), in->attaches[slot], CALLERS, s->skipped);
		ADD(totals[KIND(slot)].entries, s->entries);
		ADD(totals[KIND(slot)].returns, s->returns);
		ADD(totals[KIND(slot)].skipped, s->skipped);
	}
	stress_bpf__destroy(in->skel);
}

static int unload_module(void)
{
	return syscall(__NR_delete_module, "bpf_testmod", O_NONBLOCK) ? -errno : 0;
}

/* Comes, stays for a while, and goes: programs are loaded and freed while they are called. */
static void visit(struct target *t, __u64 *state)
{
	struct instance in;
	__u64 calls, i;
	int slot, err;

	err = open_instance(&in, t, VISITOR_SETS);
	if (err) {
		refused(t == &targets[MODULE] ? LOAD_MODULE_PROG : LOAD, err, t->func);
		stress_bpf__destroy(in.skel);
		return;
	}
	if (t == &targets[MODULE])
		pthread_rwlock_wrlock(&module_lock);
	calls = t->calls;
	attach_watchers(&in);
	if (t == &targets[MODULE])
		pthread_rwlock_unlock(&module_lock);
	for (i = rnd(state, 10); i && !stopped(); i--) {
		change(&in, 1, false, state);
		rest(rnd(state, 10 * MS));
	}
	if (t == &targets[MODULE]) {
		if (!unload_module())
			fail("the module was unloaded with programs attached to it");
		pthread_rwlock_wrlock(&module_lock);
		check_watchers(&in, t->calls - calls);
		pthread_rwlock_unlock(&module_lock);
	}
	for (slot = 0; slot < SLOTS; slot++)
		detach(&in, slot);
	close_instance(&in, false);
	ADD(visits, 1);
}

static void visitor(long nr, __u64 *state)
{
	visit(&targets[nr ? MODULE : rnd(state, WATCHED)], state);
}

static void module_loader(long nr, __u64 *state)
{
	static bool loaded;
	int err;

	if (!loaded) {
		err = syscall(__NR_finit_module, module_fd, "", 0) ? -errno : 0;
	} else {
		if (rnd(state, 64))
			return;
		err = unload_module();
	}
	if (err) {
		refused(loaded ? RMMOD : INSMOD, err, "");
		return;
	}
	loaded = !loaded;
	ADD(loads, loaded);
}

static void module_reader(long nr, __u64 *state)
{
	char buf[16];
	int fd;

	pthread_rwlock_rdlock(&module_lock);
	fd = open("/sys/kernel/bpf_testmod", O_RDONLY);
	if (fd < 0 || read(fd, buf, sizeof(buf)) < 0)
		refused(READ, -errno, "");
	/* the answer of the module's function */
	if (fd >= 0 && errno == EIO)
		ADD(targets[MODULE].calls, MODULE_CALLS);
	if (fd >= 0)
		close(fd);
	pthread_rwlock_unlock(&module_lock);
}

static void test_runner(long nr, __u64 *state)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int target = rnd(state, 2) ? CALLEE : TEST1, err;

	ADD(targets[target].calls, 1);
	err = bpf_prog_test_run_opts(bpf_program__fd(target == CALLEE ? callee_skel->progs.callee :
						     watched[TEST1].skel->progs.fentry_0), &opts);
	if (err)
		refused(RUN, err, targets[target].func);
}

static void storm(long nr, __u64 *state)
{
	change(&watched[nr % WATCHED], 1 + nr / WATCHED, now() >> 32 & 1, state);
}

static void sleeper(long nr, __u64 *state)
{
	nap(rnd(state, 20 * MS));
}

/* Preempts all others, inside of their programs too, and leaves them most of the time. */
static void preempter(long nr, __u64 *state)
{
	__u64 ns = 2 * MS + rnd(state, 4 * MS), start = now(), late;

	nap(ns);
	late = 5 * (now() - start - ns);
	rest(late < 20 * MS ? late : 20 * MS);
}

/* A process in our memory: half of them sleep until the end, the others may be anywhere when it comes. */
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
static void killer(long nr, __u64 *state)
{
	int i = rnd(state, ARRAY_SIZE(victims));

	if (victims[i].pid) {
		if (kill(victims[i].pid, SIGKILL) || waitpid(victims[i].pid, NULL, __WALL) != victims[i].pid)
			fail("a victim was gone");
		victims[i].pid = 0;
		ADD(kills, 1);
	} else if (!stopped()) {
		victims[i].state = rnd_state(rnd(state, 1ULL << 32));
		victims[i].pid = clone(victim, &victims[i].state, CLONE_VM | CLONE_FILES | SIGCHLD, &victims[i].state);
		if (victims[i].pid < 0) {
			victims[i].pid = 0;
			fail("no victim");
		}
	}
}

/* Lets programs wait for the page for a while, then takes it away. Serves as long as the process lives. */
static void *pager(void *arg)
{
	struct uffdio_zeropage zero = { .range = { (__u64)user_page, getpagesize() } };
	__u64 state = rnd_state(0);
	struct uffd_msg msg;

	while (read((long)arg, &msg, sizeof(msg)) == sizeof(msg)) {
		rest(rnd(&state, 3 * MS));
		ioctl((long)arg, UFFDIO_ZEROPAGE, &zero);
		rest(rnd(&state, 30 * MS));
		madvise(user_page, getpagesize(), MADV_DONTNEED);
	}
	fail("userfaultfd: %s", strerror(errno));
	return NULL;
}

static void start_pager(void)
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

/* What each thread does again and again, and how long it rests in between. */
static const struct job {
	void (*step)(long nr, __u64 *state);
	int threads;
	__u64 rest;
	int nice;
	int realtime;
} jobs[] = {
	{ .step = storm, .threads = WATCHED * (SETS - 1), .rest = 5 * MS, .nice = -10 },
	{ .step = visitor, .threads = 2, .rest = 10 * MS },
	{ .step = module_loader, .threads = 1, .rest = 20 * MS },
	{ .step = module_reader, .threads = 2, .rest = 20 * MS },
	{ .step = test_runner, .threads = 4, .rest = 10 * MS },
	{ .step = sleeper, .threads = 4, .rest = MS },
	{ .step = preempter, .threads = 2, .rest = MS, .realtime = 1 },
	{ .step = killer, .threads = 1, .rest = 20 * MS },
};

#define THREADS 32

static void *worker(void *arg)
{
	const struct job *job = jobs;
	long nr = (long)arg;
	__u64 state = rnd_state(nr);
	struct sched_param param;

	while (nr >= job->threads)
		nr -= job++->threads;
	param.sched_priority = job->realtime;
	if (setpriority(PRIO_PROCESS, 0, job->nice) || (job->realtime && sched_setscheduler(0, SCHED_FIFO, &param)))
		fail("priority: %s", strerror(errno));
	while (!stopped()) {
		job->step(nr, &state);
		rest(rnd(&state, job->rest));
	}
	return NULL;
}

/* A function to be traced, a program itself */
static void load_callee(void)
{
	struct bpf_program *prog;

	callee_skel = stress_bpf__open();
	if (!callee_skel) {
		fail("callee: %s", strerror(errno));
		return;
	}
	bpf_object__for_each_program(prog, callee_skel->obj)
		bpf_program__set_autoload(prog, prog == callee_skel->progs.callee);
	callee_skel->bss->user_page = user_page;
	if (stress_bpf__load(callee_skel))
		fail("callee: %s", strerror(errno));
	callee_btf_id = btf__find_by_name_kind(bpf_object__btf(callee_skel->obj), "callee", BTF_KIND_FUNC);
}

static void work(int seconds)
{
	__u64 end = now() + seconds * 1000 * MS, state = rnd_state(1);
	pthread_t threads[THREADS];
	long nr = 0;
	int i, err;

	for (i = 0; i < ARRAY_SIZE(jobs); i++)
		nr += jobs[i].threads;
	for (i = 0; i < nr; i++) {
		if (pthread_create(&threads[i], NULL, worker, (void *)(long)i)) {
			fail("no thread");
			nr = i;
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
	for (i = 0; i < ARRAY_SIZE(victims); i++) {
		while (victims[i].pid)
			killer(0, &state);
	}
	for (err = unload_module(); err && err != -ENOENT; err = unload_module()) {
		refused(RMMOD, err, "");
		rest(100 * MS);
	}
}

/* Nobody is in a function any more. */
static void check_balance(void)
{
	struct instance *sleep = &watched[SLEEP];
	__u64 calls = sleep->skel->bss->slots[FENTRY].entries + misses(sleep->progs[FENTRY]);
	int i, slot;

	/* A victim may have been killed just before its call. */
	if (calls > targets[SLEEP].calls || calls + kills < targets[SLEEP].calls)
		fail("%s: %llu calls, %llu seen, %llu killed", targets[SLEEP].func, targets[SLEEP].calls, calls, kills);
	targets[SLEEP].calls = calls;
	targets[NANOSLEEP].calls = calls - sleep->skel->bss->overrides;
	targets[TEST1].calls += loads; /* bpf_testmod_init() */
	for (i = 0; i < WATCHED; i++) {
		check_watchers(&watched[i], targets[i].calls);
		for (slot = 0; slot < SLOTS; slot++)
			detach(&watched[i], slot);
		close_instance(&watched[i], true);
	}
}

static void stress(int seconds)
{
	int i, err;

	load_callee();
	for (i = 0; i < WATCHED && !stopped(); i++) {
		err = open_instance(&watched[i], &targets[i], SETS);
		if (err)
			fail("load for %s: %s", targets[i].func, strerror(-err));
		else
			attach_watchers(&watched[i]);
	}
	if (stopped())
		return;
	work(seconds);
	check_balance();
	stress_bpf__destroy(callee_skel);
}

static int objects(void)
{
	int (*next[])(__u32, __u32 *) = {
		bpf_prog_get_next_id, bpf_map_get_next_id, bpf_link_get_next_id, bpf_btf_get_next_id,
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
		printf("%-12s %9llu %9llu %10llu %10llu %10llu %10llu\n", kinds[i], totals[i].attaches,
		       totals[i].detaches, totals[i].entries, totals[i].returns, totals[i].skipped, totals[i].misses);
	printf("\nskipped: detached while the call was under way; missed: recursion_misses of those that stayed\n\n");
	for (i = 0; i < TARGETS; i++)
		printf("%9llu calls of %s\n", targets[i].calls, targets[i].func);
	printf("%9llu killed in it or on the way\n%9llu visits\n%9llu times the module was loaded\n",
	       kills, visits, loads);
	for (i = 0; i < OPS; i++) {
		for (j = 0; j < ARRAY_SIZE(ops[i].allowed); j++) {
			if (ops[i].refusals[j])
				printf("%9llu refusals: %s: %s\n", ops[i].refusals[j], ops[i].name,
				       strerror(ops[i].allowed[j]));
		}
	}
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

int main(int argc, char **argv)
{
	pthread_rwlockattr_t writers_first;
	int before, i;

	if (argc != 4) {
		fprintf(stderr, "Usage: stress SECONDS SEED bpf_testmod.ko\n");
		return 2;
	}
	seed = strtoull(argv[2], NULL, 0);
	libbpf_set_print(quiet);
	pthread_rwlockattr_init(&writers_first);
	pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&module_lock, &writers_first);
	module_fd = open(argv[3], O_RDONLY | O_CLOEXEC);
	if (module_fd < 0)
		fail("%s: %s", argv[3], strerror(errno));
	start_pager();

	before = objects();
	if (!failure[0])
		stress(atoi(argv[1]));
	for (i = 0; i < 600 && objects() != before; i++)
		rest(100 * MS);
	if (objects() != before)
		fail("left behind: %d programs, maps, links and BTFs, before %d", objects(), before);
	print_totals();
	if (failure[0])
		printf("\nFAIL: %s\n", failure);
	return !!failure[0];
}

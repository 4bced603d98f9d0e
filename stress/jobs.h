/* SPDX-License-Identifier: GPL-2.0 */
/* What the jobs share: targets, the programs loaded for one, choices, errors and counts. */
#ifndef JOBS_H
#define JOBS_H

#include <pthread.h>
#include <stdbool.h>
#include <linux/types.h>
#include "stress.h"
#include "stress.skel.h"

#define ARRAY_SIZE(a)	((int)(sizeof(a) / sizeof((a)[0])))
#define ADD(var, n)	__atomic_add_fetch(&(var), n, __ATOMIC_SEQ_CST)
#define MS		1000000LL

/* Operations that may fail. ops[] in main.c has the allowed errors of each. Any other error fails
 * the run.
 */
enum op {
	ATTACH,
	ATTACH_LIMIT,
	ATTACH_REPLACEABLE,
	ATTACH_NO_MEMORY,
	ATTACH_AGAIN,
	LOAD,
	LOAD_THROWER,
	LOAD_MODULE_PROG,
	REPLACE,
	UPDATE,
	UPDATE_SLEEPABLE,
	CLEAR,
	ATTACH_HOOK,
	SOCKET,
	INSMOD,
	RMMOD,
	READ,
	RUN,
	CALL,
	OPS
};

enum count {
	KILLS,
	VISITS,
	MODULE_LOADS,
	LOADS,
	REPLACEMENTS,
	REPLACED_CALLS,
	UPDATES,
	CALLEE_ENTRIES,
	CALLEE_RETURNS,
	HOOKS,
	DENIED_CALLS,
	FAULTED,
	THROWN,
	NO_MEMORY_ATTACHES,
	NO_MEMORY_DETACHES,
	LIMITS,
	DAEMONS,
	COUNTS
};

extern struct kind_totals {
	__u64 attaches, detaches, entries, returns, skipped, misses;
} totals[KINDS];
extern __u64 counts[COUNTS];
extern __u64 seed;
extern const char *const kinds[KINDS];

bool runs(const char *job);
bool stopped(void);
void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Fails the run unless ERR is an allowed error of OP. */
void refused(enum op op, int err, const char *what);
__u64 rnd(__u64 *state, __u64 below);
__u64 rnd_state(__u64 nr);
__u64 now(void);
void rest(__u64 ns);
int read_file(const char *path, char *val, int size);
int write_file(const char *path, const char *val);

struct target {
	const char *func;
	const char *job;	/* the target is used only if this job runs; NULL: always */
	const char *prog;	/* the BPF program that has this function */
	bool sleepable;		/* takes sleepable programs, and fmod_ret */
	bool calling;		/* its sessions make tail calls */
	bool replaceable;	/* by freplace */
	bool throws;		/* may not return */
	int prog_fd;
	int btf_id;
	__u64 ip;
	__u64 calls;
	pthread_rwlock_t callers; /* to keep them out */
};

enum {
	SLEEP,
	NANOSLEEP,
	TEST1,
	TAIL_CALLS,
	HOOK,
	SLEEPING_TARGET,
	CALLING_TARGET,
	WATCHED,		/* targets with watchers; only visit() attaches to the others */
	MODULE = WATCHED,
	REPLACED,
	REPLACED_CALLING,
	THROWER,
	TEST3,
	TARGETS
};
extern struct target targets[TARGETS];

#define CALLERS		24	/* upper limit of concurrent calls of a function */
#define VISITOR_SETS	2

/* instance.c: the programs, loaded for one target */
struct instance {
	struct target *target;
	struct stress_bpf *skel;
	struct bpf_program *progs[SLOTS];
	int links[SLOTS];
	__u32 attaches[SLOTS];
	bool copies;		/* each link of sets 1 and 2 has its own program, freed with it */
	/* A detach had no memory: the program's entry may run until the next update. */
	bool detach_failed;
};
extern struct instance watched[WATCHED];

/* How they are loaded */
struct flavour {
	int sets;
	int only;		/* if not 0, programs of this kind */
	bool faulting;
	bool throwing;
	bool no_memory;		/* some attaches and detaches find none */
};

int open_instance(struct instance *in, struct target *t, const struct flavour *flavour);
int copy_of(struct bpf_program *prog, struct target *t);
void attach(struct instance *in, int slot, int fail_nth);
void attach_watchers(struct instance *in);
void detach(struct instance *in, int slot, int fail_nth);
void change(struct instance *in, int set, bool fill, __u64 *state);
__u64 misses(struct bpf_program *prog);
void check_watchers(struct instance *in, __u64 calls);
void check_violations(struct instance *in);
void check_room(struct instance *in);
void unload_programs(struct instance *in);
void close_instance(struct instance *in, bool idle);

/* jobs_calls.c */
extern void *user_page;
void start_pager(void);
void test_runner(long nr, __u64 *state);
void sleeper(long nr, __u64 *state);
void preempter(long nr, __u64 *state);
void killer(long nr, __u64 *state);
void finish_killer(void);

/* jobs_storm.c */
void storm(long nr, __u64 *state);
void visit(struct target *t, const struct flavour *flavour, __u64 *state);
void visitor(long nr, __u64 *state);
void loader(long nr, __u64 *state);
void stumbler(long nr, __u64 *state);

/* jobs_module.c */
extern int module_fd;
void module_loader(long nr, __u64 *state);
void module_reader(long nr, __u64 *state);
void module_visitor(long nr, __u64 *state);
int unload_module(void);
void finish_module(void);

/* jobs_programs.c */
void load_targets(void);
void unload_targets(void);
void replaceable_visitor(long nr, __u64 *state);
void replacer(long nr, __u64 *state);
void thrower_visitor(long nr, __u64 *state);
void target_updater(long nr, __u64 *state);
void callee_updater(long nr, __u64 *state);
void tail_caller(long nr, __u64 *state);

/* jobs_lsm.c */
void start_hooks(void);
void hooker(long nr, __u64 *state);
void socket_maker(long nr, __u64 *state);
void finish_hooks(void);

/* jobs_memory.c */
int set_fail_nth(int nth);
bool clear_fail_nth(int fd);
void start_no_memory(void);
void no_memory_visitor(long nr, __u64 *state);
void finish_no_memory(void);
void limiter(long nr, __u64 *state);
void finish_limiter(void);
void daemonizer(long nr, __u64 *state);

#endif

// SPDX-License-Identifier: GPL-2.0
/* Programs are attached and detached, loaded and freed while they run. */
#include <errno.h>
#include <unistd.h>
#include <bpf/libbpf.h>
#include "jobs.h"

void storm(long nr, __u64 *state)
{
	struct instance *in = &watched[nr % WATCHED];

	if (in->skel)
		change(in, 1 + nr / WATCHED, now() >> 32 & 1, state);
}

/* Waits after a detach without memory: a program that is freed too early would be called then. */
static void change_without_memory(struct instance *in, __u64 *state)
{
	int slot = KINDS + rnd(state, KINDS);

	if (!in->progs[slot])
		return;
	if (in->links[slot]) {
		detach(in, slot, 1 + rnd(state, 20));
		rest(rnd(state, 500 * MS));
	} else {
		attach(in, slot, rnd(state, 2) ? 1 + rnd(state, 20) : 0);
	}
}

/* Programs are loaded, attached, detached and freed while they are called. Where only visitors
 * attach programs, callers can be kept out, so that the watchers see each call.
 */
void visit(struct target *t, const struct flavour *flavour, __u64 *state)
{
	bool exact = t >= &targets[WATCHED];
	struct instance in;
	__u64 calls = 0, i;
	int slot, err;

	err = open_instance(&in, t, flavour);
	if (err) {
		refused(t == &targets[MODULE] ? LOAD_MODULE_PROG : t->throws ? LOAD_THROWER : LOAD,
			err, t->func);
		stress_bpf__destroy(in.skel);
		return;
	}
	if (exact) {
		pthread_rwlock_wrlock(&t->callers);
		calls = t->calls;
	}
	attach_watchers(&in);
	if (exact)
		pthread_rwlock_unlock(&t->callers);
	for (i = rnd(state, flavour->no_memory ? 30 : 10); i && !stopped(); i--) {
		if (flavour->no_memory)
			change_without_memory(&in, state);
		else
			change(&in, 1, false, state);
		rest(rnd(state, 10 * MS));
	}
	if (t == &targets[MODULE] && in.links[FEXIT] && !unload_module())
		fail("the module was unloaded with programs attached to it");
	if (exact) {
		pthread_rwlock_wrlock(&t->callers);
		check_watchers(&in, t->calls - calls);
		pthread_rwlock_unlock(&t->callers);
	}
	if (rnd(state, 2))
		unload_programs(&in);
	for (slot = 0; slot < SLOTS; slot++)
		detach(&in, slot, flavour->no_memory && rnd(state, 2) ? 1 + rnd(state, 20) : 0);
	close_instance(&in, false);
	ADD(counts[VISITS], 1);
}

static struct target *any_watched(__u64 *state)
{
	struct target *t;

	do
		t = &targets[rnd(state, WATCHED)];
	while (!runs(t->job));
	return t;
}

void visitor(long nr, __u64 *state)
{
	static const struct flavour flavour = { .sets = VISITOR_SETS };

	visit(any_watched(state), &flavour, state);
}

static void wait_for_sleepers(struct instance *in, bool some)
{
	__u64 *sleepers = &in->skel->bss->sleepers;
	int i;

	for (i = 0; i < 400 && (__atomic_load_n(sleepers, __ATOMIC_SEQ_CST) > 0) != some; i++)
		rest(5 * MS);
}

/* Its programs load from a bad pointer or throw. A sleepable one is detached, and its last
 * reference dropped, while it sleeps. It loads or throws afterwards.
 */
void stumbler(long nr, __u64 *state)
{
	static const int choices[] = { FENTRY_S, FEXIT_S, FMOD_RET_S, SESSION_S, SESSION_SC };
	struct flavour flavour = { .sets = VISITOR_SETS };
	struct instance in;
	int slot, err;

	flavour.faulting = rnd(state, 3);
	flavour.throwing = !flavour.faulting || rnd(state, 2);
	if (!rnd(state, 4)) {
		visit(any_watched(state), &flavour, state);
		return;
	}
	slot = flavour.only = choices[rnd(state, ARRAY_SIZE(choices))];
	flavour.sets = 1;
	err = open_instance(&in, &targets[rnd(state, 2) ? SLEEP : TEST1], &flavour);
	if (err) {
		refused(LOAD, err, kinds[slot]);
		return;
	}
	attach(&in, slot, 0);
	unload_programs(&in);
	if (in.links[slot]) {
		wait_for_sleepers(&in, true);
		detach(&in, slot, 0);
		wait_for_sleepers(&in, false);
	}
	close_instance(&in, false);
}

/* Loads a program for a target that others are attached to, and does not attach it. */
void loader(long nr, __u64 *state)
{
	struct target *t = any_watched(state);
	struct instance *in = &watched[t - targets];
	int slot = rnd(state, SLOTS), fd;

	if (!in->progs[slot])
		return;
	fd = copy_of(in->progs[slot], t);
	if (fd < 0)
		return;
	rest(rnd(state, 10 * MS));
	close(fd);
	ADD(counts[LOADS], 1);
}

// SPDX-License-Identifier: GPL-2.0
/* BPF programs that are traced, replaced, that throw; programs that make tail calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include "jobs.h"
#include "targets.skel.h"

static struct targets_bpf *skel;

static struct targets_bpf *open_targets(void)
{
	struct bpf_program *prog;
	struct targets_bpf *skel;

	skel = targets_bpf__open();
	if (!skel)
		return NULL;
	skel->bss->user_page = user_page;
	bpf_object__for_each_program(prog, skel->obj)
		bpf_program__set_autoload(prog, bpf_program__type(prog) != BPF_PROG_TYPE_EXT);
	return skel;
}

void load_targets(void)
{
	struct target *t;

	skel = open_targets();
	if (!skel || targets_bpf__load(skel)) {
		fail("load the targets: %s", strerror(errno));
		return;
	}
	for (t = targets; t < &targets[TARGETS]; t++) {
		if (!t->prog)
			continue;
		t->prog_fd = bpf_program__fd(bpf_object__find_program_by_name(skel->obj, t->prog));
		t->btf_id = btf__find_by_name_kind(bpf_object__btf(skel->obj), t->func,
						   BTF_KIND_FUNC);
	}
}

void unload_targets(void)
{
	targets_bpf__destroy(skel);
}

static void update(struct bpf_map *map, int size, int fd, enum op op, __u64 *state)
{
	__u32 key = rnd(state, size);
	int err;

	if (fd < 0)
		err = bpf_map__delete_elem(map, &key, sizeof(key), 0);
	else
		err = bpf_map__update_elem(map, &key, sizeof(key), &fd, sizeof(fd), 0);
	if (op == UPDATE_SLEEPABLE && !err)
		fail("%s has a sleepable callee now", bpf_map__name(map));
	if (err)
		refused(op, err, bpf_map__name(map));
	else
		ADD(counts[UPDATES], 1);
}

void target_updater(long nr, __u64 *state)
{
	bool clear = !rnd(state, 3);

	update(skel->maps.callees, bpf_map__max_entries(skel->maps.callees),
	       clear ? -1 : bpf_program__fd(skel->progs.target_callee),
	       clear ? CLEAR : UPDATE, state);
}

/* Updates or clears an entry of the prog array. The old callee is freed. */
void callee_updater(long nr, __u64 *state)
{
	struct stress_bpf *skel = watched[TAIL_CALLS].skel;
	struct bpf_program *progs[] = {
		skel->progs.callee_plain, skel->progs.callee_cookie, skel->progs.callee_ip,
		skel->progs.callee_sleepable,
	};
	struct bpf_program *prog = progs[rnd(state, ARRAY_SIZE(progs))];
	enum op op = prog == skel->progs.callee_sleepable ? UPDATE_SLEEPABLE : UPDATE;
	int fd = -1;

	if (!rnd(state, 4))
		op = CLEAR;
	else
		fd = copy_of(prog, &targets[TAIL_CALLS]);
	update(skel->maps.callees, CALLEES, fd, op, state);
	if (fd >= 0)
		close(fd);
}

void tail_caller(long nr, __u64 *state)
{
	struct timespec ts;

	ADD(targets[TAIL_CALLS].calls, 1);
	if (syscall(__NR_sched_rr_get_interval, 0, &ts) < 0)
		refused(CALL, -errno, targets[TAIL_CALLS].func);
}

static struct target *replaceable(long nr)
{
	return &targets[nr ? REPLACED_CALLING : REPLACED];
}

void replaceable_visitor(long nr, __u64 *state)
{
	static const struct flavour flavour = { .sets = VISITOR_SETS };

	visit(replaceable(nr), &flavour, state);
}

/* While the function is replaced, no call reaches it, and none is lost. */
void replacer(long nr, __u64 *state)
{
	struct target *t = replaceable(nr);
	struct targets_bpf *own = open_targets();
	struct bpf_program *prog;
	struct bpf_link *link;
	__u64 calls;
	int err;

	if (!own) {
		fail("open a replacement: %s", strerror(errno));
		return;
	}
	bpf_object__for_each_program(prog, own->obj)
		bpf_program__set_autoload(prog, false);
	/* A program that makes tail calls may change packet data. It can only replace a function
	 * that may change packet data, too.
	 */
	prog = nr && rnd(state, 2) ? own->progs.replacement_calling : own->progs.replacement;
	bpf_program__set_autoload(prog, true);
	bpf_program__set_attach_target(prog, t->prog_fd, t->func);
	err = targets_bpf__load(own);
	if (err) {
		refused(LOAD, err, bpf_program__name(prog));
		goto out;
	}
	pthread_rwlock_wrlock(&t->callers);
	link = bpf_program__attach(prog);
	calls = t->calls;
	pthread_rwlock_unlock(&t->callers);
	if (!link) {
		refused(REPLACE, -errno, t->func);
		goto out;
	}
	rest(rnd(state, 50 * MS));
	pthread_rwlock_wrlock(&t->callers);
	calls = t->calls - calls;
	if (calls != own->bss->replaced_calls)
		fail("%s: %llu calls while it was replaced, but %llu of the replacement", t->func,
		     calls, own->bss->replaced_calls);
	pthread_rwlock_unlock(&t->callers);
	bpf_link__destroy(link);
	ADD(counts[REPLACEMENTS], 1);
	ADD(counts[REPLACED_CALLS], calls);
out:
	targets_bpf__destroy(own);
}

void thrower_visitor(long nr, __u64 *state)
{
	static const int choices[] = { FENTRY, FEXIT, SESSION, SESSION_C };
	struct flavour flavour = { .sets = VISITOR_SETS };

	flavour.only = choices[rnd(state, ARRAY_SIZE(choices))];
	visit(&targets[THROWER], &flavour, state);
}

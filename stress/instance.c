// SPDX-License-Identifier: GPL-2.0
/* The programs of stress.bpf.c, loaded for one target: attached, detached, checked. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include "jobs.h"

static const char *const violations[VIOLATIONS] = {
	[LONE_RETURN] = "a return without an entry",
	[LOST_RETURN] = "a return was lost while the session was attached",
	[STALE_COOKIE] = "the cookie was not 0 at the entry",
	[WRONG_COOKIE] = "the cookie or the argument had changed",
	[WRONG_TAG] = "the attach cookie was not its own",
	[WRONG_IP] = "bpf_get_func_ip() was not the address of the function",
	[WRONG_LOAD] = "a load from a bad pointer did not read 0",
	[EARLY_RESULT] = "the return value was not 0 at the entry",
};

static bool is_watched(const struct target *t)
{
	return t < &targets[WATCHED];
}

static bool takes(const struct target *t, int kind)
{
	return t->sleepable || kind == FENTRY || kind == FEXIT || kind == SESSION ||
	       kind == SESSION_C;
}

/* Looks up BTF ID and address of a kernel function, once. */
static int find_target(struct target *t)
{
	char line[256], name[128];
	FILE *f;

	if (t->btf_id || t == &targets[MODULE])
		return 0;
	t->btf_id = libbpf_find_vmlinux_btf_id(t->func, BPF_TRACE_FENTRY);
	if (t->btf_id < 0)
		return t->btf_id;
	f = fopen("/proc/kallsyms", "r");
	if (!f)
		return -errno;
	while (!t->ip && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%llx %*c %127s", &t->ip, name) != 2 || strcmp(name, t->func))
			t->ip = 0;
	}
	fclose(f);
	return 0;
}

static int fill_callees(struct stress_bpf *skel)
{
	__u32 key, fd = bpf_program__fd(skel->progs.callee_plain);
	int err = 0;

	for (key = 0; key < CALLEES / 2 && !err; key++)
		err = bpf_map__update_elem(skel->maps.callees, &key, sizeof(key),
					   &fd, sizeof(fd), 0);
	return err;
}

int open_instance(struct instance *in, struct target *t, const struct flavour *flavour)
{
	struct bpf_program *prog;
	int slot, err;
	char name[32];

	memset(in, 0, sizeof(*in));
	in->target = t;
	in->copies = flavour->no_memory;
	err = find_target(t);
	if (err)
		return err;
	in->skel = stress_bpf__open();
	if (!in->skel)
		return -errno;
	in->skel->rodata->seed = seed;
	in->skel->rodata->target_ip = t->ip;
	in->skel->rodata->recursive = t == &targets[MODULE];
	in->skel->rodata->overriding = t == &targets[SLEEP] && flavour->sets == SETS;
	in->skel->rodata->calling = t->calling;
	in->skel->rodata->faulting = flavour->faulting;
	in->skel->rodata->throwing = flavour->throwing;
	in->skel->bss->user_page = user_page;
	bpf_map__set_autocreate(in->skel->maps.callees, t->calling);
	bpf_object__for_each_program(prog, in->skel->obj) {
		bool is_callee = !strncmp(bpf_program__name(prog), "callee_", 7);

		bpf_program__set_autoload(prog, t->calling && is_callee);
		if (is_callee && t->calling)
			bpf_program__set_attach_target(prog, 0, t->func);
	}
	for (slot = 0; slot < flavour->sets * KINDS; slot++) {
		if (!takes(t, KIND(slot)) || (flavour->only && flavour->only != KIND(slot)))
			continue;
		snprintf(name, sizeof(name), "%s_%d", kinds[KIND(slot)], SET(slot));
		prog = bpf_object__find_program_by_name(in->skel->obj, name);
		err = bpf_program__set_attach_target(prog, t->prog_fd, t->func);
		if (err)
			return err;
		bpf_program__set_autoload(prog, true);
		in->progs[slot] = prog;
	}
	err = stress_bpf__load(in->skel);
	return err ?: t->calling ? fill_callees(in->skel) : 0;
}

/* A program of its own, which is freed with its last link. */
int copy_of(struct bpf_program *prog, struct target *t)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		    .expected_attach_type = bpf_program__expected_attach_type(prog),
		    .attach_prog_fd = t->prog_fd, .attach_btf_id = t->btf_id);
	int fd;

	if (strstr(bpf_program__section_name(prog), ".s"))
		opts.prog_flags = BPF_F_SLEEPABLE;
	fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, bpf_program__name(prog), "GPL",
			   bpf_program__insns(prog), bpf_program__insn_cnt(prog), &opts);
	if (fd < 0)
		refused(LOAD, fd, bpf_program__name(prog));
	return fd;
}

/* If fail_nth is not 0, that allocation of the attach fails. */
void attach(struct instance *in, int slot, int fail_nth)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	/* a program that traces another one can be attached only once */
	bool copy = SET(slot) && (in->target->prog || in->copies);
	struct bpf_program *prog = in->progs[slot];
	int fd, link, fail_fd = -1;

	if (TAGGED(slot))
		opts.tracing.cookie = TAG(slot, in->attaches[slot] + 1);
	fd = copy ? copy_of(prog, in->target) : bpf_program__fd(prog);
	if (fd < 0)
		return;
	if (fail_nth)
		fail_fd = set_fail_nth(fail_nth);
	link = bpf_link_create(fd, 0, bpf_program__expected_attach_type(prog), &opts);
	if (fail_nth && clear_fail_nth(fail_fd))
		ADD(counts[NO_MEMORY_ATTACHES], 1);
	if (copy)
		close(fd);
	if (link < 0) {
		refused(fail_nth ? ATTACH_NO_MEMORY : is_watched(in->target) ? ATTACH_LIMIT :
			in->target->replaceable ? ATTACH_REPLACEABLE : ATTACH,
			link, bpf_program__name(prog));
		return;
	}
	ADD(totals[KIND(slot)].attaches, 1);
	in->attaches[slot]++;
	in->links[slot] = link;
	__atomic_store_n(&in->skel->bss->live[slot], MARK(opts.tracing.cookie), __ATOMIC_SEQ_CST);
}

/* Attaches fexit first: it is called last and sees the returns of all others. */
void attach_watchers(struct instance *in)
{
	int i;

	for (i = 0; i < KINDS; i++) {
		if (in->progs[(FEXIT + i) % KINDS])
			attach(in, (FEXIT + i) % KINDS, 0);
	}
}

void detach(struct instance *in, int slot, int fail_nth)
{
	int fail_fd = -1;

	if (!in->links[slot])
		return;
	__atomic_store_n(&in->skel->bss->live[slot], 0, __ATOMIC_SEQ_CST);
	if (fail_nth)
		fail_fd = set_fail_nth(fail_nth);
	close(in->links[slot]);
	if (fail_nth && clear_fail_nth(fail_fd)) {
		ADD(counts[NO_MEMORY_DETACHES], 1);
		in->detach_failed = true;
	}
	in->links[slot] = 0;
	ADD(totals[KIND(slot)].detaches, 1);
}

static void attach_again(struct instance *in, int slot)
{
	struct bpf_program *prog = in->progs[slot];
	int link;

	if (in->target->prog)
		return;
	link = bpf_link_create(bpf_program__fd(prog), 0, bpf_program__expected_attach_type(prog),
			       NULL);
	if (link >= 0)
		fail("attached twice: %s", bpf_program__name(prog));
	else
		refused(ATTACH_AGAIN, link, bpf_program__name(prog));
}

/* Attaches or detaches one of the set. */
void change(struct instance *in, int set, bool fill, __u64 *state)
{
	int slot = set * KINDS + rnd(state, KINDS);

	if (!in->progs[slot])
		return;
	if (!in->links[slot])
		attach(in, slot, 0);
	else if (!rnd(state, 8))
		attach_again(in, slot);
	else if (!fill || !rnd(state, 4))
		detach(in, slot, 0);
}

__u64 misses(struct bpf_program *prog)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_prog_get_info_by_fd(bpf_program__fd(prog), &info, &len))
		fail("bpf_prog_get_info_by_fd: %s", strerror(errno));
	return info.recursion_misses;
}

/* Compares exact counts: no call is in flight, and the watchers were attached for all CALLS. */
void check_watchers(struct instance *in, __u64 calls)
{
	struct slot *slots = in->skel->bss->slots;
	const char *func = in->target->func;
	int slot;

	for (slot = 0; slot < KINDS; slot++) {
		bool exit = slot == FEXIT || slot == FEXIT_S;
		struct slot *s = &slots[slot];
		__u64 seen, missed;

		if (!in->links[slot] || (exit && in->target->throws))
			continue;
		missed = misses(in->progs[slot]);
		seen = missed + (exit ? s->returns : s->entries);
		if (slot == FMOD_RET || slot == FMOD_RET_S)
			seen += in->skel->bss->overrides;
		if (seen != calls)
			fail("%s: %s: %llu calls, but %llu entries, %llu returns, %llu misses",
			     func, kinds[slot], calls, s->entries, s->returns, missed);
		if (slot >= SESSION && s->entries != s->returns && !in->target->throws)
			fail("%s: %s: %llu entries, %llu returns", func, kinds[slot],
			     s->entries, s->returns);
		ADD(totals[slot].misses, missed);
	}
}

void check_violations(struct instance *in)
{
	int slot, v;

	for (slot = 0; slot <= CALLEE_SLOT && in->skel; slot++) {
		for (v = 0; v < VIOLATIONS; v++) {
			if (!in->skel->bss->slots[slot].violations[v])
				continue;
			if (slot == CALLEE_SLOT)
				fail("%s: callee: %s", in->target->func, violations[v]);
			else
				fail("%s: %s_%d: %s", in->target->func, kinds[KIND(slot)],
				     SET(slot), violations[v]);
		}
	}
}

/* Sets 0 and 1 fit the limits of links and cookies, so every attach must succeed. */
void check_room(struct instance *in)
{
	int slot;

	for (slot = 2 * KINDS; slot < SLOTS; slot++)
		detach(in, slot, 0);
	for (slot = KINDS; slot < 2 * KINDS && !in->target->calling; slot++) {
		if (!in->progs[slot] || in->links[slot])
			continue;
		attach(in, slot, 0);
		if (!in->links[slot])
			fail("%s: no room for %s_1", in->target->func, kinds[KIND(slot)]);
	}
}

/* Every entry and return that makes a tail call was counted: by a callee or in no_callee[]. */
static void check_callees(struct instance *in)
{
	struct stress_bpf__bss *bss = in->skel->bss;
	struct slot *callee = &bss->slots[CALLEE_SLOT];
	__u64 entries = 0, returns = 0;
	int slot;

	for (slot = 0; slot < SLOTS; slot++) {
		if (KIND(slot) == SESSION || KIND(slot) == SESSION_C) {
			entries += bss->slots[slot].entries;
			returns += bss->slots[slot].returns;
		}
	}
	if (callee->entries + bss->no_callee[0] != entries ||
	    callee->returns + bss->no_callee[1] != returns)
		fail("%s: %llu entries: %llu found a callee, %llu found none; "
		     "%llu returns: %llu found a callee, %llu found none",
		     in->target->func, entries, callee->entries, bss->no_callee[0],
		     returns, callee->returns, bss->no_callee[1]);
}

/* Leaves the links as the last references. */
void unload_programs(struct instance *in)
{
	int slot;

	for (slot = 0; slot < SLOTS; slot++) {
		if (in->progs[slot])
			bpf_program__unload(in->progs[slot]);
	}
}

/* All programs are detached. If IDLE, no call is in flight: each entry has its return, except for
 * calls that were in flight when the session was detached.
 */
void close_instance(struct instance *in, bool idle)
{
	struct stress_bpf__bss *bss = in->skel->bss;
	int slot, i, pid;

	check_violations(in);
	for (pid = 0; pid < PIDS && idle; pid++) {
		for (i = 0; i < SETS * SESSIONS; i++)
			bss->slots[SESSION_SLOT(i)].skipped += !!bss->inside[pid][i];
	}
	if (idle && in->target->calling)
		check_callees(in);
	for (slot = 0; slot < SLOTS; slot++) {
		__u64 most = (__u64)in->attaches[slot] * CALLERS;
		struct slot *s = &bss->slots[slot];

		if (idle && KIND(slot) >= SESSION && s->entries != s->returns + s->skipped)
			fail("%s: %s_%d: %llu entries, %llu returns, %llu skipped",
			     in->target->func, kinds[KIND(slot)], SET(slot), s->entries,
			     s->returns, s->skipped);
		if (s->skipped > most && !in->detach_failed && !in->target->throws)
			fail("%s: %s_%d: detached %u times, at most %d calls in flight, "
			     "but %llu did not return",
			     in->target->func, kinds[KIND(slot)], SET(slot), in->attaches[slot],
			     CALLERS, s->skipped);
		ADD(totals[KIND(slot)].entries, s->entries);
		ADD(totals[KIND(slot)].returns, s->returns);
		ADD(totals[KIND(slot)].skipped, s->skipped);
	}
	ADD(counts[CALLEE_ENTRIES], bss->slots[CALLEE_SLOT].entries);
	ADD(counts[CALLEE_RETURNS], bss->slots[CALLEE_SLOT].returns);
	ADD(counts[FAULTED], bss->faults);
	ADD(counts[THROWN], bss->throws);
	stress_bpf__destroy(in->skel);
	in->skel = NULL;
}

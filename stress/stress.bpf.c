// SPDX-License-Identifier: GPL-2.0
/* Programs of each kind, three of each, which count what they see and check what a session promises. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "stress.h"

char LICENSE[] SEC("license") = "GPL";

const volatile __u64 seed;
const volatile bool recursive;		/* the first argument is the depth */
const volatile bool overriding;		/* fmod_ret may keep a call from the function */
const void *user_page;			/* comes and goes as well */

struct slot slots[SLOTS];
/* for each task and session: the mark of an entry without its return so far */
__u32 inside[PIDS][SETS * SESSIONS];
/* the mark of the session that is attached now, and nobody is about to detach it */
__u32 live[SLOTS];
__u64 overrides;			/* calls that fmod_ret did not let through */

static void violation(int slot, enum violation v)
{
	__sync_fetch_and_add(&slots[slot].violations[v], 1);
}

/* One of 2^bits, always the same ones. */
static bool now_and_then(__u64 n, int bits)
{
	return (n ^ seed) * 0x9e3779b97f4a7c15ULL >> (64 - bits) == 0;
}

/* Be preempted here, or sleep. */
static __always_inline void dwell(__u64 n, bool sleepable)
{
	__u64 start;
	char c;
	int i;

	if (now_and_then(n, 6)) {
		start = bpf_ktime_get_ns();
		bpf_for(i, 0, 1 << 16) {
			if (bpf_ktime_get_ns() - start > 200000)
				break;
		}
	}
	if (sleepable && now_and_then(~n, 5))
		bpf_copy_from_user(&c, sizeof(c), user_page);
}

static __always_inline void check_tag(__u64 *ctx, int slot)
{
	if (bpf_get_attach_cookie(ctx) >> 32 != (TAGGED(slot) ? slot + 1 : 0))
		violation(slot, WRONG_TAG);
}

static __always_inline __u32 *inside_of(__u64 *ctx)
{
	__u32 task = bpf_get_current_pid_tgid();
	__u64 depth = 0;

	if (recursive) {
		bpf_get_func_arg(ctx, 0, &depth);
		task = task << 3 | (depth & 7);
	}
	return inside[task & (PIDS - 1)];
}

/* The session of this mark was not called at the return: that is right if it was detached before. */
static __always_inline void left_behind(int session, __u32 mark)
{
	int slot = SESSION_SLOT(session);

	__sync_fetch_and_add(&slots[slot].skipped, 1);
	if (mark == live[slot])
		violation(slot, LOST_RETURN);
}

static __always_inline int at_entry(__u64 *ctx, int slot, bool sleepable)
{
	struct slot *s = &slots[slot];

	check_tag(ctx, slot);
	__sync_fetch_and_add(&s->entries, 1);
	dwell(s->entries, sleepable);
	return 0;
}

static __always_inline int at_return(__u64 *ctx, int slot, bool sleepable)
{
	struct slot *s = &slots[slot];
	__u32 *in = inside_of(ctx);
	int i;

	check_tag(ctx, slot);
	__sync_fetch_and_add(&s->returns, 1);
	dwell(s->returns, sleepable);

	/* The first one attached is the last one called: the returns of all sessions are through. */
	if (slot != FEXIT)
		return 0;
	for (i = 0; i < SETS * SESSIONS; i++) {
		if (!in[i])
			continue;
		left_behind(i, in[i]);
		in[i] = 0;
	}
	return 0;
}

static __always_inline int at_call(__u64 *ctx, int slot, bool sleepable)
{
	at_entry(ctx, slot, sleepable);
	if (!overriding || !SET(slot) || !now_and_then(slots[slot].entries, 2))
		return 0;
	__sync_fetch_and_add(&overrides, 1);
	return 1;
}

static __always_inline int session(__u64 *ctx, int slot, bool sleepable, __u64 *cookie)
{
	int nr = SET(slot) * SESSIONS + KIND(slot) - SESSION;
	__u32 *in = inside_of(ctx) + nr;
	__u64 tag = bpf_get_attach_cookie(ctx);
	struct slot *s = &slots[slot];
	__u64 val = 0, result = 0;

	/* the argument, whose task and which session: not zero */
	bpf_get_func_arg(ctx, 0, &val);
	val = (val ^ bpf_get_current_pid_tgid() << 16 ^ tag) | 1;

	check_tag(ctx, slot);
	if (!bpf_session_is_return(ctx)) {
		__sync_fetch_and_add(&s->entries, 1);
		if (*in)
			left_behind(nr, *in);
		*in = MARK(tag);
		bpf_get_func_ret(ctx, &result);
		if (result)
			violation(slot, EARLY_RESULT);
		if (cookie && *cookie)
			violation(slot, STALE_COOKIE);
		if (cookie)
			*cookie = val;
		dwell(s->entries, sleepable);
	} else {
		if (*in != MARK(tag))
			violation(slot, LONE_RETURN);
		*in = 0;
		if (cookie && *cookie != val)
			violation(slot, WRONG_COOKIE);
		__sync_fetch_and_add(&s->returns, 1);
		dwell(s->returns, sleepable);
	}
	return 0;
}

#define PROG(section, name, call)	\
	SEC(section)			\
	int name(__u64 *ctx)		\
	{				\
		return call;		\
	}

#define PROGS(set)												\
	PROG("fentry", fentry_##set, at_entry(ctx, set * KINDS + FENTRY, false))				\
	PROG("fentry.s", fentry_s_##set, at_entry(ctx, set * KINDS + FENTRY_S, true))				\
	PROG("fexit", fexit_##set, at_return(ctx, set * KINDS + FEXIT, false))					\
	PROG("fexit.s", fexit_s_##set, at_return(ctx, set * KINDS + FEXIT_S, true))				\
	PROG("fmod_ret", fmod_ret_##set, at_call(ctx, set * KINDS + FMOD_RET, false))				\
	PROG("fmod_ret.s", fmod_ret_s_##set, at_call(ctx, set * KINDS + FMOD_RET_S, true))			\
	PROG("fsession", session_##set, session(ctx, set * KINDS + SESSION, false, NULL))			\
	PROG("fsession", session_c_##set, session(ctx, set * KINDS + SESSION_C, false, bpf_session_cookie(ctx))) \
	PROG("fsession.s", session_s_##set, session(ctx, set * KINDS + SESSION_S, true, NULL))			\
	PROG("fsession.s", session_sc_##set, session(ctx, set * KINDS + SESSION_SC, true, bpf_session_cookie(ctx)))

PROGS(0)
PROGS(1)
PROGS(2)

/* A function to be traced: a program, whose trampoline changes much faster than those of the kernel's functions. */
SEC("syscall")
int callee(void *ctx)
{
	dwell(bpf_ktime_get_ns(), true);
	return 0;
}

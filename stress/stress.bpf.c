// SPDX-License-Identifier: GPL-2.0
/* Three programs of each kind. They count what they see and check what a session promises. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "stress.h"

char LICENSE[] SEC("license") = "GPL";

const volatile __u64 seed;
const volatile __u64 target_ip;
const volatile bool recursive;		/* the first argument is the depth */
const volatile bool overriding;		/* fmod_ret may keep a call from the function */
const volatile bool faulting;		/* programs load from a bad pointer */
const volatile bool throwing;		/* programs end by an exception */
const volatile bool calling;		/* sessions end by a tail call */
const void *user_page;			/* is unmapped and mapped again all the time */

struct slot slots[SLOTS + 1];
/* per task and session: MARK() between entry and return, else 0 */
__u32 inside[PIDS][SETS * SESSIONS];
/* MARK() of the attached session; 0 from before its detach begins */
__u32 live[SLOTS];
__u64 overrides;			/* calls that fmod_ret did not let through */
__u64 faults;
__u64 throws;
__u64 no_callee[2];			/* tail calls that found none, at entry and at return */
__u64 sleepers;				/* tasks that wait for the page in a program */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, CALLEES);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} callees SEC(".maps");

static void violation(int slot, enum violation v)
{
	__sync_fetch_and_add(&slots[slot].violations[v], 1);
}

/* True for one in 2^bits values of n. The same seed selects the same values. */
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
	if (sleepable && now_and_then(~n, 5)) {
		__sync_fetch_and_add(&sleepers, 1);
		bpf_copy_from_user(&c, sizeof(c), user_page);
		__sync_fetch_and_add(&sleepers, -1);
	}
}

/* A load from here faults on x86_64 and on arm64. */
#define BAD_POINTER	((void *)0xff80000000001000)

/* May end the program with an exception. Call it after everything that must run. */
static __always_inline void stumble(int slot)
{
	struct task_struct *task;

	if (faulting && bpf_get_prandom_u32() % 2) {
		task = bpf_rdonly_cast(BAD_POINTER, bpf_core_type_id_kernel(struct task_struct));
		if (task->pid)
			violation(slot, WRONG_LOAD);
		__sync_fetch_and_add(&faults, 1);
	}
	if (throwing && bpf_get_prandom_u32() % 2) {
		__sync_fetch_and_add(&throws, 1);
		bpf_throw(0);
	}
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

/* The return of this session was skipped. That is an error unless the session was detached. */
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

	/* The first program attached is the last one called: all sessions have returned. */
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

/* A value that is not zero and depends on argument, task and attach cookie. A callee computes the
 * same value as its caller.
 */
static __always_inline __u64 value(__u64 *ctx)
{
	__u64 arg = 0;

	bpf_get_func_arg(ctx, 0, &arg);
	return (arg ^ bpf_get_current_pid_tgid() << 16 ^ bpf_get_attach_cookie(ctx)) | 1;
}

static __always_inline int session(__u64 *ctx, int slot, bool sleepable, __u64 *cookie)
{
	int nr = SET(slot) * SESSIONS + KIND(slot) - SESSION;
	__u32 *in = inside_of(ctx) + nr;
	__u64 tag = bpf_get_attach_cookie(ctx);
	__u64 val = value(ctx), result = 0;
	struct slot *s = &slots[slot];

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

/* A constant index is patched into the program, another one is looked up. */
static __always_inline int tail_call(__u64 *ctx)
{
	__u32 key = bpf_get_prandom_u32() % CALLEES;

	if (key)
		bpf_tail_call(ctx, &callees, key);
	else
		bpf_tail_call_static(ctx, &callees, 0);
	__sync_fetch_and_add(&no_callee[bpf_session_is_return(ctx)], 1);
	return 0;
}

/* Is the caller a session that stores a cookie? All of those have an attach cookie. */
static __always_inline bool caller_has_cookie(__u64 *ctx)
{
	__u64 tag = bpf_get_attach_cookie(ctx);

	return tag && KIND((tag >> 32) - 1) == SESSION_C;
}

/* A callee shares its caller's cookie. If the caller stores none, a callee may have stored it at
 * the entry of this call.
 */
static __always_inline int callee(__u64 *ctx, bool sleepable, __u64 *cookie, bool ip)
{
	struct slot *s = &slots[CALLEE_SLOT];
	bool returns = bpf_session_is_return(ctx);
	__u64 val = value(ctx);

	if (returns)
		__sync_fetch_and_add(&s->returns, 1);
	else
		__sync_fetch_and_add(&s->entries, 1);
	if (cookie) {
		if (!caller_has_cookie(ctx) && !returns && *cookie)
			violation(CALLEE_SLOT, STALE_COOKIE);
		if (*cookie != val && (caller_has_cookie(ctx) || *cookie))
			violation(CALLEE_SLOT, WRONG_COOKIE);
		*cookie = val;
	}
	if (ip && bpf_get_func_ip(ctx) != target_ip)
		violation(CALLEE_SLOT, WRONG_IP);
	dwell(s->entries + s->returns, sleepable);
	return 0;
}

#define PROG(section, name, call)	\
	SEC(section)			\
	int name(__u64 *ctx)		\
	{				\
		return call;		\
	}

#define STUMBLER(section, name, slot, call)	\
	SEC(section)				\
	int name(__u64 *ctx)			\
	{					\
		int ret = call;			\
						\
		stumble(slot);			\
		return ret;			\
	}

#define CALLER(section, name, slot, call)	\
	SEC(section)				\
	int name(__u64 *ctx)			\
	{					\
		call;				\
		stumble(slot);			\
		return calling ? tail_call(ctx) : 0; \
	}

#define SLOT(set, kind)	((set) * KINDS + (kind))

#define PROGS(set)										\
	STUMBLER("fentry", fentry_##set, SLOT(set, FENTRY),					\
		 at_entry(ctx, SLOT(set, FENTRY), false))					\
	STUMBLER("fentry.s", fentry_s_##set, SLOT(set, FENTRY_S),				\
		 at_entry(ctx, SLOT(set, FENTRY_S), true))					\
	STUMBLER("fexit", fexit_##set, SLOT(set, FEXIT),					\
		 at_return(ctx, SLOT(set, FEXIT), false))					\
	STUMBLER("fexit.s", fexit_s_##set, SLOT(set, FEXIT_S),					\
		 at_return(ctx, SLOT(set, FEXIT_S), true))					\
	STUMBLER("fmod_ret", fmod_ret_##set, SLOT(set, FMOD_RET),				\
		 at_call(ctx, SLOT(set, FMOD_RET), false))					\
	STUMBLER("fmod_ret.s", fmod_ret_s_##set, SLOT(set, FMOD_RET_S),				\
		 at_call(ctx, SLOT(set, FMOD_RET_S), true))					\
	CALLER("fsession", session_##set, SLOT(set, SESSION),					\
	       session(ctx, SLOT(set, SESSION), false, NULL))					\
	CALLER("fsession", session_c_##set, SLOT(set, SESSION_C),				\
	       session(ctx, SLOT(set, SESSION_C), false, bpf_session_cookie(ctx)))		\
	STUMBLER("fsession.s", session_s_##set, SLOT(set, SESSION_S),				\
		 session(ctx, SLOT(set, SESSION_S), true, NULL))				\
	STUMBLER("fsession.s", session_sc_##set, SLOT(set, SESSION_SC),				\
		 session(ctx, SLOT(set, SESSION_SC), true, bpf_session_cookie(ctx)))

PROGS(0)
PROGS(1)
PROGS(2)

PROG("fsession", callee_plain, callee(ctx, false, NULL, false))
PROG("fsession", callee_cookie, callee(ctx, false, bpf_session_cookie(ctx), false))
PROG("fsession", callee_ip, callee(ctx, false, NULL, true))
/* refused: its callers do not sleep */
PROG("fsession.s", callee_sleepable, callee(ctx, true, NULL, false))

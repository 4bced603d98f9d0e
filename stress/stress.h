/* SPDX-License-Identifier: GPL-2.0 */
#ifndef STRESS_H
#define STRESS_H

enum kind {
	FENTRY,
	FENTRY_S,
	FEXIT,
	FEXIT_S,
	FMOD_RET,
	FMOD_RET_S,
	SESSION,	/* from here on sessions */
	SESSION_C,	/* with a cookie */
	SESSION_S,
	SESSION_SC,
	KINDS,
	SESSIONS = KINDS - SESSION,
};

/* Each function has three sets of programs. A set has one program of each kind. The programs of the
 * first set stay attached: the watchers. Those of the others are attached and detached. A slot is a
 * program of a set.
 */
#define SETS		3
#define SLOTS		(SETS * KINDS)
#define KIND(slot)	((slot) % KINDS)
#define SET(slot)	((slot) / KINDS)
#define SESSION_SLOT(n)	((n) / SESSIONS * KINDS + SESSION + (n) % SESSIONS)

/* One extra slot counts the runs of all callees of tail calls. */
#define CALLEE_SLOT	SLOTS
#define CALLEES		8	/* entries of the prog array */

/* TAGGED slots have an attach cookie: slot + 1 in the upper 32 bits, the number of attaches below.
 * Sessions that are attached and detached always have one, to tell an attachment from the one
 * before.
 */
#define TAGGED(slot)	(((slot) & 1) || (SET(slot) && KIND(slot) >= SESSION))
#define TAG(slot, gen)	((__u64)((slot) + 1) << 32 | (gen))

/* What a session leaves in inside[] while it is between its entry and its return */
#define MARK(tag)	(0x80000000 | (__u32)(tag))

#define PIDS		32768

enum violation {
	LONE_RETURN,
	LOST_RETURN,
	STALE_COOKIE,
	WRONG_COOKIE,
	WRONG_TAG,
	WRONG_IP,
	WRONG_LOAD,
	EARLY_RESULT,
	VIOLATIONS,
};

struct slot {
	__u64 entries;
	__u64 returns;
	__u64 skipped;		/* returns of sessions that were detached by then */
	__u64 violations[VIOLATIONS];
};

#endif

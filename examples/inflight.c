// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "trace.h"
#include "inflight.h"
#include "inflight.skel.h"

static const char usage[] =
"Usage: inflight [OPTION]... FUNCTION...\n"
"How many calls are inside of kernel functions right now, and the oldest of them. FUNCTION is a name,\n"
"a pattern like 'vfs_*' (64 functions at the most) or module:name.\n"
"\n"
"  -n, --oldest COUNT       list so many of the oldest calls, 5 if not given\n"
"  -s, --stack              show for each of these where its thread is now\n"
"  -c, --calls COUNT        keep so many calls for the list, 16384 if not given; more are counted only\n"
"  -p, --pid PID            calls of this process or thread only; outside of containers it is called PID\n"
"  -i, --interval SECONDS   report every so often, each second if not given\n"
"  -d, --duration SECONDS   end by itself; both take 500ms and the like, too\n"
"  -v, --verbose            what libbpf does\n"
"  -h, --help               this text\n"
"\n"
"The table: calls that are inside, calls that entered since the last report. Calls that were inside\n"
"before the start, and those of inflight itself, are not seen. Those that the kernel's recursion guard\n"
"kept out are told of at the end. A thread that ends inside of a function never returns: its call stays.\n"
"A function has room for four programs like this one.\n"
"\n"
"  inflight hrtimer_nanosleep        who sleeps, and since when\n"
"  inflight -s -i 5 vfs_fsync_range  each 5 seconds: which fsync hangs, and where\n"
"  inflight -n 0 'tcp_*msg'          numbers only\n";

static const struct option options[] = {
	COMMON_OPTIONS,
	{ "oldest", required_argument, NULL, 'n' },
	{ "stack", no_argument, NULL, 's' },
	{ "calls", required_argument, NULL, 'c' },
	{}
};

static struct gauge *gauges;			/* of each function */
static struct call *calls;
static __u64 max_calls = 16384, max_listed = 5;
static bool stacks;

struct row {
	int func;
	__u64 entered;
	__u64 inside;
	__u64 unlisted;
};

struct listed {
	__u32 slot;
	struct call call;
};

static __u64 load(const unsigned long long *value)
{
	return __atomic_load_n(value, __ATOMIC_ACQUIRE);
}

/* entered - returned, as it was at one moment: when nothing returned meanwhile. If that never comes, nearly so. */
static struct row read_gauge(int func)
{
	const struct gauge *g = &gauges[func];
	struct row row = { .func = func };
	__u64 returned;
	int i;

	for (i = 0; i < 1000; i++) {
		returned = load(&g->returned);
		row.entered = load(&g->entered);
		if (returned == load(&g->returned))
			break;
	}
	row.inside = row.entered - returned;
	returned = load(&g->unlisted_returned);
	row.unlisted = load(&g->unlisted_entered) - returned;
	return row;
}

static __u64 number(const struct func *f, int index)
{
	return index;
}

static bool still_inside(const struct listed *l)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return load(&calls[l->slot].since) == l->call.since;
}

/* Whether there is a call in this slot. What was read is of one call if that is still inside after. */
static bool read_call(__u32 slot, struct listed *l)
{
	__u64 since = load(&calls[slot].since);

	if (since <= WRITING)
		return false;
	l->slot = slot;
	l->call = calls[slot];
	l->call.since = since;
	return still_inside(l);
}

static int by_inside(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->inside != y->inside)
		return x->inside < y->inside ? 1 : -1;
	return x->func - y->func;
}

static int by_age(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	return x->call.since > y->call.since ? 1 : x->call.since < y->call.since ? -1 : 0;
}

/* Where the thread is: lines like "[<0>] hrtimer_nanosleep+0x97/0x120". Nothing if it has left the call by now. */
static void print_stack(const struct listed *l)
{
	char path[64], text[4096], *line, *save;
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/stack", l->call.tid);
	f = fopen(path, "re");
	if (!f)
		return;
	len = fread(text, 1, sizeof(text) - 1, f);
	text[len] = '\0';
	fclose(f);
	if (!still_inside(l))
		return;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		printf("%46s%s\n", "", strchr(line, ' ') ? strchr(line, ' ') + 1 : line);
}

/* Whoever may open it may not be allowed to read it: that takes CAP_SYS_ADMIN. */
static bool can_read_stacks(void)
{
	FILE *f = fopen("/proc/self/stack", "re");
	bool can = f && fgetc(f) != EOF;

	if (f)
		fclose(f);
	return can;
}

static void print_oldest(void)
{
	static struct listed *list;
	__u64 i, n = 0, t;

	list = list ?: calloc(max_calls, sizeof(*list));
	if (!list)
		exit(fail("out of memory"));
	for (i = 0; i < max_calls; i++)
		n += read_call(i, &list[n]);
	t = now();
	qsort(list, n, sizeof(*list), by_age);
	if (n)
		printf("\n%10s %7s %7s  %-15s  %s\n", "age", "pid", "tid", "process", "function");
	for (i = 0; i < n && i < max_listed; i++) {
		const struct call *c = &list[i].call;

		printf("%10s %7u %7u  %-15.16s  %s\n", time_text(t - c->since), c->pid, c->tid, c->comm,
		       funcs[c->func].name);
		if (stacks)
			print_stack(&list[i]);
	}
}

static void report(void)
{
	static __u64 entered[MAX_FUNCS];
	static struct row rows[MAX_FUNCS];
	__u64 unlisted = 0;
	int i;

	for (i = 0; i < nr_funcs; i++) {
		rows[i] = read_gauge(i);
		unlisted += rows[i].unlisted;
	}
	qsort(rows, nr_funcs, sizeof(rows[0]), by_inside);

	putchar('\n');
	print_clock(now());
	printf("\n%10s %10s  %s\n", "inside", "entered", "function");
	for (i = 0; i < nr_funcs; i++) {
		const struct func *f = &funcs[rows[i].func];
		__u64 *before = &entered[rows[i].func];

		if (rows[i].inside || rows[i].entered != *before || f->wanted)
			printf("%10llu %10llu  %s\n", rows[i].inside, rows[i].entered - *before, f->name);
		*before = rows[i].entered;
	}
	if (unlisted)
		printf("%10llu of them are not listed: -c keeps %llu calls\n", unlisted, max_calls);
	if (max_listed)
		print_oldest();
}

static int run(char **names, int count)
{
	struct inflight_bpf *skel;
	int err;

	if (stacks && !max_listed)
		misuse("-s shows nothing with -n 0");
	err = find_funcs(names, count);
	if (err)
		return err;
	interval = interval ?: NSEC;
	if (stacks && !can_read_stacks())
		return fail("-s: /proc/PID/stack: %s", strerror(errno));
	skel = inflight_bpf__open();
	if (!skel)
		return fail("cannot open the program: %s", strerror(errno));
	skel->rodata->only_pid = pid;
	skel->rodata->own_pid = getpid();
	skel->rodata->max_calls = max_calls;
	bpf_map__set_max_entries(skel->maps.gauges, nr_funcs);
	bpf_map__set_max_entries(skel->maps.calls, max_calls);

	err = prepare(skel->obj);
	if (err)
		return err;
	gauges = map_memory(skel->maps.gauges);
	calls = map_memory(skel->maps.calls);
	return attach_funcs(skel->progs.inflight, number) ?:
	       trace("Counting the calls inside of", &skel->bss->ended, NULL, report);
}

int main(int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, "n:sc:p:i:d:vh", options, NULL)) != -1) {
		switch (opt) {
		case 'n':
			max_listed = number_option("-n", optarg, 0, 1 << 20);
			break;
		case 's':
			stacks = true;
			break;
		case 'c':
			max_calls = number_option("-c", optarg, 1, 1 << 20);
			break;
		default:
			common_option(opt, usage);
		}
	}
	return run(argv + optind, argc - optind);
}

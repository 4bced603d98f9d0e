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

#define MOST		(1 << 20)

static const char usage[] =
"Usage: inflight [OPTION]... FUNCTION...\n"
"Show how many calls of kernel functions are in flight, and the oldest of them.\n"
"\n"
"FUNCTION is a name, a pattern like 'vfs_*' or module:name; up to 64 functions.\n"
"\n"
"What to show:\n"
"  -o, --oldest COUNT       list the COUNT oldest calls (default: 5)\n"
"  -k, --stack              show the current kernel stack of the thread of each listed call\n"
"      --calls COUNT        keep COUNT calls for the list (default: 16384); more are only counted\n"
TRACE_USAGE("default: 1s")
"\n"
"The table: calls in flight, calls that entered since the last report. Calls in flight when\n"
"inflight starts are not counted. Calls that the recursion guard skipped are reported at the end.\n"
"If a thread exits in a function, its call stays in the table: it never returns. A function takes\n"
"at most four sessions with a cookie, such as those of funclat and inflight.\n"
"\n"
"Examples:\n"
"  inflight hrtimer_nanosleep        who sleeps, and for how long so far\n"
"  inflight -k -i 5 vfs_fsync_range  every 5 seconds: which fsync hangs, and where\n"
"  inflight -o 0 'tcp_*msg'          numbers only\n"
"  inflight -c system.slice do_wait  the services' processes that wait for a child\n";

enum { CALLS_OPT = TRACE_FIRST_OPT };

static const struct option options[] = {
	TRACE_LONG_OPTS,
	{ "oldest", required_argument, NULL, 'o' },
	{ "stack", no_argument, NULL, 'k' },
	{ "calls", required_argument, NULL, CALLS_OPT },
	{}
};

static struct {
	__u64 oldest;
	__u64 max_calls;
	bool stacks;
} opts = { .oldest = 5, .max_calls = 16384 };

static struct gauge *gauges;			/* of each function */
static struct call *calls;
static __u64 entered[TRACE_MAX_FUNCS];		/* by the last report */

struct row {
	int func;
	__u64 entered;
	__u64 in_flight;
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

/*
 * entered - returned. Both are read again until no call has returned in between: then they belong
 * together. If that never happens, the difference is nearly right.
 */
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
	row.in_flight = row.entered - returned;
	returned = load(&g->unlisted_returned);
	row.unlisted = load(&g->unlisted_entered) - returned;
	return row;
}

static __u64 attach_cookie(const struct trace_func *f, int index)
{
	return index;
}

static bool in_flight(const struct listed *l)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return load(&calls[l->slot].since) == l->call.since;
}

/* Copies the call in this slot. Returns false if there is none, or if it returned meanwhile. */
static bool read_call(__u32 slot, struct listed *l)
{
	__u64 since = load(&calls[slot].since);

	if (since <= WRITING)
		return false;
	l->slot = slot;
	l->call = calls[slot];
	l->call.since = since;
	return in_flight(l);
}

static int by_number(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->in_flight != y->in_flight)
		return x->in_flight < y->in_flight ? 1 : -1;
	return x->func - y->func;
}

static int by_age(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	return x->call.since > y->call.since ? 1 : x->call.since < y->call.since ? -1 : 0;
}

/*
 * Where the thread is: lines like "[<0>] hrtimer_nanosleep+0x97/0x120". None if it has left the
 * call by now.
 */
static void print_stack(const struct listed *l)
{
	char path[64], text[4096], *line, *save;
	const char *comma = "";
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%u/stack", l->call.tid);
	f = fopen(path, "re");
	if (!f)
		return;
	len = fread(text, 1, sizeof(text) - 1, f);
	text[len] = '\0';
	fclose(f);
	if (!in_flight(l))
		return;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *symbol = strchr(line, ' ') ? strchr(line, ' ') + 1 : line;

		if (trace_opts.json)
			printf("%s\"%s\"", comma, symbol);
		else
			printf("%46s%s\n", "", symbol);
		comma = ",";
	}
}

/* Opening /proc/PID/stack may succeed, but reading it needs CAP_SYS_ADMIN. */
static bool can_read_stacks(void)
{
	FILE *f = fopen("/proc/self/stack", "re");
	bool can = f && fgetc(f) != EOF;

	if (f)
		fclose(f);
	return can;
}

static void print_json_call(const struct listed *l, __u64 t)
{
	const struct call *c = &l->call;

	printf("{\"type\":\"call\",\"pid\":%u,\"tid\":%u,\"comm\":", c->pid, c->tid);
	trace_print_json_string(c->comm, sizeof(c->comm));
	printf(",\"function\":\"%s\",\"age_ns\":%llu", trace_funcs[c->func].name, t - c->since);
	if (opts.stacks) {
		printf(",\"stack\":[");
		print_stack(l);
		putchar(']');
	}
	printf("}\n");
}

static void print_call(const struct listed *l, __u64 t)
{
	const struct call *c = &l->call;

	printf("%10s %7u %7u  %-15.16s  %s\n", trace_time_text(t - c->since), c->pid, c->tid,
	       c->comm, trace_funcs[c->func].name);
	if (opts.stacks)
		print_stack(l);
}

static void print_oldest(void)
{
	struct listed *list = calloc(opts.max_calls, sizeof(*list));
	__u64 i, n = 0, t;

	if (!list)
		trace_fail_memory();
	for (i = 0; i < opts.max_calls; i++)
		n += read_call(i, &list[n]);
	t = trace_now();
	qsort(list, n, sizeof(*list), by_age);
	if (n && !trace_opts.json)
		printf("\n%10s %7s %7s  %-15s  %s\n", "age", "pid", "tid", "process", "function");
	for (i = 0; i < n && i < opts.oldest; i++) {
		if (trace_opts.json)
			print_json_call(&list[i], t);
		else
			print_call(&list[i], t);
	}
	free(list);
}

static void print_json_row(const struct row *row)
{
	printf("{\"type\":\"function\",");
	trace_print_json_time(trace_now());
	printf(",\"function\":\"%s\",\"in_flight\":%llu,\"entered\":%llu,\"unlisted\":%llu}\n",
	       trace_funcs[row->func].name, row->in_flight, row->entered - entered[row->func],
	       row->unlisted);
}

static void print_row(const struct row *row)
{
	const struct trace_func *f = &trace_funcs[row->func];
	__u64 new = row->entered - entered[row->func];

	if (row->in_flight || new || f->required)
		printf("%10llu %10llu  %s\n", row->in_flight, new, f->name);
}

static void print_table(const struct row *rows, __u64 unlisted)
{
	int i;

	putchar('\n');
	if (trace_opts.timestamps) {
		trace_print_clock(trace_now());
		putchar('\n');
	}
	printf("%10s %10s  %s\n", "in flight", "entered", "function");
	for (i = 0; i < trace_nr_funcs; i++)
		print_row(&rows[i]);
	if (unlisted)
		printf("%10llu of them are not listed: --calls keeps %llu\n", unlisted,
		       opts.max_calls);
}

static void report(void)
{
	static struct row rows[TRACE_MAX_FUNCS];
	__u64 unlisted = 0;
	int i;

	for (i = 0; i < trace_nr_funcs; i++) {
		rows[i] = read_gauge(i);
		unlisted += rows[i].unlisted;
	}
	qsort(rows, trace_nr_funcs, sizeof(rows[0]), by_number);

	if (!trace_opts.json)
		print_table(rows, unlisted);
	for (i = 0; trace_opts.json && i < trace_nr_funcs; i++)
		print_json_row(&rows[i]);
	for (i = 0; i < trace_nr_funcs; i++)
		entered[rows[i].func] = rows[i].entered;
	if (opts.oldest)
		print_oldest();
}

static int set_up(struct inflight_bpf *skel)
{
	skel->rodata->trace_filter = trace_opts.filter;
	skel->rodata->max_calls = opts.max_calls;
	bpf_map__set_max_entries(skel->maps.gauges, trace_nr_funcs);
	bpf_map__set_max_entries(skel->maps.calls, opts.max_calls);

	if (trace_load(skel->obj))
		return 1;
	gauges = trace_map_memory(skel->maps.gauges);
	calls = trace_map_memory(skel->maps.calls);
	return !gauges || !calls;
}

static int run(char **names, int count)
{
	struct inflight_bpf *skel = NULL;
	int err;

	err = trace_find_funcs(names, count, NULL);
	if (err)
		goto out;
	if (opts.stacks && !can_read_stacks()) {
		err = trace_fail("-k: /proc/PID/stack: %s", strerror(errno));
		goto out;
	}
	skel = inflight_bpf__open();
	if (!skel) {
		err = trace_fail("cannot open the program: %s", strerror(errno));
		goto out;
	}
	err = set_up(skel);
	if (!err) {
		struct trace_tool tool = {
			.what = "Counting calls in flight in",
			.prog = skel->progs.inflight,
			.cgroup = skel->maps.trace_cgroup,
			.ended = &skel->bss->trace_ended,
			.cookie = attach_cookie,
			.report = report,
		};

		trace_opts.interval = trace_opts.interval ?: TRACE_NSEC;
		err = trace_run(&tool);
	}
out:
	trace_destroy();
	inflight_bpf__destroy(skel);
	return err;
}

int main(int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, TRACE_SHORT_OPTS "o:k", options, NULL)) != -1) {
		switch (opt) {
		case 'o':
			opts.oldest = trace_number_option("-o", optarg, 0, MOST);
			break;
		case 'k':
			opts.stacks = true;
			break;
		case CALLS_OPT:
			opts.max_calls = trace_number_option("--calls", optarg, 1, MOST);
			break;
		default:
			trace_option(opt, usage);
		}
	}
	if (opts.stacks && !opts.oldest)
		trace_misuse("-k shows nothing with -o 0");
	return run(argv + optind, argc - optind);
}

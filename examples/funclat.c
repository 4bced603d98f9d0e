// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "trace.h"
#include "funclat.h"
#include "funclat.skel.h"

#define NEVER		(~0ULL)
#define MAX_DEPTH	32
#define STRING_BYTES	64
#define BUFFER_SIZE	(1 << 20)

static const char usage[] =
"Usage: funclat [OPTION]... FUNCTION...\n"
"Show how long calls of kernel functions take: a table and a histogram at the end, slow calls as\n"
"they return.\n"
"\n"
"FUNCTION is a name, a pattern like 'vfs_*' or module:name; up to 64 functions. The time of a\n"
"call includes all that it calls, and sleep.\n"
"\n"
"What to show:\n"
"  -t, --min TIME           show each call that takes at least TIME, with arguments and return\n"
"                           value; 0 is every call\n"
"  -k, --stack              with -t: show the kernel stack of each call, up to 32 frames\n"
"  -x, --failed             count and show only calls that returned a negative error\n"
"  -F, --each               a histogram for each function\n"
"      --string SIZE        with -t: show up to SIZE bytes of a string (default: 64)\n"
"      --buffer SIZE        with -t: room for calls that are not printed yet (default: 1M); K and\n"
"                           M are units\n"
TRACE_USAGE("default: once, at the end")
"\n"
"The table: calls that returned; calls in flight; the mean, the bounds below which 50% and 99% of\n"
"the calls are (powers of two), the longest call, the sum. Calls in flight when funclat starts\n"
"are not counted. Calls that the recursion guard skipped are reported at the end.\n"
"\n"
"Arguments are those at the entry. Strings (const char * arguments, char * results) are read at\n"
"the return: at most three per call, further ones are shown as pointers. A function takes at most\n"
"four sessions with a cookie, such as those of funclat and inflight.\n"
"\n"
"Examples:\n"
"  funclat vfs_read                  reads of all processes, until Ctrl-C\n"
"  funclat -d 10 -F 'vfs_*'          ten seconds of file system calls\n"
"  funclat -t 20ms -k -p 1234 do_filp_open\n"
"                                    slow opens of process 1234, and their stacks\n"
"  funclat -x -t 0 -n nginx do_sys_openat2\n"
"                                    files that nginx fails to open\n"
"  funclat -i 1 -T ext4:ext4_sync_file\n"
"                                    a report every second, of a function of a module\n";

enum { STRING_OPT = TRACE_FIRST_OPT, BUFFER_OPT };

static const struct option options[] = {
	TRACE_LONG_OPTS,
	{ "min", required_argument, NULL, 't' },
	{ "stack", no_argument, NULL, 'k' },
	{ "failed", no_argument, NULL, 'x' },
	{ "each", no_argument, NULL, 'F' },
	{ "string", required_argument, NULL, STRING_OPT },
	{ "buffer", required_argument, NULL, BUFFER_OPT },
	{}
};

static struct {
	__u64 slow_ns;
	__u64 string_size;
	__u64 buffer_size;
	bool stacks;
	bool only_failed;
	bool each;
} opts = { .slow_ns = NEVER };

static struct stats *stats;			/* of each function on each CPU */
static struct stats last[TRACE_MAX_FUNCS];	/* what the last report had */
static int cpus;

struct row {
	int func;
	__s64 in_flight;
	struct stats new;
};

/* Types: what an argument is, and how it looks */

static const struct btf_type *plain_type(const struct btf *btf, __u32 id)
{
	return btf__type_by_id(btf, btf__resolve_type(btf, id));
}

static int words(const struct btf *btf, __u32 type)
{
	return btf__resolve_size(btf, type) > 8 ? 2 : 1;
}

/*
 * An argument is a string only if it is const char *: another char * is often a buffer that the
 * function fills.
 */
static bool is_string(const struct btf *btf, __u32 type, bool returned)
{
	const struct btf_type *t = plain_type(btf, type);
	bool constant = false;

	if (!btf_is_ptr(t))
		return false;
	t = btf__type_by_id(btf, t->type);
	while (btf_is_mod(t) || btf_is_typedef(t)) {
		constant |= btf_is_const(t);
		t = btf__type_by_id(btf, t->type);
	}
	return (constant || returned) && btf_is_int(t) && t->size == 1 &&
	       !strcmp(btf__name_by_offset(btf, t->name_off), "char");
}

/* The size of the return value if it may be a negative error, else 0 */
static int error_size(const struct trace_func *f)
{
	const struct btf_type *proto = trace_proto(f), *t;

	if (!proto->type)
		return 0;
	t = plain_type(f->btf, proto->type);
	if (btf_is_ptr(t))
		return 8;
	if (btf_is_int(t) && t->size >= 4 && btf_int_encoding(t) & BTF_INT_SIGNED)
		return t->size;
	return 0;
}

static const char *never_fails(const struct trace_func *f)
{
	return error_size(f) ? NULL : "it returns no error: -x would show nothing";
}

static __u64 identity(const struct trace_func *f, int index)
{
	const struct btf_type *proto = trace_proto(f);
	const struct btf_param *p = btf_params(proto);
	union identity self = { .func = index, .error_size = error_size(f) };
	int i, word = 0, n = 0;

	memset(self.strings, NO_VALUE, sizeof(self.strings));
	if (proto->type && is_string(f->btf, proto->type, true))
		self.strings[n++] = RETURNED;
	for (i = 0; i < btf_vlen(proto); word += words(f->btf, p[i++].type))
		if (n < STRINGS && is_string(f->btf, p[i].type, false))
			self.strings[n++] = word;
	return self.cookie;
}

static void print_string(const char *text, int len)
{
	int i;

	if (trace_opts.json) {
		trace_print_json_string(text, len - 1);
		return;
	}
	putchar('"');
	for (i = 0; i < len - 1; i++) {
		unsigned char c = text[i];

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c == '\n')
			printf("\\n");
		else if (c < ' ' || c > '~')
			printf("\\x%02x", c);
		else
			putchar(c);
	}
	printf("\"%s", (__u64)len == opts.string_size ? "..." : "");
}

static bool print_enum(const struct btf *btf, const struct btf_type *t, __s64 value)
{
	const char *quote = trace_opts.json ? "\"" : "", *name = NULL;
	int i;

	for (i = 0; i < btf_vlen(t) && !name; i++) {
		if (btf_is_enum(t) && btf_enum(t)[i].val == (__s32)value)
			name = btf__name_by_offset(btf, btf_enum(t)[i].name_off);
		if (btf_is_enum64(t) && btf_enum64_value(&btf_enum64(t)[i]) == (__u64)value)
			name = btf__name_by_offset(btf, btf_enum64(t)[i].name_off);
	}
	if (name)
		printf("%s%s%s", quote, name, quote);
	return name;
}

static void print_number(__u64 value, int size, bool sign)
{
	int unused = size < 8 ? 64 - size * 8 : 0;

	if (sign)
		printf("%lld", (long long)(value << unused) >> unused);
	else
		printf("%llu", value << unused >> unused);
}

static void print_value(const struct btf *btf, __u32 type, const __u64 *value)
{
	const struct btf_type *t = plain_type(btf, type);
	const char *quote = trace_opts.json ? "\"" : "";

	if (btf_is_ptr(t) && *value)
		printf("%s0x%llx%s", quote, *value, quote);
	else if (btf_is_ptr(t))
		printf(trace_opts.json ? "null" : "NULL");
	else if (btf_is_int(t) && btf_int_encoding(t) & BTF_INT_BOOL)
		printf(*value & 0xff ? "true" : "false");
	else if (btf_is_int(t))
		print_number(*value, t->size, btf_int_encoding(t) & BTF_INT_SIGNED);
	else if (btf_is_any_enum(t) && !print_enum(btf, t, *value))
		print_number(*value, t->size, btf_kflag(t));
	else if (btf_is_composite(t) && words(btf, type) == 2)
		printf("%s{0x%llx, 0x%llx}%s", quote, value[0], value[1], quote);
	else if (btf_is_composite(t))
		printf("%s{0x%llx}%s", quote, *value, quote);
}

/* The name of the error that was returned, be it in a number or in a pointer, or NULL */
static const char *error_name(const struct trace_func *f, __u64 value)
{
	int size = error_size(f);
	__s64 number = size == 4 ? (__s32)value : (__s64)value;

	return size && number < 0 && number >= -MAX_ERRNO ? strerrorname_np(-number) : NULL;
}

/* Slow calls */

/* The strings of an event, in the order of its values; NULL where there is none */
static void find_strings(const struct event *e, union identity self, const char **strings,
			 int *lengths)
{
	const char *text = (const char *)e->stack + (opts.stacks ? MAX_DEPTH * 8 : 0);
	int i;

	for (i = 0; i < STRINGS; i++, text += opts.string_size) {
		if (self.strings[i] < MAX_VALUES && e->lengths[i] > 0) {
			strings[self.strings[i]] = text;
			lengths[self.strings[i]] = e->lengths[i];
		}
	}
}

static void print_args(const struct trace_func *f, const struct event *e, const char **strings,
		       const int *lengths)
{
	const struct btf_type *proto = trace_proto(f);
	const struct btf_param *p = btf_params(proto);
	const char *format = trace_opts.json ? "%s\"%s\":" : "%s%s=";
	const char *comma = trace_opts.json ? "," : ", ";
	int i, word = 0;

	for (i = 0; i < btf_vlen(proto); word += words(f->btf, p[i++].type)) {
		printf(format, i ? comma : "", btf__name_by_offset(f->btf, p[i].name_off));
		if (strings[word])
			print_string(strings[word], lengths[word]);
		else
			print_value(f->btf, p[i].type, &e->values[word]);
	}
}

static void print_returned(const struct trace_func *f, const struct event *e, const char **strings,
			   const int *lengths)
{
	__u64 value = e->values[RETURNED];
	const char *error = error_name(f, value);

	if (error && trace_opts.json)
		printf("%lld,\"error\":\"%s\"", error_size(f) == 4 ? (__s32)value : (__s64)value,
		       error);
	else if (error)
		printf("-%s", error);
	else if (strings[RETURNED])
		print_string(strings[RETURNED], lengths[RETURNED]);
	else
		print_value(f->btf, trace_proto(f)->type, &value);
}

/*
 * If the function calls its trampoline instead of jumping to it, the first frame is a return
 * address near the start of the function.
 */
static bool is_own_frame(const struct trace_func *f, __u64 address)
{
	const char *colon = strchr(f->name, ':');
	__u64 offset;
	const char *symbol = trace_find_symbol(address, &offset);

	return symbol && offset < 16 && !strcmp(symbol, colon ? colon + 1 : f->name);
}

static void print_stack(const struct trace_func *f, const struct event *e)
{
	int i, depth = e->stack_size / 8;
	int first = depth > 0 && is_own_frame(f, e->stack[0]);

	for (i = first; i < depth; i++) {
		printf(trace_opts.json ? "%s\"" : "%28s",
		       !trace_opts.json ? "" : i > first ? "," : "");
		trace_print_symbol(e->stack[i]);
		printf(trace_opts.json ? "\"" : "\n");
	}
	if (depth == MAX_DEPTH && !trace_opts.json)
		printf("%28s... (only the first %d frames)\n", "", MAX_DEPTH - first);
}

static void print_json_event(const struct trace_func *f, const struct event *e,
			     const char **strings, const int *lengths)
{
	printf("{\"type\":\"call\",");
	trace_print_json_time(e->returned);
	printf(",\"pid\":%u,\"tid\":%u,\"comm\":", e->pid, e->tid);
	trace_print_json_string(e->comm, sizeof(e->comm));
	printf(",\"function\":\"%s\",\"latency_ns\":%llu,\"args\":{", f->name, e->ns);
	print_args(f, e, strings, lengths);
	putchar('}');
	if (trace_proto(f)->type) {
		printf(",\"ret\":");
		print_returned(f, e, strings, lengths);
	}
	if (opts.stacks) {
		printf(",\"stack\":[");
		print_stack(f, e);
		putchar(']');
	}
	printf("}\n");
}

static void print_text_event(const struct trace_func *f, const struct event *e,
			     const char **strings, const int *lengths)
{
	static bool headed;

	if (!headed) {
		if (trace_opts.timestamps)
			printf("%-16s", "time");
		printf("%7s %7s  %-15s %9s  %s\n", "pid", "tid", "process", "latency", "call");
		headed = true;
	}
	if (trace_opts.timestamps) {
		trace_print_clock(e->returned);
		putchar(' ');
	}
	printf("%7u %7u  %-15.16s %9s  %s(", e->pid, e->tid, e->comm, trace_time_text(e->ns),
	       f->name);
	print_args(f, e, strings, lengths);
	putchar(')');
	if (trace_proto(f)->type) {
		printf(" = ");
		print_returned(f, e, strings, lengths);
	}
	putchar('\n');
	print_stack(f, e);
}

static int print_event(void *ctx, void *data, size_t size)
{
	const struct event *e = data;
	const struct trace_func *f = &trace_funcs[e->func];
	union identity self = { .cookie = identity(f, e->func) };
	const char *strings[MAX_VALUES] = {};
	int lengths[MAX_VALUES];

	find_strings(e, self, strings, lengths);
	if (trace_opts.json)
		print_json_event(f, e, strings, lengths);
	else
		print_text_event(f, e, strings, lengths);
	return 0;
}

/* Reports */

static void add(struct stats *sum, const struct stats *s, int sign)
{
	int i;

	sum->returns += sign * s->returns;
	sum->calls += sign * s->calls;
	sum->total += sign * s->total;
	sum->lost += sign * s->lost;
	for (i = 0; i < SLOTS; i++)
		sum->slots[i] += sign * s->slots[i];
}

/* The calls since the last report, on all CPUs, and all calls that are in flight. */
static struct row since_last(int func)
{
	struct row row = { .func = func };
	struct stats all = {};
	int cpu;

	for (cpu = 0; cpu < cpus; cpu++) {
		struct stats *s = &stats[func * cpus + cpu];
		__u64 longest = __atomic_exchange_n(&s->longest, 0, __ATOMIC_RELAXED);

		add(&all, s, 1);
		if (row.new.longest < longest)
			row.new.longest = longest;
	}
	row.in_flight = -all.returns;
	for (cpu = 0; cpu < cpus; cpu++)
		row.in_flight += stats[func * cpus + cpu].entries;
	add(&row.new, &all, 1);
	add(&row.new, &last[func], -1);
	last[func] = all;
	return row;
}

/* Returns the upper bound of the slot that contains the given percentile. */
static __u64 bound(const struct stats *s, int percent)
{
	__u64 calls = 0;
	int i;

	for (i = 0; i < SLOTS - 1; i++) {
		calls += s->slots[i];
		if (calls * 100 >= s->calls * percent)
			break;
	}
	return 2ULL << i;
}

static __u64 slot_start(int slot)
{
	return slot ? 1ULL << slot : 0;
}

static void print_json_histogram(const char *title, const struct stats *s)
{
	const char *comma = "";
	int i;

	printf("{\"type\":\"histogram\"");
	if (title)
		printf(",\"function\":\"%s\"", title);
	printf(",\"slots\":[");
	for (i = 0; i < SLOTS; i++) {
		if (!s->slots[i])
			continue;
		printf("%s{\"from_ns\":%llu,\"to_ns\":%llu,\"calls\":%llu}", comma, slot_start(i),
		       (2ULL << i) - 1, s->slots[i]);
		comma = ",";
	}
	printf("]}\n");
}

static void print_histogram(const char *title, const struct stats *s)
{
	int i, first = SLOTS, final = -1;
	__u64 most = 1;

	if (trace_opts.json) {
		print_json_histogram(title, s);
		return;
	}
	for (i = 0; i < SLOTS; i++) {
		if (!s->slots[i])
			continue;
		if (first > i)
			first = i;
		final = i;
		if (most < s->slots[i])
			most = s->slots[i];
	}

	printf("\n%12s .. %-12s %10s%s%s\n", "ns", "", "calls", title ? "  " : "", title ?: "");
	for (i = first; i <= final; i++)
		printf("%12llu .. %-12llu %10llu |%-40.*s|\n", slot_start(i), (2ULL << i) - 1,
		       s->slots[i], (int)(s->slots[i] * 40 / most),
		       "****************************************");
}

static int by_total(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->new.total != y->new.total)
		return x->new.total < y->new.total ? 1 : -1;
	return x->func - y->func;
}

static void print_json_row(const struct row *r)
{
	const struct stats *s = &r->new;

	printf("{\"type\":\"function\",");
	trace_print_json_time(trace_now());
	printf(",\"function\":\"%s\",\"calls\":%llu,\"in_flight\":%lld",
	       trace_funcs[r->func].name, s->calls, r->in_flight);
	if (s->calls)
		printf(",\"mean_ns\":%llu,\"p50_below_ns\":%llu,\"p99_below_ns\":%llu,"
		       "\"longest_ns\":%llu,\"sum_ns\":%llu", s->total / s->calls, bound(s, 50),
		       bound(s, 99), s->longest, s->total);
	printf("}\n");
}

static void print_row(const struct row *r)
{
	const struct stats *s = &r->new;

	printf("%10llu %9lld", s->calls, r->in_flight);
	if (s->calls)
		printf(" %9s %9s %9s %9s", trace_time_text(s->total / s->calls),
		       trace_time_text(bound(s, 50)), trace_time_text(bound(s, 99)),
		       trace_time_text(s->longest));
	else
		printf(" %9s %9s %9s %9s", "-", "-", "-", "-");
	printf(" %9s  %s\n", s->calls ? trace_time_text(s->total) : "-",
	       trace_funcs[r->func].name);
}

static void print_table(const struct row *rows, int n)
{
	const char *none = opts.only_failed ? "no call failed" : "no calls";
	const char *others = opts.only_failed ? "the others did not fail" :
						"the others were not called";
	int i;

	putchar('\n');
	if (trace_opts.timestamps) {
		trace_print_clock(trace_now());
		putchar('\n');
	}
	if (n) {
		printf("%10s %9s %9s %9s %9s %9s %9s  %s\n", "calls", "in flight", "mean", "50% <",
		       "99% <", "longest", "sum", "function");
		for (i = 0; i < n; i++)
			print_row(&rows[i]);
	}
	if (n < trace_nr_funcs)
		printf("%s\n", n ? others : none);
}

static void report(void)
{
	static struct row rows[TRACE_MAX_FUNCS];
	struct stats all = {};
	int i, n = 0;

	for (i = 0; i < trace_nr_funcs; i++) {
		rows[n] = since_last(i);
		add(&all, &rows[n].new, 1);
		if (rows[n].new.calls || rows[n].in_flight || trace_opts.json)
			n++;
	}
	qsort(rows, n, sizeof(rows[0]), by_total);

	if (!trace_opts.json)
		print_table(rows, n);
	for (i = 0; trace_opts.json && i < n; i++)
		print_json_row(&rows[i]);
	for (i = 0; opts.each && i < n; i++)
		if (rows[i].new.calls)
			print_histogram(trace_funcs[rows[i].func].name, &rows[i].new);
	if (!opts.each && all.calls)
		print_histogram(n > 1 && !trace_opts.json ? "all of them" : NULL, &all);
	if (all.lost)
		trace_note("%llu slow calls are not shown: --buffer was full", all.lost);
}

static int set_up(struct funclat_bpf *skel, struct ring_buffer **events)
{
	skel->rodata->trace_filter = trace_opts.filter;
	skel->rodata->cpus = cpus;
	skel->rodata->slow_ns = opts.slow_ns;
	skel->rodata->only_failed = opts.only_failed;
	skel->rodata->string_size = opts.string_size;
	skel->rodata->stack_size = opts.stacks ? MAX_DEPTH * 8 : 0;
	bpf_map__set_max_entries(skel->maps.stats, trace_nr_funcs * cpus);
	if (opts.slow_ns != NEVER)
		bpf_map__set_max_entries(skel->maps.events, opts.buffer_size);

	if (trace_load(skel->obj))
		return 1;
	stats = trace_map_memory(skel->maps.stats);
	if (!stats)
		return 1;
	if (opts.slow_ns == NEVER)
		return 0;
	*events = ring_buffer__new(bpf_map__fd(skel->maps.events), print_event, NULL, NULL);
	return *events ? 0 : trace_fail("cannot create the ring buffer: %s", strerror(errno));
}

static int run(char **names, int count)
{
	struct ring_buffer *events = NULL;
	struct funclat_bpf *skel = NULL;
	int err;

	err = trace_find_funcs(names, count, opts.only_failed ? never_fails : NULL);
	if (err)
		goto out;
	cpus = libbpf_num_possible_cpus();
	skel = funclat_bpf__open();
	if (cpus < 0 || !skel) {
		err = trace_fail("cannot open the program: %s", strerror(errno));
		goto out;
	}
	err = set_up(skel, &events);
	if (!err) {
		struct trace_tool tool = {
			.what = "Tracing",
			.prog = skel->progs.funclat,
			.cgroup = skel->maps.trace_cgroup,
			.ended = &skel->bss->trace_ended,
			.events = events,
			.cookie = identity,
			.report = report,
		};

		err = trace_run(&tool);
	}
out:
	ring_buffer__free(events);
	trace_destroy();
	funclat_bpf__destroy(skel);
	return err;
}

/* Of the ring buffer: a power of two */
static __u64 round_up(__u64 size)
{
	__u64 n = 4096;

	while (n < size)
		n *= 2;
	return n;
}

int main(int argc, char **argv)
{
	int opt;

	while ((opt = getopt_long(argc, argv, TRACE_SHORT_OPTS "t:kxF", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			opts.slow_ns = trace_time_option("-t", optarg, 0);
			break;
		case 'k':
			opts.stacks = true;
			break;
		case 'x':
			opts.only_failed = true;
			break;
		case 'F':
			opts.each = true;
			break;
		case STRING_OPT:
			opts.string_size = trace_size_option("--string", optarg, 1, 4096);
			break;
		case BUFFER_OPT:
			opts.buffer_size = trace_size_option("--buffer", optarg, 4096, 1 << 30);
			break;
		default:
			trace_option(opt, usage);
		}
	}
	if (opts.slow_ns == NEVER && (opts.stacks || opts.string_size || opts.buffer_size))
		trace_misuse("%s shows nothing without -t", opts.stacks ? "-k" :
			     opts.string_size ? "--string" : "--buffer");
	opts.string_size = (opts.string_size ?: STRING_BYTES) + 1;	/* the zero */
	opts.buffer_size = round_up(opts.buffer_size ?: BUFFER_SIZE);
	return run(argv + optind, argc - optind);
}

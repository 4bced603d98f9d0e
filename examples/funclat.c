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

#define EVENT_BYTES	(1 << 20)
#define NEVER		(~0ULL)

static const char usage[] =
"Usage: funclat [OPTION]... FUNCTION...\n"
"Latency of kernel functions. FUNCTION is a name, a pattern like 'vfs_*' (64 functions\n"
"at the most) or module:name. Times include all that is called, and sleep.\n"
"\n"
"  -t, --min TIME           show each call that takes at least so long: when it returned, process,\n"
"                           latency, arguments and return value. TIME is in ns, or like 50us, 10ms, 2s\n"
"  -p, --pid PID            calls of this process or thread only; outside of containers it is called PID\n"
"  -i, --interval SECONDS   report every so often, each time what came since the last\n"
"  -d, --duration SECONDS   end by itself; both take 500ms and the like, too\n"
"  -F, --each               a histogram for each function\n"
"  -v, --verbose            what libbpf does\n"
"  -h, --help               this text\n"
"\n"
"The table: calls that returned; calls still inside; the mean, the bounds below which the power of\n"
"two lies that half and 99% of the calls reach, the longest; the sum. The arguments of -t are as they\n"
"were at the entry; a const char * is followed at the return, to what it points to by then.\n"
"Calls that were under way at the start, and what funclat itself calls, do not count. Those that the\n"
"kernel's recursion guard kept out are told of at the end. A function has room for four programs like\n"
"this one.\n"
"\n"
"  funclat vfs_read                  reads of all processes, until Ctrl-C\n"
"  funclat -d 10 -F 'vfs_*'          ten seconds of the file system's front door\n"
"  funclat -t 20ms -p 1234 do_filp_open\n"
"                                    what process 1234 waits long for when it opens files\n"
"  funclat -i 1 ext4:ext4_sync_file  a report each second, of a function of a module\n";

static const struct option options[] = {
	COMMON_OPTIONS,
	{ "min", required_argument, NULL, 't' },
	{ "each", no_argument, NULL, 'F' },
	{}
};

static struct stats *stats;			/* of each function on each CPU */
static struct stats last[MAX_FUNCS];		/* what the last report had */
static int cpus;
static bool each;

struct row {
	int func;
	__s64 inside;
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

/* Arguments: const char * only. What else a char * points to is for the function to fill. */
static bool is_string(const struct btf *btf, __u32 type, bool returned)
{
	const struct btf_type *t = plain_type(btf, type);
	bool constant = false;

	if (!btf_is_ptr(t))
		return false;
	for (t = btf__type_by_id(btf, t->type); btf_is_mod(t) || btf_is_typedef(t); t = btf__type_by_id(btf, t->type))
		constant |= btf_is_const(t);
	return (constant || returned) && btf_is_int(t) && t->size == 1 &&
	       !strcmp(btf__name_by_offset(btf, t->name_off), "char");
}

static __u64 identity(const struct func *f, int index)
{
	const struct btf_type *proto = func_proto(f);
	const struct btf_param *p = btf_params(proto);
	union identity self = { .func = index };
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
	printf("\"%s", len == STRING_SIZE ? "..." : "");
}

static bool print_enum(const struct btf *btf, const struct btf_type *t, __s64 value)
{
	const char *name = NULL;
	int i;

	for (i = 0; i < btf_vlen(t) && !name; i++) {
		if (btf_is_enum(t) && btf_enum(t)[i].val == (__s32)value)
			name = btf__name_by_offset(btf, btf_enum(t)[i].name_off);
		if (btf_is_enum64(t) && btf_enum64_value(&btf_enum64(t)[i]) == (__u64)value)
			name = btf__name_by_offset(btf, btf_enum64(t)[i].name_off);
	}
	if (name)
		fputs(name, stdout);
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

	if (btf_is_ptr(t) && *value)
		printf("0x%llx", *value);
	else if (btf_is_ptr(t))
		printf("NULL");
	else if (btf_is_int(t) && btf_int_encoding(t) & BTF_INT_BOOL)
		printf(*value & 0xff ? "true" : "false");
	else if (btf_is_int(t))
		print_number(*value, t->size, btf_int_encoding(t) & BTF_INT_SIGNED);
	else if (btf_is_any_enum(t) && !print_enum(btf, t, *value))
		print_number(*value, t->size, btf_kflag(t));
	else if (btf_is_composite(t) && words(btf, type) == 2)
		printf("{0x%llx, 0x%llx}", value[0], value[1]);
	else if (btf_is_composite(t))
		printf("{0x%llx}", *value);
}

/* Numbers of errors have names, also where a pointer holds them. */
static void print_returned(const struct btf *btf, __u32 type, const __u64 *value)
{
	const struct btf_type *t = plain_type(btf, type);
	__s64 number = btf_is_int(t) && t->size == 4 ? (__s32)*value : (__s64)*value;
	const char *name = NULL;

	if (number < 0 && number >= -4095 &&
	    (btf_is_ptr(t) || (btf_is_int(t) && t->size >= 4 && btf_int_encoding(t) & BTF_INT_SIGNED)))
		name = strerrorname_np(-number);
	if (name)
		printf("-%s", name);
	else
		print_value(btf, type, value);
}

static int print_event(void *ctx, void *data, size_t size)
{
	const struct event *e = data;
	const struct func *f = &funcs[e->func];
	const struct btf_type *proto = func_proto(f);
	const struct btf_param *p = btf_params(proto);
	union identity self = { .cookie = identity(f, e->func) };
	const char *strings[MAX_VALUES] = {};
	static bool headed;
	int lengths[MAX_VALUES];
	int i, word = 0;

	for (i = 0; i < STRINGS; i++) {
		if (self.strings[i] < MAX_VALUES && e->lengths[i] > 0) {
			strings[self.strings[i]] = e->strings[i];
			lengths[self.strings[i]] = e->lengths[i];
		}
	}
	if (!headed) {
		printf("%-15s %7s %7s  %-15s %9s  %s\n", "returned", "pid", "tid", "process", "latency", "call");
		headed = true;
	}
	print_clock(e->returned);
	printf(" %7u %7u  %-15.16s %9s  %s(", e->pid, e->tid, e->comm, time_text(e->ns), f->name);
	for (i = 0; i < btf_vlen(proto); word += words(f->btf, p[i++].type)) {
		printf("%s%s=", i ? ", " : "", btf__name_by_offset(f->btf, p[i].name_off));
		if (strings[word])
			print_string(strings[word], lengths[word]);
		else
			print_value(f->btf, p[i].type, &e->values[word]);
	}
	putchar(')');
	if (proto->type) {
		printf(" = ");
		if (strings[RETURNED])
			print_string(strings[RETURNED], lengths[RETURNED]);
		else
			print_returned(f->btf, proto->type, &e->values[RETURNED]);
	}
	putchar('\n');
	return 0;
}

/* Reports */

static void add(struct stats *sum, const struct stats *s, int sign)
{
	int i;

	sum->returns += sign * s->returns;
	sum->total += sign * s->total;
	sum->lost += sign * s->lost;
	for (i = 0; i < SLOTS; i++)
		sum->slots[i] += sign * s->slots[i];
}

/* What came since the last time, on all CPUs. The calls that are inside are those of all times. */
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
	row.inside = -all.returns;
	for (cpu = 0; cpu < cpus; cpu++)
		row.inside += stats[func * cpus + cpu].entries;
	add(&row.new, &all, 1);
	add(&row.new, &last[func], -1);
	last[func] = all;
	return row;
}

/* The upper end of the slot that the given part of the calls reaches. */
static __u64 bound(const struct stats *s, int percent)
{
	__u64 calls = 0;
	int i;

	for (i = 0; i < SLOTS - 1; i++) {
		calls += s->slots[i];
		if (calls * 100 >= s->returns * percent)
			break;
	}
	return 2ULL << i;
}

static void print_histogram(const char *title, const struct stats *s)
{
	int i, first = SLOTS, final = -1;
	__u64 most = 1;

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
		printf("%12llu .. %-12llu %10llu |%-40.*s|\n", i ? 1ULL << i : 0, (2ULL << i) - 1, s->slots[i],
		       (int)(s->slots[i] * 40 / most), "****************************************");
}

static int by_total(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->new.total < y->new.total ? 1 : x->new.total > y->new.total ? -1 : x->func - y->func;
}

static void print_row(const struct row *r)
{
	const struct stats *s = &r->new;

	printf("%10llu %7lld", s->returns, r->inside);
	if (s->returns)
		printf(" %9s %9s %9s %9s", time_text(s->total / s->returns), time_text(bound(s, 50)),
		       time_text(bound(s, 99)), time_text(s->longest));
	else
		printf(" %9s %9s %9s %9s", "-", "-", "-", "-");
	printf(" %9s  %s\n", s->returns ? time_text(s->total) : "-", funcs[r->func].name);
}

static void report(void)
{
	static struct row rows[MAX_FUNCS];
	struct stats all = {};
	int i, n = 0;

	for (i = 0; i < nr_funcs; i++) {
		rows[n] = since_last(i);
		add(&all, &rows[n].new, 1);
		if (rows[n].new.returns || rows[n].inside)
			n++;
	}
	qsort(rows, n, sizeof(rows[0]), by_total);

	putchar('\n');
	if (interval) {
		print_clock(now());
		putchar('\n');
	}
	if (n) {
		printf("%10s %7s %9s %9s %9s %9s %9s  %s\n", "calls", "inside", "mean", "50% <", "99% <", "longest",
		       "sum", "function");
		for (i = 0; i < n; i++)
			print_row(&rows[i]);
	}
	if (n < nr_funcs)
		printf("%s\n", nr_funcs == 1 ? "no calls" : n ? "the others were not called" : "none was called");
	for (i = 0; each && i < n; i++)
		if (rows[i].new.returns)
			print_histogram(funcs[rows[i].func].name, &rows[i].new);
	if (!each && all.returns)
		print_histogram(n > 1 ? "all of them" : NULL, &all);
	if (all.lost)
		note("%llu slow calls are not shown: they came faster than they could be printed", all.lost);
}

static int run(char **names, int count, __u64 slow_ns)
{
	struct ring_buffer *events = NULL;
	struct funclat_bpf *skel;
	int err;

	err = find_funcs(names, count);
	if (err)
		return err;
	cpus = libbpf_num_possible_cpus();
	skel = funclat_bpf__open();
	if (cpus < 0 || !skel)
		return fail("cannot open the program: %s", strerror(errno));
	skel->rodata->only_pid = pid;
	skel->rodata->own_pid = getpid();
	skel->rodata->cpus = cpus;
	skel->rodata->slow_ns = slow_ns;
	bpf_map__set_max_entries(skel->maps.stats, nr_funcs * cpus);
	if (slow_ns != NEVER)
		bpf_map__set_max_entries(skel->maps.events, EVENT_BYTES);

	err = prepare(skel->obj);
	if (err)
		return err;
	stats = map_memory(skel->maps.stats);
	if (slow_ns != NEVER) {
		events = ring_buffer__new(bpf_map__fd(skel->maps.events), print_event, NULL, NULL);
		if (!events)
			return fail("no ring buffer: %s", strerror(errno));
	}
	return attach_funcs(skel->progs.funclat, identity) ?: trace("Tracing", &skel->bss->ended, events, report);
}

int main(int argc, char **argv)
{
	__u64 slow_ns = NEVER;
	int opt;

	while ((opt = getopt_long(argc, argv, "t:p:i:d:Fvh", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			slow_ns = time_option("-t", optarg, 1);
			break;
		case 'F':
			each = true;
			break;
		default:
			common_option(opt, usage);
		}
	}
	return run(argv + optind, argc - optind, slow_ns);
}

// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "trace.h"

#define MAX_PID		4194304
#define MAX_TIME	(100000ULL * 24 * 3600 * NSEC)
#define LEFT_OUT_LINES	16
#define AT_ONCE		1000		/* events, before the clock is looked at */

/* A function that a pattern can match; its BTF is looked up if it does. */
struct symbol {
	char *name;
	char *module;			/* NULL: the kernel itself */
};

struct module_btf {
	char *name;
	struct btf *btf;		/* NULL: it has none */
};

struct func funcs[MAX_FUNCS];
int nr_funcs;
__u64 pid, interval, duration;

static struct btf *vmlinux;
static struct symbol *symbols;
static size_t nr_symbols;
static const char *filter_file;		/* what ftrace can trace; NULL where that can't be read */
static struct module_btf *modules;
static int nr_modules;
static int nr_left_out;
static bool verbose;
static volatile sig_atomic_t stopped;

static void say(const char *format, va_list args, const char *end)
{
	fflush(stdout);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, format, args);
	fputs(end, stderr);
}

void note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args, "\n");
	va_end(args);
}

void misuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args, " (--help tells more)\n");
	va_end(args);
	exit(2);
}

static void out_of_memory(void)
{
	exit(fail("out of memory"));
}

/* More room at the end of a list that doubles. */
static void *grown(void *list, size_t count, size_t size)
{
	if (count & (count - 1))
		return list;
	list = realloc(list, (count ? count * 2 : 1) * size);
	if (!list)
		out_of_memory();
	return list;
}

static char *copy(const char *text)
{
	char *new = strdup(text);

	if (!new)
		out_of_memory();
	return new;
}

/* Options */

__u64 number_option(const char *name, const char *text, __u64 min, __u64 max)
{
	char *end;
	__u64 n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || n < min || n > max)
		misuse("%s %s: not a number from %llu to %llu", name, text, min, max);
	return n;
}

__u64 time_option(const char *name, const char *text, __u64 unit)
{
	static const struct {
		const char *name;
		__u64 ns;
	} units[] = { { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", NSEC } };
	size_t i, known = 0;
	char *end;
	__u64 n;

	errno = 0;
	n = strtoull(text, &end, 10);
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strcmp(end, units[i].name)) {
			unit = units[i].ns;
			known = 1;
		}
	}
	if (!isdigit((unsigned char)*text) || (*end && !known) || errno)
		misuse("%s %s: not a time like 250us, 10ms or 2s", name, text);
	if (n > MAX_TIME / unit)
		misuse("%s %s: too long", name, text);
	return n * unit;
}

static __u64 some_time_option(const char *name, const char *text)
{
	__u64 ns = time_option(name, text, NSEC);

	if (ns < NSEC / 100)
		misuse("%s %s: shorter than 10ms", name, text);
	return ns;
}

void common_option(int opt, const char *usage)
{
	switch (opt) {
	case 'p':
		pid = number_option("-p", optarg, 1, MAX_PID);
		break;
	case 'i':
		interval = some_time_option("-i", optarg);
		break;
	case 'd':
		duration = some_time_option("-d", optarg);
		break;
	case 'v':
		verbose = true;
		break;
	case 'h':
		fputs(usage, stdout);
		exit(0);
	default: /* getopt has said what is wrong */
		exit(2);
	}
}

/* Functions */

static int by_name(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return strcmp(x->name, y->name) ?: strcmp(x->module ?: "", y->module ?: "");
}

static void add_symbol(const char *name, const char *module)
{
	symbols = grown(symbols, nr_symbols, sizeof(*symbols));
	symbols[nr_symbols++] = (struct symbol){ copy(name), module ? copy(module) : NULL };
}

static void add_btf_symbols(const struct btf *btf, __u32 first, const char *module)
{
	__u32 id;

	for (id = first; id < btf__type_cnt(btf); id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);

		if (btf_is_func(t))
			add_symbol(btf__name_by_offset(btf, t->name_off), module);
	}
}

static const struct btf *module_btf(const char *name)
{
	int i;

	for (i = 0; i < nr_modules; i++)
		if (!strcmp(modules[i].name, name))
			return modules[i].btf;
	modules = grown(modules, nr_modules, sizeof(*modules));
	modules[nr_modules] = (struct module_btf){ copy(name), btf__load_module_btf(name, vmlinux) };
	return modules[nr_modules++].btf;
}

/* "function" or "function [module]" */
static bool read_filter_file(const char *path)
{
	FILE *f = fopen(path, "re");
	char *line = NULL, *name, *module;
	size_t size = 0;

	if (!f)
		return false;
	while (getline(&line, &size, f) > 0) {
		name = strtok(line, " \t\n");
		module = strtok(NULL, " \t[]\n");
		if (name)
			add_symbol(name, module);
	}
	free(line);
	fclose(f);
	if (nr_symbols)
		filter_file = path;
	return nr_symbols;
}

/* All that could be traced. Where ftrace does not tell, all that has BTF. */
static void read_symbols(void)
{
	const struct btf *btf;
	struct dirent *entry;
	DIR *dir;

	if (!read_filter_file("/sys/kernel/tracing/available_filter_functions") &&
	    !read_filter_file("/sys/kernel/debug/tracing/available_filter_functions")) {
		add_btf_symbols(vmlinux, 1, NULL);
		dir = opendir("/sys/kernel/btf");
		while (dir && (entry = readdir(dir))) {
			if (entry->d_name[0] == '.' || !strcmp(entry->d_name, "vmlinux"))
				continue;
			btf = module_btf(entry->d_name);
			if (btf)
				add_btf_symbols(btf, btf__type_cnt(vmlinux), entry->d_name);
		}
		if (dir)
			closedir(dir);
	}
	qsort(symbols, nr_symbols, sizeof(*symbols), by_name);
}

static void left_out(const char *name, const char *reason)
{
	if (nr_left_out++ < LEFT_OUT_LINES)
		note("left out: %s: %s", name, reason);
}

/* The kernel takes the module of a program's function by the file descriptor of its BTF. */
static int module_btf_fd(const char *name)
{
	struct bpf_btf_info info;
	char found[64];
	__u32 id = 0, len;
	int fd;

	while (!bpf_btf_get_next_id(id, &id)) {
		fd = bpf_btf_get_fd_by_id(id);
		if (fd < 0)
			continue;
		memset(&info, 0, sizeof(info));
		info.name = (__u64)(unsigned long)found;
		info.name_len = sizeof(found);
		len = sizeof(info);
		if (!bpf_btf_get_info_by_fd(fd, &info, &len) && info.kernel_btf && !strcmp(found, name))
			return fd;
		close(fd);
	}
	return -1;
}

static const char no_prototype[] = "no prototype in BTF: the compiler changed its arguments, or others have its name";

/* Returns why not, or NULL. */
static const char *add_func(const struct symbol *s, bool wanted)
{
	const struct btf *btf = s->module ? module_btf(s->module) : vmlinux;
	struct func f = { .btf = btf, .wanted = wanted, .prog = -1, .link = -1 };
	int i, id;

	if (!btf)
		return "its module has no BTF";
	id = btf__find_by_name_kind(btf, s->name, BTF_KIND_FUNC);
	if (id < 0 || (s->module && (__u32)id < btf__type_cnt(vmlinux)))	/* of the kernel's own function */
		return no_prototype;
	f.id = id;
	if (asprintf(&f.name, "%s%s%s", s->module ?: "", s->module ? ":" : "", s->name) < 0)
		out_of_memory();

	for (i = 0; i < nr_funcs; i++) {
		if (funcs[i].btf == btf && funcs[i].id == f.id) {
			funcs[i].wanted |= wanted;
			free(f.name);
			return NULL;
		}
	}
	funcs[nr_funcs++] = f;
	return NULL;
}

/* Why nothing that can be traced has this name. */
static int not_found(const char *name)
{
	size_t i, len = strlen(name);

	for (i = 0; i < nr_symbols; i++)
		if (!strncmp(symbols[i].name, name, len) && symbols[i].name[len] == '.')
			return fail("%s: not traceable: the compiler made %s of it, which has no prototype", name,
				    symbols[i].name);
	if (filter_file && btf__find_by_name_kind(vmlinux, name, BTF_KIND_FUNC) > 0)
		return fail("%s: not traceable: not in %s (notrace, or gone after boot)", name, filter_file);
	return fail("%s: no such function in this kernel, or inlined", name);
}

static int find(char *pattern)
{
	char *colon = strchr(pattern, ':'), *name = colon ? colon + 1 : pattern;
	bool glob = strpbrk(name, "*?[");
	const char *reason, *first = NULL, *last = NULL;
	size_t i, same, found = 0, over = 0;

	for (i = 0; i < nr_symbols; i += same) {
		const struct symbol *s = &symbols[i];

		for (same = 1; i + same < nr_symbols && !by_name(s, s + same); same++)
			;
		if (glob ? fnmatch(name, s->name, 0) : strcmp(name, s->name))
			continue;
		if (colon && (!s->module || strncmp(s->module, pattern, colon - pattern) ||
			      s->module[colon - pattern]))
			continue;

		found++;
		if (nr_funcs == MAX_FUNCS) {
			over++;
			first = first ?: s->name;
			last = s->name;
			continue;
		}
		reason = add_func(s, !glob);
		if (reason && !glob)
			return fail("%s: not traceable: %s", s->name, reason);
		if (reason)
			left_out(s->name, reason);
		else if (same > 1)
			note("%s: %zu functions have this name, the first of them is traced", s->name, same);
	}

	if (!found)
		return glob ? fail("%s: matches no function that can be traced", pattern) : not_found(pattern);
	if (over && !glob)
		return fail("%s: one more than %d functions", pattern, MAX_FUNCS);
	if (over)
		note("%s: matches %zu functions, %d are the most; left out: the %zu from %s to %s", pattern, found,
		     MAX_FUNCS, over, first, last);
	return 0;
}

/* The kernel's own type information says whether it knows sessions. */
static bool kernel_has_fsession(void)
{
	const struct btf_type *t;
	int i, id = btf__find_by_name_kind(vmlinux, "bpf_attach_type", BTF_KIND_ENUM);

	t = id < 0 ? NULL : btf__type_by_id(vmlinux, id);
	for (i = 0; t && i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(vmlinux, btf_enum(t)[i].name_off), "BPF_TRACE_FSESSION"))
			return true;
	return false;
}

static int libbpf_says(enum libbpf_print_level level, const char *format, va_list args)
{
	return verbose ? vfprintf(stderr, format, args) : 0;
}

static void interrupted(int sig)
{
	stopped = 1;
}

int find_funcs(char **names, int count)
{
	struct sigaction on_signal = { .sa_handler = interrupted, .sa_flags = SA_RESTART };
	int i;

	if (!count)
		misuse("which function?");
	if (duration && interval > duration)
		misuse("-i is longer than -d");
	if (pid && kill(pid, 0) && errno == ESRCH)
		return fail("-p %llu: no such process", pid);

	sigaction(SIGINT, &on_signal, NULL);
	sigaction(SIGTERM, &on_signal, NULL);
	libbpf_set_print(libbpf_says);
	vmlinux = btf__load_vmlinux_btf();
	if (!vmlinux)
		return fail("no BTF of this kernel (CONFIG_DEBUG_INFO_BTF): %s", strerror(errno));
	if (!kernel_has_fsession())
		return fail("this kernel has no fsession (BPF_TRACE_FSESSION): apply the series or use fentry + fexit");

	read_symbols();
	for (i = 0; i < count; i++)
		if (find(names[i]))
			return 1;
	if (!nr_funcs)
		return fail("no function left to trace");
	return 0;
}

/* Sessions. One program is loaded once for each function: its instructions, as libbpf has prepared them, are taken. */

static const char not_permitted[] = "not permitted: takes CAP_BPF and CAP_PERFMON (root has them)";

int prepare(struct bpf_object *obj)
{
	int err = bpf_object__prepare(obj);

	if (err == -EPERM)
		return fail(not_permitted);
	if (err)
		return fail("libbpf does not prepare the program: %s (-v tells more)", strerror(-err));
	return 0;
}

/* The line in the verifier's log that gives the reason: the last but its statistics. */
static const char *refusal(char *log, int err)
{
	char *line, *reason = NULL;

	if (err == -EPERM)
		return not_permitted;
	for (line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
		if (strncmp(line, "processed ", 10))
			reason = line;
	return reason ?: strerror(-err);
}

static const char *load_func(struct func *f, const struct bpf_program *prog)
{
	static char log[64 * 1024];
	char *colon = strchr(f->name, ':');
	int btf_fd = 0;
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		.expected_attach_type = BPF_TRACE_FSESSION,
		.attach_btf_id = f->id,
		.log_buf = log,
		.log_size = sizeof(log),
	);

	log[0] = '\0';
	if (colon) {
		*colon = '\0';
		btf_fd = module_btf_fd(f->name);
		*colon = ':';
		if (btf_fd < 0)
			return errno == EPERM ? "not permitted: a module takes CAP_SYS_ADMIN too" : "module gone";
		opts.attach_btf_obj_fd = btf_fd;
	}
	f->prog = bpf_prog_load(BPF_PROG_TYPE_TRACING, bpf_program__name(prog), "Dual BSD/GPL", bpf_program__insns(prog),
				bpf_program__insn_cnt(prog), &opts);
	if (btf_fd)
		close(btf_fd);
	return f->prog < 0 ? refusal(log, f->prog) : NULL;
}

static const char *attach_func(struct func *f, __u64 cookie)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .tracing.cookie = cookie);

	f->link = bpf_link_create(f->prog, 0, BPF_TRACE_FSESSION, &opts);
	if (f->link >= 0)
		return NULL;
	switch (-f->link) {
	case E2BIG:
		return "no room (E2BIG): it has four sessions with a cookie, or as many programs as it can have";
	case EBUSY:
		return "busy: something else than BPF has its own jump there, or ftrace does not know it";
	default:
		return strerror(-f->link);
	}
}

int attach_funcs(const struct bpf_program *prog, __u64 (*cookie)(const struct func *, int index))
{
	const char *reason;
	int i, kept = 0;

	for (i = 0; i < nr_funcs && !stopped; i++) {
		struct func f = funcs[i];

		reason = load_func(&f, prog) ?: attach_func(&f, cookie(&f, kept));
		if (!reason) {
			funcs[kept++] = f;
			continue;
		}
		if (f.prog >= 0)
			close(f.prog);
		if (f.wanted)
			return fail("%s: %s", f.name, reason);
		left_out(f.name, reason);
	}
	nr_funcs = kept;
	if (nr_left_out > LEFT_OUT_LINES)
		note("left out: %d more", nr_left_out - LEFT_OUT_LINES);
	return kept || stopped ? 0 : fail("no function left to trace");
}

/* Tells of the calls that the programs did not see. */
static void detach_funcs(void)
{
	struct bpf_prog_info info;
	__u64 missed = 0;
	__u32 len;
	int i;

	for (i = 0; i < nr_funcs; i++) {
		close(funcs[i].link);
		memset(&info, 0, sizeof(info));
		len = sizeof(info);
		if (!bpf_prog_get_info_by_fd(funcs[i].prog, &info, &len))
			missed += info.recursion_misses;
		close(funcs[i].prog);
	}
	if (missed)
		note("calls that were not seen: %llu (the program ran already where they began)", missed);
}

/* Until the time comes, something can be read, or a signal ends it all. */
static void wait_until(__u64 time, struct ring_buffer *events)
{
	struct pollfd fd = { .fd = events ? ring_buffer__epoll_fd(events) : -1, .events = POLLIN };
	__u64 t = now(), ns = time > t ? time - t : 0;
	struct timespec timeout = { ns / NSEC, ns % NSEC };
	sigset_t signals, before;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, &before);
	if (!stopped)
		ppoll(&fd, 1, &timeout, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (events)
		ring_buffer__consume_n(events, AT_ONCE);
}

/* The last report is of the moment when ENDED was set. Calls go on while one link after the other is closed. */
static void end(bool *ended, struct ring_buffer *events, void (*report)(void))
{
	__atomic_store_n(ended, true, __ATOMIC_SEQ_CST);
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))	/* programs that run are through */
		note("membarrier: %s: the last report may miss calls that end just now", strerror(errno));
	if (events)
		ring_buffer__consume(events);
	report();
	detach_funcs();
}

int trace(const char *what, bool *ended, struct ring_buffer *events, void (*report)(void))
{
	__u64 start = now(), last = start + (duration ?: MAX_TIME), next = start + (interval ?: MAX_TIME);
	int i;

	setlinebuf(stdout);
	printf("%s ", what);
	if (nr_funcs > 4)
		printf("%d functions", nr_funcs);
	else
		for (i = 0; i < nr_funcs; i++)
			printf("%s%s", i ? ", " : "", funcs[i].name);
	if (duration)
		printf(" for %g s\n", (double)duration / NSEC);
	else
		printf(", Ctrl-C ends\n");

	while (!stopped && now() < last) {
		wait_until(next < last ? next : last, events);
		if (now() >= next && now() < last && !stopped) {
			report();
			while (next <= now())
				next += interval;
		}
	}
	end(ended, events, report);
	if (fflush(stdout) || ferror(stdout))
		return fail("cannot write: %s", strerror(errno));
	return 0;
}

/* The rest */

const struct btf_type *func_proto(const struct func *f)
{
	return btf__type_by_id(f->btf, btf__type_by_id(f->btf, f->id)->type);
}

void *map_memory(const struct bpf_map *map)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t size = ((size_t)bpf_map__value_size(map) + 7) / 8 * 8 * bpf_map__max_entries(map);
	void *memory;

	size = (size + page - 1) / page * page;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	if (memory == MAP_FAILED)
		exit(fail("cannot map %s: %s", bpf_map__name(map), strerror(errno)));
	return memory;
}

/* Four digits and a unit; four texts can be used at once. */
const char *time_text(__u64 ns)
{
	static const char units[][3] = { "ns", "us", "ms", "s" };
	static char texts[4][16];
	static unsigned int turn;
	char *text = texts[turn++ % 4];
	double value = ns;
	int digits, unit = 0;

	for (; value >= 999.95 && unit < 3; unit++)
		value /= 1000;
	digits = !unit || value >= 1000 ? 0 : value < 10 ? 3 : value < 100 ? 2 : 1;
	snprintf(text, sizeof(texts[0]), "%.*f%s", digits, value, units[unit]);
	return text;
}

__u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC + t.tv_nsec;
}

/* The time of day that KTIME was. */
void print_clock(__u64 ktime)
{
	struct timespec t;
	struct tm tm;
	char text[16];
	__u64 ns;
	time_t s;

	clock_gettime(CLOCK_REALTIME, &t);
	ns = t.tv_sec * NSEC + t.tv_nsec - (now() - ktime);
	s = ns / NSEC;
	strftime(text, sizeof(text), "%H:%M:%S", localtime_r(&s, &tm));
	printf("%s.%06llu", text, ns % NSEC / 1000);
}

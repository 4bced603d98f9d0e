// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
/* Options, running, ending. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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

#define VERSION		"1.0"
#define MAX_PID		4194304
#define MAX_TIME	(100000ULL * 24 * 3600 * TRACE_NSEC)
#define MIN_PERIOD	(TRACE_NSEC / 100)
#define MAX_EVENTS	1000		/* consumed before the time is checked again */
#define CGROUP_ROOT	"/sys/fs/cgroup"

struct trace_opts trace_opts;
volatile sig_atomic_t trace_stopped;

static struct {
	void *memory;
	size_t size;
} mappings[4];
static int nr_mappings;

static void say(const char *format, va_list args, const char *end)
{
	fflush(stdout);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, format, args);
	fputs(end, stderr);
}

void trace_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args, "\n");
	va_end(args);
}

void trace_misuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args, " (see --help)\n");
	va_end(args);
	exit(2);
}

void trace_fail_memory(void)
{
	exit(trace_fail("out of memory"));
}

/* Makes room at the end of a list that doubles. */
void *trace_grow(void *list, size_t count, size_t size)
{
	if (count & (count - 1))
		return list;
	list = realloc(list, (count ? count * 2 : 1) * size);
	if (!list)
		trace_fail_memory();
	return list;
}

char *trace_copy(const char *text)
{
	char *new = strdup(text);

	if (!new)
		trace_fail_memory();
	return new;
}

/* Options */

__u64 trace_number_option(const char *name, const char *text, __u64 min, __u64 max)
{
	char *end;
	__u64 n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || n < min || n > max)
		trace_misuse("%s %s: not a number from %llu to %llu", name, text, min, max);
	return n;
}

__u64 trace_time_option(const char *name, const char *text, __u64 unit)
{
	static const struct {
		const char *name;
		__u64 ns;
	} units[] = { { "ns", 1 }, { "us", 1000 }, { "ms", 1000000 }, { "s", TRACE_NSEC } };
	bool known = false;
	char *end;
	size_t i;
	__u64 n;

	errno = 0;
	n = strtoull(text, &end, 10);
	for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!strcmp(end, units[i].name)) {
			unit = units[i].ns;
			known = true;
		}
	}
	if (!isdigit((unsigned char)*text) || (*end && !known) || errno)
		trace_misuse("%s %s: not a time like 250us, 10ms or 2s", name, text);
	if (!unit && n)
		trace_misuse("%s %s: the unit is missing: %lluus, %llums", name, text, n, n);
	if (n && n > MAX_TIME / unit)
		trace_misuse("%s %s: longer than 100000 days", name, text);
	return n * unit;
}

__u64 trace_size_option(const char *name, const char *text, __u64 min, __u64 max)
{
	__u64 n, shift;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	shift = !strcmp(end, "K") ? 10 : !strcmp(end, "M") ? 20 : 0;
	if (!isdigit((unsigned char)*text) || (*end && !shift) || errno)
		trace_misuse("%s %s: not a size like 4096, 64K or 1M", name, text);
	if (n > max >> shift || n << shift < min)
		trace_misuse("%s %s: not from %llu to %llu bytes", name, text, min, max);
	return n << shift;
}

static __u64 period_option(const char *name, const char *text)
{
	__u64 ns = trace_time_option(name, text, TRACE_NSEC);

	if (ns < MIN_PERIOD)
		trace_misuse("%s %s: shorter than 10ms", name, text);
	return ns;
}

static void add_pid(const char *text)
{
	struct trace_filter *filter = &trace_opts.filter;

	if (filter->nr_pids == TRACE_MAX_PIDS)
		trace_misuse("-p %s: -p can be given %d times at most", text, TRACE_MAX_PIDS);
	filter->pids[filter->nr_pids++] = trace_number_option("-p", text, 1, MAX_PID);
}

static void add_comm(const char *text)
{
	struct trace_filter *filter = &trace_opts.filter;

	if (!*text || strlen(text) >= TRACE_COMM_SIZE)
		trace_misuse("-n %s: not a name of 1 to %d characters", text, TRACE_COMM_SIZE - 1);
	if (filter->nr_comms == TRACE_MAX_COMMS)
		trace_misuse("-n %s: -n can be given %d times at most", text, TRACE_MAX_COMMS);
	strcpy(filter->comms[filter->nr_comms++].text, text);
}

void trace_option(int opt, const char *usage)
{
	switch (opt) {
	case 'p':
		add_pid(optarg);
		break;
	case 'n':
		add_comm(optarg);
		break;
	case 'c':
		trace_opts.cgroup = optarg;
		break;
	case 'i':
		trace_opts.interval = period_option("-i", optarg);
		break;
	case 'd':
		trace_opts.duration = period_option("-d", optarg);
		break;
	case 'T':
		trace_opts.timestamps = true;
		break;
	case TRACE_JSON:
		trace_opts.json = true;
		break;
	case TRACE_DRY_RUN:
		trace_opts.dry_run = true;
		break;
	case 'v':
		trace_opts.verbose = true;
		break;
	case 'V':
		printf("%s %s, libbpf %s\n", program_invocation_short_name, VERSION,
		       libbpf_version_string());
		exit(0);
	case 'h':
		fputs(usage, stdout);
		exit(0);
	default: /* getopt has said what is wrong */
		exit(2);
	}
}

/* Running */

static int libbpf_says(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN || trace_opts.verbose ? vfprintf(stderr, format, args) : 0;
}

static void on_signal(int sig)
{
	trace_stopped = 1;
}

static int check_pids(void)
{
	const struct trace_filter *filter = &trace_opts.filter;
	__u32 i;

	for (i = 0; i < filter->nr_pids; i++)
		if (kill(filter->pids[i], 0) && errno == ESRCH)
			return trace_fail("-p %u: no such process", filter->pids[i]);
	return 0;
}

/* Checks options against each other, and PIDs. Sets up signals and libbpf's messages. */
int trace_init(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	if (trace_opts.duration && trace_opts.interval > trace_opts.duration)
		trace_misuse("-i is longer than -d");
	if (check_pids())
		return 1;
	trace_opts.filter.own_pid = getpid();
	trace_opts.filter.by_cgroup = !!trace_opts.cgroup;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	libbpf_set_print(libbpf_says);
	return 0;
}

int trace_load(struct bpf_object *obj)
{
	struct bpf_program *prog;
	int err = 0;

	bpf_object__for_each_program(prog, obj)
		err = err ?: bpf_program__set_attach_target(prog, 0, "vfs_read");
	err = err ?: bpf_object__load(obj);
	if (err)
		return trace_fail("libbpf cannot load the program: %s", strerror(-err));
	return 0;
}

void *trace_map_memory(const struct bpf_map *map)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t size = ((size_t)bpf_map__value_size(map) + 7) / 8 * 8 * bpf_map__max_entries(map);
	void *memory;

	size = (size + page - 1) / page * page;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	if (memory == MAP_FAILED) {
		trace_note("cannot map %s: %s", bpf_map__name(map), strerror(errno));
		return NULL;
	}
	mappings[nr_mappings].memory = memory;
	mappings[nr_mappings++].size = size;
	return memory;
}

__u64 trace_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * TRACE_NSEC + t.tv_nsec;
}

static int select_cgroup(const struct bpf_map *map)
{
	const char *path = trace_opts.cgroup;
	__u32 key = 0;
	char *full;
	int fd, err;

	if (!path)
		return 0;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && *path != '/') {
		if (asprintf(&full, CGROUP_ROOT "/%s", path) < 0)
			trace_fail_memory();
		fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		free(full);
	}
	if (fd < 0)
		return trace_fail("-c %s: %s", path, strerror(errno));
	err = bpf_map_update_elem(bpf_map__fd(map), &key, &fd, BPF_ANY);
	close(fd);
	return err ? trace_fail("-c %s: not a cgroup of version 2", path) : 0;
}

/* Waits until the time comes, something can be read, or a signal ends it all. */
static void wait_until(__u64 time, struct ring_buffer *events)
{
	struct pollfd fd = {
		.fd = events ? ring_buffer__epoll_fd(events) : -1,
		.events = POLLIN,
	};
	__u64 t = trace_now(), ns = time > t ? time - t : 0;
	struct timespec timeout = { ns / TRACE_NSEC, ns % TRACE_NSEC };
	sigset_t signals, before;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, &before);
	if (!trace_stopped)
		ppoll(&fd, 1, &timeout, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (events)
		ring_buffer__consume_n(events, MAX_EVENTS);
}

static void print_start(const char *what)
{
	int i;

	if (trace_opts.json) {
		printf("{\"type\":\"start\",\"functions\":[");
		for (i = 0; i < trace_nr_funcs; i++)
			printf("%s\"%s\"", i ? "," : "", trace_funcs[i].name);
		printf("]}\n");
		return;
	}
	if (trace_opts.dry_run) {
		for (i = 0; i < trace_nr_funcs; i++)
			printf("%s\n", trace_funcs[i].name);
		return;
	}
	printf("%s ", what);
	if (trace_nr_funcs > 4)
		printf("%d functions", trace_nr_funcs);
	else
		for (i = 0; i < trace_nr_funcs; i++)
			printf("%s%s", i ? ", " : "", trace_funcs[i].name);
	if (trace_opts.duration)
		printf(" for %g s\n", (double)trace_opts.duration / TRACE_NSEC);
	else
		printf(", Ctrl-C ends\n");
}

static void report_periodically(const struct trace_tool *tool)
{
	__u64 start = trace_now(), interval = trace_opts.interval;
	__u64 last = start + (trace_opts.duration ?: MAX_TIME);
	__u64 next = start + (interval ?: MAX_TIME);

	while (!trace_stopped && trace_now() < last) {
		wait_until(next < last ? next : last, tool->events);
		if (trace_now() >= next && trace_now() < last && !trace_stopped) {
			tool->report();
			while (next <= trace_now())
				next += interval;
		}
	}
}

/* Stops counting in all functions at one moment. Detaching takes longer and is done afterwards. */
static void report_end(const struct trace_tool *tool)
{
	__atomic_store_n(tool->ended, true, __ATOMIC_SEQ_CST);
	/* Programs that are running now have ended when this returns. */
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		trace_note("membarrier: %s: the last report may miss calls that end just now",
			   strerror(errno));
	if (tool->events)
		ring_buffer__consume(tool->events);
	tool->report();
}

int trace_run(const struct trace_tool *tool)
{
	int err = select_cgroup(tool->cgroup) ?: trace_attach_funcs(tool);

	if (err)
		return err;
	setlinebuf(stdout);
	print_start(tool->what);
	if (!trace_opts.dry_run) {
		report_periodically(tool);
		report_end(tool);
		trace_detach_funcs();
	}
	if (fflush(stdout) || ferror(stdout))
		return trace_fail("cannot write: %s", strerror(errno));
	return 0;
}

void trace_destroy(void)
{
	trace_free_funcs();
	while (nr_mappings--)
		munmap(mappings[nr_mappings].memory, mappings[nr_mappings].size);
	trace_free_ksyms();
}

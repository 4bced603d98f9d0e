/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */
/*
 * What the tools share: common options, the choice of functions, a session on each of them, waiting
 * and printing.
 */
#ifndef TRACE_H
#define TRACE_H

#include <signal.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include "trace_filter.h"

#define TRACE_MAX_FUNCS	64
#define TRACE_NSEC	1000000000ULL

struct trace_func {
	char *name;			/* of a module's function: "module:function" */
	const struct btf *btf;
	__u32 id;			/* in btf */
	bool required;			/* given by name, not by a pattern: must be traceable */
	int prog;
	int link;
};

extern struct trace_func trace_funcs[TRACE_MAX_FUNCS];
extern int trace_nr_funcs;

/* The options of all tools. Times are in nanoseconds, 0 where not given. */
struct trace_opts {
	struct trace_filter filter;
	const char *cgroup;
	__u64 interval;
	__u64 duration;
	bool timestamps;
	bool json;
	bool dry_run;
	bool verbose;
};

extern struct trace_opts trace_opts;

enum { TRACE_JSON = 256, TRACE_DRY_RUN, TRACE_FIRST_OPT };

#define TRACE_SHORT_OPTS "p:n:c:i:d:TvVh"
#define TRACE_LONG_OPTS \
	{ "pid", required_argument, NULL, 'p' }, \
	{ "comm", required_argument, NULL, 'n' }, \
	{ "cgroup", required_argument, NULL, 'c' }, \
	{ "interval", required_argument, NULL, 'i' }, \
	{ "duration", required_argument, NULL, 'd' }, \
	{ "timestamp", no_argument, NULL, 'T' }, \
	{ "json", no_argument, NULL, TRACE_JSON }, \
	{ "dry-run", no_argument, NULL, TRACE_DRY_RUN }, \
	{ "verbose", no_argument, NULL, 'v' }, \
	{ "version", no_argument, NULL, 'V' }, \
	{ "help", no_argument, NULL, 'h' }

/* INTERVAL: what happens without -i */
#define TRACE_USAGE(interval) \
"\n" \
"Which calls (default: all but the tool's own; -p, -n and -c must all match):\n" \
"  -p, --pid PID            calls of this process or thread, by its ID on the host; may be\n" \
"                           given up to 32 times\n" \
"  -n, --comm NAME          calls of threads with this name (at most 15 characters); may be\n" \
"                           given up to 8 times\n" \
"  -c, --cgroup PATH        calls of tasks in this cgroup (v2) or below it; PATH may be\n" \
"                           relative to /sys/fs/cgroup\n" \
"\n" \
"When and how:\n" \
"  -i, --interval TIME      report every TIME (" interval ")\n" \
"  -d, --duration TIME      end after TIME (default: at Ctrl-C)\n" \
"  -T, --timestamp          show the time of day\n" \
"      --json               print one JSON object a line; its type is start, function,\n" \
"                           histogram or call\n" \
"      --dry-run            load the programs, list the functions, trace nothing\n" \
"  -v, --verbose            show what libbpf does\n" \
"  -V, --version            show the version\n" \
"  -h, --help               show this text\n" \
"\n" \
"TIME is a number with the unit ns, us, ms or s. For -i and -d the default unit is s.\n"

/* Each prints one line that begins with the tool's name; trace_misuse() exits. */
void trace_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define trace_fail(...) (trace_note(__VA_ARGS__), 1)
void trace_misuse(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

void trace_option(int opt, const char *usage);
__u64 trace_number_option(const char *name, const char *text, __u64 min, __u64 max);
/* UNIT: ns per unit of a number without a unit. If it is 0, numbers other than 0 need a unit. */
__u64 trace_time_option(const char *name, const char *text, __u64 unit);
__u64 trace_size_option(const char *name, const char *text, __u64 min, __u64 max);

/* What a tool runs */
struct trace_tool {
	const char *what;		/* what the tool does: the first words of its output */
	const struct bpf_program *prog;
	const struct bpf_map *cgroup;
	bool *ended;
	struct ring_buffer *events;	/* or NULL */
	__u64 (*cookie)(const struct trace_func *f, int index);
	void (*report)(void);
};

/*
 * These return 0, or 1 after printing an error. UNFIT, if not NULL, returns a reason to leave a
 * function out, or NULL.
 */
int trace_find_funcs(char **names, int count, const char *(*unfit)(const struct trace_func *f));
/*
 * Creates the maps and loads the program once, for vfs_read, to have its instructions relocated.
 * This copy is never attached: trace_run() loads the relocated instructions again for each
 * function.
 */
int trace_load(struct bpf_object *obj);
int trace_run(const struct trace_tool *tool);

/* Detaches all programs that are still attached, and frees all of the above. */
void trace_destroy(void);

const struct btf_type *trace_proto(const struct trace_func *f);
void *trace_map_memory(const struct bpf_map *map);
__u64 trace_now(void);

const char *trace_time_text(__u64 ns);
void trace_print_clock(__u64 ktime);
void trace_print_json_time(__u64 ktime);
void trace_print_json_string(const char *text, size_t len);
/* NULL: no symbol is known, and *offset is the address. */
const char *trace_find_symbol(__u64 address, __u64 *offset);
void trace_print_symbol(__u64 address);

/* Shared by the files trace*.c only */
extern volatile sig_atomic_t trace_stopped;	/* by a signal */
void trace_fail_memory(void) __attribute__((noreturn));
void *trace_grow(void *list, size_t count, size_t size);
char *trace_copy(const char *text);
int trace_init(void);
int trace_attach_funcs(const struct trace_tool *tool);
void trace_detach_funcs(void);
void trace_free_funcs(void);
void trace_free_ksyms(void);

#endif

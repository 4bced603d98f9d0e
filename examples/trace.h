/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */
/* What the tools here share: options, the choice of functions, sessions on them, waiting, printing. */
#ifndef TRACE_H
#define TRACE_H

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#define MAX_FUNCS	64
#define NSEC		1000000000ULL

struct func {
	char *name;			/* of a module's function: "module:function" */
	const struct btf *btf;
	__u32 id;			/* in btf */
	bool wanted;			/* by its name, not by a pattern: it has to be traced */
	int prog;
	int link;
};

extern struct func funcs[MAX_FUNCS];
extern int nr_funcs;

/* The options that all tools have: -p, -i, -d, -v, -h. Times in nanoseconds, 0 where not given. */
extern __u64 pid, interval, duration;

#define COMMON_OPTIONS \
	{ "pid", required_argument, NULL, 'p' }, \
	{ "interval", required_argument, NULL, 'i' }, \
	{ "duration", required_argument, NULL, 'd' }, \
	{ "verbose", no_argument, NULL, 'v' }, \
	{ "help", no_argument, NULL, 'h' }

/* Each prints one line that begins with the tool's name. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define fail(...) (note(__VA_ARGS__), 1)
void misuse(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

__u64 number_option(const char *name, const char *text, __u64 min, __u64 max);
__u64 time_option(const char *name, const char *text, __u64 unit);
void common_option(int opt, const char *usage);

/* These return 0, or 1 after having said why not. */
int find_funcs(char **names, int count);
int prepare(struct bpf_object *obj);
int attach_funcs(const struct bpf_program *prog, __u64 (*cookie)(const struct func *, int index));
int trace(const char *what, bool *ended, struct ring_buffer *events, void (*report)(void));

const struct btf_type *func_proto(const struct func *f);
void *map_memory(const struct bpf_map *map);
const char *time_text(__u64 ns);
void print_clock(__u64 ktime);
__u64 now(void);

#endif

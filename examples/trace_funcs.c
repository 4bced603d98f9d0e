// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
/* Selects functions and attaches a session to each. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "trace.h"

#define LEFT_OUT_LINES	16
#ifndef ENOTSUPP
#define ENOTSUPP	524		/* only the kernel's headers have it */
#endif

/* A candidate for a name or a pattern. Its BTF is looked up only if it matches. */
struct symbol {
	char *name;
	char *module;			/* NULL: the kernel itself */
};

struct module_btf {
	char *name;
	struct btf *btf;		/* NULL: it has none */
};

struct trace_func trace_funcs[TRACE_MAX_FUNCS];
int trace_nr_funcs;

static struct btf *vmlinux;
static struct symbol *symbols;
static size_t nr_symbols;
static const char *filter_file;		/* what ftrace can trace; NULL where that can't be read */
static struct module_btf *modules;
static size_t nr_modules;
static int nr_left_out;

static int by_name(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return strcmp(x->name, y->name) ?: strcmp(x->module ?: "", y->module ?: "");
}

static void add_symbol(const char *name, const char *module)
{
	symbols = trace_grow(symbols, nr_symbols, sizeof(*symbols));
	symbols[nr_symbols].name = trace_copy(name);
	symbols[nr_symbols++].module = module ? trace_copy(module) : NULL;
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
	size_t i;

	for (i = 0; i < nr_modules; i++)
		if (!strcmp(modules[i].name, name))
			return modules[i].btf;
	modules = trace_grow(modules, nr_modules, sizeof(*modules));
	modules[nr_modules].name = trace_copy(name);
	modules[nr_modules].btf = btf__load_module_btf(name, vmlinux);
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

/* All functions that can be traced. If ftrace's list can't be read, all that have BTF. */
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

static void leave_out(const char *name, const char *reason)
{
	if (nr_left_out++ < LEFT_OUT_LINES)
		trace_note("left out: %s: %s", name, reason);
}

/* The kernel finds the module of the traced function by a file descriptor of the module's BTF. */
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
		if (!bpf_btf_get_info_by_fd(fd, &info, &len) && info.kernel_btf &&
		    !strcmp(found, name))
			return fd;
		close(fd);
	}
	return -1;
}

static const char no_prototype[] =
	"no prototype in BTF: the compiler changed its arguments, or other functions have its name";

/* Returns why not, or NULL. */
static const char *add_func(const struct symbol *s, bool required,
			    const char *(*unfit)(const struct trace_func *f))
{
	const struct btf *btf = s->module ? module_btf(s->module) : vmlinux;
	struct trace_func f = { .btf = btf, .required = required, .prog = -1, .link = -1 };
	const char *reason;
	int i, id;

	if (!btf)
		return "its module has no BTF";
	id = btf__find_by_name_kind(btf, s->name, BTF_KIND_FUNC);
	/* A lookup in a module's BTF may find the kernel's own function of this name */
	if (id < 0 || (s->module && (__u32)id < btf__type_cnt(vmlinux)))
		return no_prototype;
	f.id = id;
	reason = unfit ? unfit(&f) : NULL;
	if (reason)
		return reason;

	for (i = 0; i < trace_nr_funcs; i++) {
		if (trace_funcs[i].btf == btf && trace_funcs[i].id == f.id) {
			trace_funcs[i].required |= required;
			return NULL;
		}
	}
	if (asprintf(&f.name, "%s%s%s", s->module ?: "", s->module ? ":" : "", s->name) < 0)
		trace_fail_memory();
	trace_funcs[trace_nr_funcs++] = f;
	return NULL;
}

/* Explains why no traceable function has this name. */
static int fail_not_found(const char *name)
{
	size_t i, len = strlen(name);

	for (i = 0; i < nr_symbols; i++)
		if (!strncmp(symbols[i].name, name, len) && symbols[i].name[len] == '.')
			return trace_fail("%s: not traceable: the compiler renamed it to %s, "
					  "which has no prototype in BTF", name, symbols[i].name);
	if (filter_file && btf__find_by_name_kind(vmlinux, name, BTF_KIND_FUNC) > 0)
		return trace_fail("%s: not traceable: not in %s (notrace, or gone after boot)",
				  name, filter_file);
	return trace_fail("%s: no such function in this kernel, or inlined", name);
}

static int find(char *pattern, const char *(*unfit)(const struct trace_func *f))
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
		if (trace_nr_funcs == TRACE_MAX_FUNCS) {
			over++;
			first = first ?: s->name;
			last = s->name;
			continue;
		}
		reason = add_func(s, !glob, unfit);
		if (reason && !glob)
			return trace_fail("%s: %s", s->name, reason);
		if (reason)
			leave_out(s->name, reason);
		else if (same > 1)
			trace_note("%s: %zu functions have this name, the first of them is traced",
				   s->name, same);
	}

	if (!found && glob)
		return trace_fail("%s: matches no function that can be traced", pattern);
	if (!found)
		return fail_not_found(pattern);
	if (over && !glob)
		return trace_fail("%s: more than %d functions in all", pattern, TRACE_MAX_FUNCS);
	if (over)
		trace_note("%s: matches %zu functions, the limit is %d; left out: "
			   "the %zu from %s to %s", pattern, found, TRACE_MAX_FUNCS, over, first,
			   last);
	return 0;
}

static const char not_permitted[] =
	"not permitted: needs CAP_BPF and CAP_PERFMON (root has them)";

/*
 * Loading a trial program shows whether this kernel has fsession. BTF does not: it names the attach
 * type even if the JIT lacks support.
 */
static int check_fsession(void)
{
	static const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },	/* r0 = 0 */
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_TRACE_FSESSION);
	int prog, id = btf__find_by_name_kind(vmlinux, "vfs_read", BTF_KIND_FUNC);

	if (id < 0)
		return trace_fail("vfs_read is not in the BTF of this kernel");
	opts.attach_btf_id = id;
	prog = bpf_prog_load(BPF_PROG_TYPE_TRACING, "trial", "Dual BSD/GPL", insns,
			     sizeof(insns) / sizeof(insns[0]), &opts);
	switch (prog) {
	case -EPERM:
		return trace_fail(not_permitted);
	case -EOPNOTSUPP:
		return trace_fail("this kernel has no fsession for this architecture");
	case -EINVAL:
		return trace_fail("this kernel has no fsession: apply the series, "
				  "or use fentry and fexit");
	default:
		if (prog < 0)
			return trace_fail("cannot load a session: %s", strerror(-prog));
		close(prog);
		return 0;
	}
}

int trace_find_funcs(char **names, int count, const char *(*unfit)(const struct trace_func *f))
{
	int i;

	if (!count)
		trace_misuse("which function?");
	if (trace_init())
		return 1;
	vmlinux = btf__load_vmlinux_btf();
	if (!vmlinux)
		return trace_fail("no BTF of this kernel (CONFIG_DEBUG_INFO_BTF): %s",
				  strerror(errno));
	if (check_fsession())
		return 1;

	read_symbols();
	for (i = 0; i < count; i++)
		if (find(names[i], unfit))
			return 1;
	if (!trace_nr_funcs)
		return trace_fail("no function left to trace");
	return 0;
}

/* Sessions. The instructions that libbpf has relocated are loaded once for each function. */

/* The line in the verifier's log that gives the reason: the last one before its statistics. */
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

static const char *load_func(struct trace_func *f, const struct bpf_program *prog)
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
			return errno == EPERM ?
			       "not permitted: a module's function needs CAP_SYS_ADMIN too" :
			       "module gone";
		opts.attach_btf_obj_fd = btf_fd;
	}
	f->prog = bpf_prog_load(BPF_PROG_TYPE_TRACING, bpf_program__name(prog), "Dual BSD/GPL",
				bpf_program__insns(prog), bpf_program__insn_cnt(prog), &opts);
	if (btf_fd)
		close(btf_fd);
	return f->prog < 0 ? refusal(log, f->prog) : NULL;
}

static const char *attach_func(struct trace_func *f, __u64 cookie)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .tracing.cookie = cookie);

	f->link = bpf_link_create(f->prog, 0, BPF_TRACE_FSESSION, &opts);
	if (f->link >= 0)
		return NULL;
	switch (-f->link) {
	case E2BIG:
		return "no room (E2BIG): it has four sessions with a cookie, "
		       "or as many programs as it can have";
	case EBUSY:
		return "busy: something other than BPF is hooked there, "
		       "or ftrace does not know the function";
	case ENOTSUPP:
		return "not supported (ENOTSUPP): it has too many arguments for a trampoline, "
		       "or ftrace can't attach one to it";
	default:
		return strerror(-f->link);
	}
}

static void remove_func(int i)
{
	struct trace_func *f = &trace_funcs[i];

	if (f->link >= 0)
		close(f->link);
	if (f->prog >= 0)
		close(f->prog);
	free(f->name);
	memmove(f, f + 1, (--trace_nr_funcs - i) * sizeof(*f));
}

/*
 * Loads and attaches a program for each function. With --dry-run only loads. Functions that fail
 * are removed from trace_funcs[].
 */
int trace_attach_funcs(const struct trace_tool *tool)
{
	const char *reason;
	int i = 0;

	while (i < trace_nr_funcs && !trace_stopped) {
		struct trace_func *f = &trace_funcs[i];

		reason = load_func(f, tool->prog);
		if (!reason && !trace_opts.dry_run)
			reason = attach_func(f, tool->cookie(f, i));
		if (!reason) {
			i++;
			continue;
		}
		if (f->required)
			return trace_fail("%s: %s", f->name, reason);
		leave_out(f->name, reason);
		remove_func(i);
	}
	while (trace_nr_funcs > i)
		remove_func(trace_nr_funcs - 1);

	if (nr_left_out > LEFT_OUT_LINES)
		trace_note("left out: %d more", nr_left_out - LEFT_OUT_LINES);
	return trace_nr_funcs || trace_stopped ? 0 : trace_fail("no function left to trace");
}

/* Also reports how many calls the recursion guard skipped. */
void trace_detach_funcs(void)
{
	struct bpf_prog_info info;
	__u64 missed = 0;
	__u32 len;

	while (trace_nr_funcs) {
		memset(&info, 0, sizeof(info));
		len = sizeof(info);
		if (!bpf_prog_get_info_by_fd(trace_funcs[0].prog, &info, &len))
			missed += info.recursion_misses;
		remove_func(0);
	}
	if (missed)
		trace_note("calls that were not seen: %llu (the recursion guard skipped them)",
			   missed);
}

const struct btf_type *trace_proto(const struct trace_func *f)
{
	return btf__type_by_id(f->btf, btf__type_by_id(f->btf, f->id)->type);
}

void trace_free_funcs(void)
{
	size_t i;

	while (trace_nr_funcs)
		remove_func(0);
	for (i = 0; i < nr_symbols; i++) {
		free(symbols[i].name);
		free(symbols[i].module);
	}
	free(symbols);
	for (i = 0; i < nr_modules; i++) {
		free(modules[i].name);
		btf__free(modules[i].btf);
	}
	free(modules);
	btf__free(vmlinux);
}

// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include "funclat.h"
#include "funclat.skel.h"

static const char usage[] =
"Usage: funclat [-d SECONDS] FUNCTION\n"
"Latency of a kernel function: histogram and slowest calls.\n"
"\n"
"  -d SECONDS  how long to trace; until Ctrl-C without it\n"
"  -h          this text\n"
"\n"
"  funclat vfs_read            reads of all processes, until Ctrl-C\n"
"  funclat -d 10 do_unlinkat   ten seconds of file removals\n";

static char verifier_log[64 * 1024];

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

static void interrupted(int sig)
{
}

/* The kernel's own type information says whether it knows sessions. */
static bool kernel_has_fsession(const struct btf *btf)
{
	int id = btf__find_by_name_kind(btf, "bpf_attach_type", BTF_KIND_ENUM), i;
	const struct btf_type *t = btf__type_by_id(btf, id);

	for (i = 0; t && i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(btf, btf_enum(t)[i].name_off), "BPF_TRACE_FSESSION"))
			return true;
	return false;
}

static bool returns_nothing(const struct btf *btf, const char *func)
{
	const struct btf_type *t = btf__type_by_id(btf, btf__find_by_name_kind(btf, func, BTF_KIND_FUNC));

	return t && btf__type_by_id(btf, t->type)->type == 0;
}

/* The line in the verifier's log that gives the reason: the last but its statistics. */
static const char *refusal(int err)
{
	char *line, *reason = NULL;

	for (line = strtok(verifier_log, "\n"); line; line = strtok(NULL, "\n"))
		if (strncmp(line, "processed ", 10))
			reason = line;
	return reason ?: strerror(-err);
}

static const char *not_attached(int err)
{
	switch (err) {
	case -E2BIG:
		return "it has as many sessions or tracing programs as a function can have";
	case -EBUSY:
	case -ENOENT:
	case -ENODEV:
		return "not traceable: not in /sys/kernel/tracing/available_filter_functions";
	default:
		return strerror(-err);
	}
}

static int fail(const char *func, const char *reason)
{
	fprintf(stderr, "funclat: %s: %s\n", func, reason);
	return 1;
}

static void add(struct stats *sum, const struct stats *cpu)
{
	int i, j;

	sum->entries += cpu->entries;
	sum->returns += cpu->returns;
	for (i = 0; i < SLOTS; i++)
		sum->slots[i] += cpu->slots[i];
	for (i = 0; i < SLOWEST; i++) {
		struct call *least = &sum->slowest[0];

		for (j = 1; j < SLOWEST; j++)
			if (sum->slowest[j].ns < least->ns)
				least = &sum->slowest[j];
		if (cpu->slowest[i].ns > least->ns)
			*least = cpu->slowest[i];
	}
}

static int longer(const void *a, const void *b)
{
	const struct call *x = a, *y = b;

	return x->ns < y->ns ? 1 : x->ns > y->ns ? -1 : 0;
}

static void print_histogram(const struct stats *s)
{
	int i, first = SLOTS, last = -1;
	unsigned long long most = 1;

	for (i = 0; i < SLOTS; i++) {
		if (!s->slots[i])
			continue;
		if (first > i)
			first = i;
		last = i;
		if (most < s->slots[i])
			most = s->slots[i];
	}

	printf("\n%12s .. %-12s %10s\n", "ns", "", "calls");
	for (i = first; i <= last; i++)
		printf("%12llu .. %-12llu %10llu |%-40.*s|\n", i ? 1ULL << i : 0, (2ULL << i) - 1, s->slots[i],
		       (int)(s->slots[i] * 40 / most), "****************************************");
}

static void print_stats(struct stats *s, bool no_ret)
{
	int i;

	printf("%llu entries, %llu returns\n", s->entries, s->returns);
	if (!s->returns)
		return;

	print_histogram(s);
	qsort(s->slowest, SLOWEST, sizeof(s->slowest[0]), longer);
	printf("\n%12s %8s %-16s %s\n", "slowest, ns", "pid", "process", no_ret ? "" : "returned");
	for (i = 0; i < SLOWEST && s->slowest[i].ns; i++) {
		printf("%12llu %8u %-16s", s->slowest[i].ns, s->slowest[i].pid, s->slowest[i].comm);
		if (no_ret)
			printf("\n");
		else
			printf(" %lld\n", (long long)s->slowest[i].ret);
	}
}

static int read_stats(struct funclat_bpf *skel, struct stats *sum)
{
	int cpus = libbpf_num_possible_cpus(), i, err;
	struct stats *each;
	__u32 key = 0;

	each = calloc(cpus, sizeof(*each));
	if (!each)
		return -ENOMEM;
	err = bpf_map__lookup_elem(skel->maps.stats, &key, sizeof(key), each, cpus * sizeof(*each), 0);
	for (i = 0; !err && i < cpus; i++)
		add(sum, &each[i]);
	free(each);
	return err;
}

static int trace(struct funclat_bpf *skel, const struct btf *btf, const char *func, unsigned int seconds)
{
	struct sigaction on_signal = { .sa_handler = interrupted };
	struct stats sum = {};
	int err;

	if (!kernel_has_fsession(btf))
		return fail(func, "this kernel has no fsession (BPF_TRACE_FSESSION)");
	if (bpf_program__set_attach_target(skel->progs.funclat, 0, func))
		return fail(func, "no such function in the kernel's BTF");

	bpf_program__set_log_buf(skel->progs.funclat, verifier_log, sizeof(verifier_log));
	err = funclat_bpf__load(skel);
	if (err)
		return fail(func, err == -EPERM ? "not permitted: CAP_BPF and CAP_PERFMON, or root" : refusal(err));
	err = funclat_bpf__attach(skel);
	if (err)
		return fail(func, not_attached(err));

	sigaction(SIGINT, &on_signal, NULL);
	sigaction(SIGTERM, &on_signal, NULL);
	printf("Tracing %s", func);
	if (seconds)
		printf(" for %u seconds", seconds);
	printf("%s\n", seconds ? "" : ", Ctrl-C ends");
	fflush(stdout);
	if (seconds)
		sleep(seconds);
	else
		pause();

	funclat_bpf__detach(skel);
	err = read_stats(skel, &sum);
	if (err)
		return fail(func, strerror(-err));
	print_stats(&sum, returns_nothing(btf, func));
	return 0;
}

int main(int argc, char **argv)
{
	unsigned int seconds = 0;
	struct funclat_bpf *skel;
	struct btf *btf;
	int opt, err;

	while ((opt = getopt(argc, argv, "d:h")) != -1) {
		switch (opt) {
		case 'd':
			seconds = atoi(optarg);
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc - 1) {
		fputs(usage, stderr);
		return 2;
	}

	libbpf_set_print(quiet);
	btf = btf__load_vmlinux_btf();
	if (!btf)
		return fail(argv[optind], "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF)");
	skel = funclat_bpf__open();
	if (!skel)
		return fail(argv[optind], strerror(errno));
	err = trace(skel, btf, argv[optind], seconds);
	funclat_bpf__destroy(skel);
	btf__free(btf);
	return err;
}

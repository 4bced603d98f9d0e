// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
/* Times, strings and symbols. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "trace.h"

struct ksym {
	__u64 address;
	char *name;
};

static struct ksym *ksyms;
static size_t nr_ksyms;

/* Four digits and a unit; four texts can be used at once. */
const char *trace_time_text(__u64 ns)
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

/* Converts KTIME (CLOCK_MONOTONIC) to ns since 1970 */
static __u64 real_time(__u64 ktime)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * TRACE_NSEC + t.tv_nsec - (trace_now() - ktime);
}

void trace_print_clock(__u64 ktime)
{
	__u64 ns = real_time(ktime);
	time_t s = ns / TRACE_NSEC;
	char text[16];
	struct tm tm;

	strftime(text, sizeof(text), "%H:%M:%S", localtime_r(&s, &tm));
	printf("%s.%06llu", text, ns % TRACE_NSEC / 1000);
}

void trace_print_json_time(__u64 ktime)
{
	__u64 ns = real_time(ktime);

	printf("\"time\":%llu.%06llu", ns / TRACE_NSEC, ns % TRACE_NSEC / 1000);
}

void trace_print_json_string(const char *text, size_t len)
{
	size_t i;

	putchar('"');
	for (i = 0; i < len && text[i]; i++) {
		unsigned char c = text[i];

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < ' ' || c > '~')
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static int by_address(const void *a, const void *b)
{
	const struct ksym *x = a, *y = b;

	return x->address > y->address ? 1 : x->address < y->address ? -1 : 0;
}

/* Called after all programs are attached: /proc/kallsyms then has their trampolines. */
static void read_ksyms(void)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	char name[256], type;
	__u64 address;

	while (f && fscanf(f, "%llx %c %255s%*[^\n]", &address, &type, name) == 3) {
		if (!address || !strchr("tTwW", type))
			continue;
		ksyms = trace_grow(ksyms, nr_ksyms, sizeof(*ksyms));
		ksyms[nr_ksyms++] = (struct ksym){ address, trace_copy(name) };
	}
	if (f)
		fclose(f);
	qsort(ksyms, nr_ksyms, sizeof(*ksyms), by_address);
	if (!nr_ksyms)
		trace_note("stacks have addresses only: /proc/kallsyms needs CAP_SYSLOG");
}

const char *trace_find_symbol(__u64 address, __u64 *offset)
{
	static bool tried;
	size_t low = 0, high;

	if (!tried)
		read_ksyms();
	tried = true;
	for (high = nr_ksyms; low < high;) {
		size_t middle = (low + high) / 2;

		if (ksyms[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	*offset = low ? address - ksyms[low - 1].address : address;
	return low ? ksyms[low - 1].name : NULL;
}

void trace_print_symbol(__u64 address)
{
	__u64 offset;
	const char *name = trace_find_symbol(address, &offset);

	if (name)
		printf("%s+", name);
	printf("0x%llx", offset);
}

void trace_free_ksyms(void)
{
	size_t i;

	for (i = 0; i < nr_ksyms; i++)
		free(ksyms[i].name);
	free(ksyms);
}

// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
/* Counts reads and measures how long they take, until Ctrl-C, then prints. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include "minimal.skel.h"

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
	stopped = 1;
}

int main(void)
{
	struct minimal_bpf *skel;
	unsigned long long calls;
	int err;

	skel = minimal_bpf__open_and_load();
	if (!skel) {
		if (errno == EINVAL)
			fprintf(stderr, "minimal: if libbpf gives no other reason, "
				"this kernel has no fsession\n");
		return 1;
	}

	err = minimal_bpf__attach(skel);
	if (!err) {
		signal(SIGINT, on_signal);
		while (!stopped)
			sleep(1);
		minimal_bpf__detach(skel);

		calls = skel->bss->calls;
		printf("%llu reads, %llu bytes, %llu ns each\n", calls, skel->bss->bytes,
		       calls ? skel->bss->ns / calls : 0);
	}

	minimal_bpf__destroy(skel);
	return err != 0;
}

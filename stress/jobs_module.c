// SPDX-License-Identifier: GPL-2.0
/* A module with a traced function that recurses is loaded and unloaded. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/syscall.h>
#include "jobs.h"

#define CALLS	5	/* that one read makes */

int module_fd;

int unload_module(void)
{
	return syscall(__NR_delete_module, "bpf_testmod", O_NONBLOCK) ? -errno : 0;
}

void module_loader(long nr, __u64 *state)
{
	static bool loaded;
	int err;

	if (!loaded) {
		err = syscall(__NR_finit_module, module_fd, "", 0) ? -errno : 0;
	} else {
		if (rnd(state, 64))
			return;
		err = unload_module();
	}
	if (err) {
		refused(loaded ? RMMOD : INSMOD, err, "");
		return;
	}
	loaded = !loaded;
	ADD(counts[MODULE_LOADS], loaded);
}

void module_reader(long nr, __u64 *state)
{
	struct target *t = &targets[MODULE];
	char buf[16];
	int fd;

	pthread_rwlock_rdlock(&t->callers);
	fd = open("/sys/kernel/bpf_testmod", O_RDONLY);
	if (fd < 0 || read(fd, buf, sizeof(buf)) < 0)
		refused(READ, -errno, "");
	/* bpf_testmod returns EIO from each read, after its function has run. */
	if (fd >= 0 && errno == EIO)
		ADD(t->calls, CALLS);
	if (fd >= 0)
		close(fd);
	pthread_rwlock_unlock(&t->callers);
}

void module_visitor(long nr, __u64 *state)
{
	static const struct flavour flavour = { .sets = VISITOR_SETS };

	visit(&targets[MODULE], &flavour, state);
}

void finish_module(void)
{
	int err;

	for (err = unload_module(); err && err != -ENOENT; err = unload_module()) {
		refused(RMMOD, err, "");
		rest(100 * MS);
	}
}

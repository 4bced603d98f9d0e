// SPDX-License-Identifier: GPL-2.0
/* Programs of a cgroup's LSM hooks are attached and detached. The first hook is traced as well. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "jobs.h"
#include "lsm.skel.h"

#define ROOT "/sys/fs/cgroup"

static struct lsm_bpf *skel;
static int counted_link;
static int nr_hooks;
static struct hook {
	struct bpf_program *prog;
	int link;
	char cgroup[48];	/* path of its own cgroup; empty: attached to the root */
} hooks[16];

static int attach_to(const char *cgroup, struct bpf_program *prog)
{
	int fd, link;

	fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	link = bpf_link_create(bpf_program__fd(prog), fd, BPF_LSM_CGROUP, NULL);
	close(fd);
	return link;
}

void start_hooks(void)
{
	struct bpf_program *prog;

	if (!runs("lsm"))
		return;
	skel = lsm_bpf__open_and_load();
	if (!skel) {
		fail("load for LSM hooks: %s", strerror(errno));
		return;
	}
	bpf_object__for_each_program(prog, skel->obj) {
		if (prog != skel->progs.counted)
			hooks[nr_hooks++].prog = prog;
	}
	counted_link = attach_to(ROOT, skel->progs.counted);
	if (counted_link < 0)
		refused(ATTACH_HOOK, counted_link, "counted");
}

static void remove_cgroup(struct hook *hook)
{
	if (hook->cgroup[0] && rmdir(hook->cgroup))
		fail("rmdir %s: %s", hook->cgroup, strerror(errno));
	hook->cgroup[0] = 0;
}

static void attach_hook(struct hook *hook, bool own_cgroup)
{
	int link;

	if (own_cgroup) {
		snprintf(hook->cgroup, sizeof(hook->cgroup), ROOT "/%ld", hook - hooks);
		if (mkdir(hook->cgroup, 0755))
			fail("mkdir %s: %s", hook->cgroup, strerror(errno));
	}
	link = attach_to(own_cgroup ? hook->cgroup : ROOT, hook->prog);
	if (link < 0) {
		refused(ATTACH_HOOK, link, bpf_program__name(hook->prog));
		remove_cgroup(hook);
		return;
	}
	hook->link = link;
	ADD(counts[HOOKS], 1);
}

static void detach_hook(struct hook *hook, bool cgroup_first)
{
	if (cgroup_first)
		remove_cgroup(hook);
	close(hook->link);
	hook->link = 0;
	remove_cgroup(hook);
}

/* Detaches rarely, so that attaches reach the limit of LSM hooks (EINVAL). */
void hooker(long nr, __u64 *state)
{
	struct hook *hook = &hooks[rnd(state, (nr_hooks + 1 - nr) / 2) * 2 + nr];

	if (!hook->link)
		attach_hook(hook, rnd(state, 2));
	else if (!rnd(state, 16))
		detach_hook(hook, rnd(state, 2));
}

void socket_maker(long nr, __u64 *state)
{
	struct sockaddr addr;
	socklen_t len = sizeof(addr);
	int fd;

	ADD(targets[HOOK].calls, 1);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		refused(SOCKET, -errno, "");
		return;
	}
	if (getsockname(fd, &addr, &len))
		fail("getsockname: %s", strerror(errno));
	close(fd);
}

void finish_hooks(void)
{
	int i;

	if (!skel)
		return;
	for (i = 0; i < nr_hooks; i++) {
		if (hooks[i].link)
			detach_hook(&hooks[i], false);
	}
	if (skel->bss->counted_calls != targets[HOOK].calls)
		fail("%s: %llu calls, but the cgroup's program counted %llu", targets[HOOK].func,
		     targets[HOOK].calls, skel->bss->counted_calls);
	counts[DENIED_CALLS] = skel->bss->denied_calls;
	close(counted_link);
	lsm_bpf__destroy(skel);
}

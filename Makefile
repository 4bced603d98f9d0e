# SPDX-License-Identifier: GPL-2.0
# Builds, tests and measures a kernel with BPF_TRACE_FSESSION. "make help" lists the targets.

# Only the command line sets these. A user's shell may have variables of the same names for other
# reasons. BARE=1, with KERNEL, leaves the patches out: for test-full, and for make bench on a kernel
# without the series.
OPTIONS := ARCH BARE B BASE BASES BOOT CMD CONFIG CPU CPUS FROM FUNC JOBS KERNEL MEM MINUTES REV \
	SEED T V
unset_unless_given = $(if $(filter command,$(origin $(1))),,$(eval override $(1) :=))
$(foreach option,$(OPTIONS),$(call unset_unless_given,$(option)))
# The guest's shell expands $ in CMD, make does not
override CMD := $(value CMD)
# scripts/common.sh says which base is the reference
override BASE := $(or $(BASE),$(shell sed -n 's/^reference=\([^ ]*\).*/\1/p' scripts/common.sh))
export $(OPTIONS)

IN := @scripts/enter

.DEFAULT_GOAL := help
.PHONY: help run test test-debug test-full stress bench steps shell vm
.PHONY: base tree kernel selftests examples series check port compare touched clean

# Prints the lines that begin with ##, and each target with the text after its ##
help:
	@sed -n -e 's/^## \{0,1\}//p' -e 's/^\([a-z-]*\):[^#]*## /  \1\t/p' Makefile | expand -t 14

## Usage: make TARGET [VARIABLE=VALUE]...
##
## To see it work:
run: examples	## trace FUNC with examples/funclat in the guest [FUNC=vfs_read]
	$(IN) scripts/run
test: selftests	## run the selftests and the tools' checks [T='fsession_test ...']
	$(IN) scripts/test
shell: kernel	## open a root shell in the guest
	$(IN) scripts/vm shell 0
vm: kernel	## run a command in the guest, CMD='...' (limit: one hour)
	$(IN) scripts/vm vm 3600 "$${CMD:?is missing: make vm CMD='command'}"
##
## To test and measure more:
test-debug:	## run make test on kernels with KASAN, lockdep and kmemleak (4 GB of memory)
	@$(MAKE) --no-print-directory test CONFIG=debug
	@$(MAKE) --no-print-directory test CONFIG='debug preempt_none'
test-full: tree	## run all of test_progs without and with the patches, show what differs
	@rm -f build/linux-*-bare/log/test*-full build/$(BASE)/log/test*-full
	-@$(MAKE) --no-print-directory test CONFIG=full KERNEL=build/$(BASE)/linux REV=base BARE=1
	-@$(MAKE) --no-print-directory test CONFIG=full
	@scripts/compare build/linux-*-bare build/$(BASE)
stress: selftests	## attach and detach while functions run [MINUTES=10] [SEED=number]
	$(IN) scripts/stress
bench: kernel	## count the instructions that programs add to a call
	$(IN) scripts/bench
steps: kernel	## count the instructions of one call, by function [B=fsession]
	$(IN) scripts/steps
##
## To change the series:
tree: base	## make the tree: build/BASE/linux, a commit for each patch
	$(IN) scripts/tree
series: base	## write patches/BASE from the commits of the tree
	$(IN) scripts/series
check: kernel	## apply the patches one after the other, check each
	$(IN) scripts/check
port:		## port the series from FROM to BASE: FROM=v6.19 BASE=v6.18
	@$(MAKE) --no-print-directory tree \
		BASE=$${FROM:?is missing: make port FROM=v6.19 BASE=v6.18}
	@$(MAKE) --no-print-directory base
	$(IN) scripts/port
compare:	## show the differences between the series of two kernels: BASES='v6.19 v6.18'
	@for base in $(BASES); do $(MAKE) --no-print-directory tree BASE=$$base || exit; done
	$(IN) scripts/compare-queues
##
## Steps of the above:
base:		## fetch the build tools (Debian 13) and the kernel tarball into the cache
	@scripts/toolroot
	@scripts/fetch
kernel: tree	## build the kernel: build/BASE/obj
	$(IN) scripts/kernel
touched: tree	## compile only the files that the series touches
	$(IN) scripts/kernel touched
selftests: kernel	## build test_progs: build/BASE/selftests
	$(IN) scripts/selftests
examples: kernel	## build the tools: build/BASE/examples
	$(IN) scripts/examples
clean:		## remove build/; the cache stays
	@scripts/clean
##
## Variables, taken from make's command line only:
##   ARCH=arm64                   architecture of the guest: x86_64 or arm64 (default: the host's)
##   BASE=v6.18                   kernel version: v6.19 (default), v6.18 or v6.12
##   CONFIG='debug ...'           build with configs/debug.config, in its own folder (obj-debug)
##   BOOT='retbleed=stuff'        add to the guest's kernel command line
##   KERNEL=DIR REV=v6.19.11      apply the patches of BASE to this commit of the repository in DIR
##   CPUS=2 MEM=2G                processors and memory of the guest
##   CPU=EPYC-Rome                QEMU's name of the processor to emulate
##   JOBS=2                       compilers at once (default: all processors)
##   V=1                          show the commands

# SPDX-License-Identifier: GPL-2.0
# A kernel with BPF_TRACE_FSESSION, from nothing. README.md says what each target does.

export FUNC KERNEL REV BARE CONFIG V T JOBS MINUTES SEED B
# As it stands: $ in CMD is the guest's shell's, not make's
override export CMD := $(value CMD)

IN := @scripts/enter

.PHONY: run test test-debug test-full stress bench steps shell vm tree kernel selftests examples series check base
.DEFAULT_GOAL := run

run: examples
	$(IN) scripts/run
test: selftests
	$(IN) scripts/test
test-debug:
	@$(MAKE) --no-print-directory test CONFIG=debug
	@$(MAKE) --no-print-directory test CONFIG='debug preempt_none'
test-full: tree
	@rm -f build/linux-*-bare/log/test-full build/v6.19/log/test-full
	-@$(MAKE) --no-print-directory test CONFIG=full KERNEL=build/v6.19/linux REV=base BARE=1
	-@$(MAKE) --no-print-directory test CONFIG=full
	@scripts/compare build/linux-*-bare/log/test-full build/v6.19/log/test-full
stress: selftests
	$(IN) scripts/stress
bench: kernel
	$(IN) scripts/bench
steps: kernel
	$(IN) scripts/steps
shell: kernel
	$(IN) scripts/vm shell 0
vm: kernel
	$(IN) scripts/vm vm 3600 "$${CMD:?is missing: make vm CMD='command'}"

base:
	@scripts/toolroot
	@scripts/fetch
tree: base
	$(IN) scripts/tree
kernel: tree
	$(IN) scripts/kernel
selftests: kernel
	$(IN) scripts/selftests
examples: kernel
	$(IN) scripts/examples
series: base
	$(IN) scripts/series
check: kernel
	$(IN) scripts/check

# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034
# Paths and functions that all scripts share. Source this file, do not run it.
set -eu

top=$(cd "${0%/*}/.." && pwd -P)
cache=${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/fsession
reference=v6.19 # the queue that is changed first; the others are ports of it
release=${BASE:-$reference}
queue=$top/patches/$release
prefix="PATCH ${release#v}" # of the patches' subjects
mark="[ ${release#v}:" # begins the note of an adapted patch

die() {
	printf 'fsession: %s\n' "$*" >&2
	exit 1
}

# ARCH is the guest's architecture (default: the host's). Most architecture differences are here, in
# scripts/steps.py, in configs/*.arch and in configs/*.config. ARCH and CROSS_COMPILE become what
# the Makefiles of the kernel and its tools expect.
case ${ARCH:-$(uname -m)} in
x86 | x86_64)
	ARCH=x86
	arch=x86_64
	arch_suffix=
	debian_arch=amd64
	triplet=x86_64-linux-gnu
	image=bzImage
	console=ttyS0
	qemu='qemu-system-x86_64 -machine pc'
	qemu_package=qemu-system-x86
	emulated_cpu=max
	tcg_threads=single
	;;
arm64 | aarch64)
	ARCH=arm64
	arch=arm64
	arch_suffix=-arm64
	debian_arch=arm64
	triplet=aarch64-linux-gnu
	image=Image
	console=ttyAMA0
	qemu='qemu-system-aarch64 -machine virt,gic-version=max'
	qemu_package=qemu-system-arm
	emulated_cpu=max,pauth-impdef=on # the architecture's own hash is slow to emulate
	tcg_threads=multi
	;;
*) die "ARCH=${ARCH:-$(uname -m)}: x86_64 and arm64 are supported" ;;
esac
CROSS_COMPILE=
[ "$(uname -m)" = "${triplet%%-*}" ] || CROSS_COMPILE=$triplet-
export ARCH CROSS_COMPILE
arch_file=$top/configs/$arch.arch

base_file=$top/configs/$release.base
[ -e "$base_file" ] || die "BASE=$release: there is no configs/$release.base"

# Prints the build folder of this base or, with KERNEL and REV, of the user's commit. With BARE=1
# the patches are not applied there.
get_build_dir() {
	[ "${KERNEL-}" ] || { echo "$top/build/$release"; return; }
	rev=$(git -C "$KERNEL" rev-parse -q --verify --short=12 "${REV:-HEAD}^{commit}") ||
		die "KERNEL=$KERNEL: no commit ${REV:-HEAD} there"
	echo "$top/build/$(basename "$KERNEL")-$rev${BARE:+-bare}"
}

# Prints the folder of the benchmarks. A bare kernel may have none, so it runs those of the series.
get_bench_dir() {
	if [ "${BARE-}" ]; then echo "$top/build/$release/bench$arch_suffix"
	else echo "$(get_build_dir)/$(add_flavour bench)"
	fi
}

# add_flavour NAME: prints NAME with a suffix for ARCH and CONFIG, for example obj-arm64-debug
add_flavour() { echo "$1$arch_suffix${CONFIG:+-$(echo "$CONFIG" | tr ' ' -)}"; }

# run_step NAME TEXT LOG CMD...: runs CMD, prints one line with its duration, writes its output to
# LOG. With V=1 the output goes to the terminal instead.
run_step() {
	step_name=$1 step_text=$2 step_log=$3
	shift 3
	mkdir -p "${step_log%/*}"
	step_start=$(date +%s)
	printf '  %-9s %s (%s) ' "$step_name" "$step_text" "${step_log#"$top"/}"
	[ "${V-}" != 1 ] || echo
	set +e
	if [ "${V-}" = 1 ]; then (set -ex; "$@")
	else (set -e; "$@") >"$step_log" 2>&1 </dev/null
	fi
	step_status=$?
	set -e
	if [ $step_status = 0 ]; then
		echo "$(($(date +%s) - step_start)) s"
		return
	fi
	echo 'failed'
	why="status $step_status"
	[ "${V-}" = 1 ] || why=$(find_reason "$step_log")
	why=${why#fsession: }
	die "$step_text: ${why#error: }"
}

# find_reason LOG: prints the last line that mentions an error, else the last line
find_reason() {
	words='fsession: |error|fatal|no space|cannot|could not|not found|^E: |undefined|\*\*\*'
	grep -aiE "$words" "$1" |
		grep -avE '^make.*(\*\*\*|Error)' | tail -n 1 | grep . || tail -n 1 "$1"
}

# lock_dir DIR: until this script ends, no other one builds there.
lock_dir() {
	exec 8>"$1/lock"
	flock -n 8 || {
		echo '  NOTE      something else is building here, waiting for its end'
		flock 8
	}
}

# require_space DIR MEGABYTES: fails if DIR has less free space
require_space() {
	free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$2" ] || die "$1: $free MB free, $2 MB needed"
}

# get_base_commit BUILD: the commit that the queue is applied to in BUILD
get_base_commit() {
	cat "$1/base" 2>/dev/null || git -C "$1/linux" rev-parse refs/tags/base
}

# list_patches [QUEUE]: lists the patches in order, without the cover letter; none if BARE is set
list_patches() {
	[ -z "${BARE-}" ] && [ -d "${1-$queue}" ] || return 0
	find "${1-$queue}" -name '0*.patch' ! -name '0000-*' | sort
}

# hash_queue QUEUE: prints a checksum of its patches
hash_queue() {
	list_patches "$1" | xargs cat -- /dev/null | sha256sum | cut -d' ' -f1
}

# apply_patches DIR PATCH...: one commit each on DIR's HEAD; scripts/enter sets the committer, so
# every machine gets the same commits. With KERNEL, git may merge (git am -3).
apply_patches() {
	cd "$1"
	shift
	[ $# -gt 0 ] || return 0
	git am -q ${KERNEL:+-3} --committer-date-is-author-date "$@" || {
		subject=$(git am --show-current-patch=raw | sed -n 's/^Subject: //p')
		echo "fsession: does not apply: $subject"
		return 1
	}
}

# list_touched TREE BASE: the objects of the files that the commits change, without those of other
# architectures
list_touched() {
	git -C "$1" diff --name-only "$2" HEAD -- ':!tools' |
		awk -F / -v arch="$ARCH" '
			sub(/\.c$/, ".o") && ($1 != "arch" || $2 == arch)'
}

# export_commits TREE BASE DIR: writes one mail per commit to DIR. Pins all options that a git
# configuration could change.
export_commits() {
	git -C "$1" \
		-c diff.algorithm=myers \
		-c diff.noprefix=false \
		-c format.useAutoBase=false \
		format-patch -q \
		--zero-commit \
		--no-signature \
		--full-index \
		--no-renames \
		--no-thread \
		--no-notes \
		--numbered \
		--stat=76 \
		--subject-prefix="$prefix" \
		-o "$3" "$2..HEAD"
}

# Filters a commit message: prints the lines from $mark to the closing bracket
print_note() { awk -v mark="$mark" 'index($0, mark) == 1 { on = 1 } on; on && /\]$/ { exit }'; }

# make_selftests TREE OBJ OUTPUT ARG...: make, in the tree's BPF selftests, for the kernel in OBJ
make_selftests() {
	build_pahole_libbpf "${1%/linux}"
	unset CCACHE_BASEDIR # it would write paths into *.d that make does not find
	selftests=$1/tools/testing/selftests/bpf kernel=$2 output=$3
	shift 3
	make --no-print-directory -C "$selftests" -j"$JOBS" \
		O="$kernel" \
		VMLINUX_BTF="$kernel/vmlinux" \
		OUTPUT="$output" \
		CC="ccache ${CROSS_COMPILE}gcc" \
		HOSTCC='ccache gcc' \
		SKIP_DOCS=1 \
		V="${V:-0}" \
		"$@"
}

# build_pahole_libbpf BUILD: builds the tree's libbpf for pahole. With Debian 13's libbpf 1.5 pahole
# does not recognise the kernel's types in a module that gcc 14 compiled: each module gets its own
# task_struct.
build_pahole_libbpf() {
	mkdir -p "$1/libbpf"
	make -s --no-print-directory -C "$1/linux/tools/lib/bpf" -j"$JOBS" \
		ARCH= \
		CROSS_COMPILE= \
		CC='ccache gcc' \
		OUTPUT="$1/libbpf/" \
		"$1/libbpf/libbpf.so"
	export LD_LIBRARY_PATH="$1/libbpf"
}

# list_lacking KIND: the options or tests that the base or the architecture lacks, as
# configs/BASE.base and configs/ARCH.arch say, each with the reason
list_lacking() {
	cat "$base_file" "$arch_file" | sed -n "s/^without \($arch \)\{0,1\}$1 //p"
}

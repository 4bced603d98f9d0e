# SPDX-License-Identifier: GPL-2.0
# Run by gdb for scripts/steps, on a guest that waits to be started: single-steps calls of a
# function until two in a row execute the same instructions, lets the guest finish, and writes the
# counts of instructions per function.
import bisect
import collections
import os
import re
import sys
import time

import gdb

FUNC = 'bpf_get_numa_node_id'
# Per architecture: gdb's name for it, the stack pointer, the program counter, the link register
# (None: the return address is on the stack)
NAME, SP, PC, LINK = {
    'x86': ('i386:x86-64', 'rsp', 'rip', None),
    'arm64': ('aarch64', 'sp', 'pc', 'x30'),
}[os.environ['ARCH']]


def read_symbols(path):
    with open(path) as lines:
        fields = [line.split() for line in lines]
    return [(int(address, 16), name) for address, kind, name, *_ in fields if kind in 'tTwW']


def read_register(name):
    return int(gdb.selected_frame().read_register(name)) % 2**64


def connect():
    for _ in range(600):
        try:
            return gdb.execute('target remote ' + os.environ['SOCKET'])
        except gdb.error:
            time.sleep(0.1)
    raise gdb.error('gdb could not connect to the guest within 60 s')


def run_to_breakpoint():
    """Continue the guest. Return False if it has ended: the connection breaks then."""
    try:
        gdb.execute('continue')
    except gdb.error:
        pass
    return gdb.selected_inferior().pid != 0


def find_caller():
    """At the function's first instruction: return the return address, and the SP after it."""
    sp = read_register(SP)
    if LINK:
        return read_register(LINK), sp
    return int.from_bytes(gdb.selected_inferior().read_memory(sp, 8), 'little'), sp + 8


def step_call(address):
    """Return the addresses of the instructions from a call of the function to its return."""
    gdb.execute(f'thbreak *{address:#x}')
    if not run_to_breakpoint():
        raise gdb.error(f'this benchmark does not call {FUNC}()')
    back = find_caller()
    path = []
    while (read_register(PC), read_register(SP)) != back:
        path.append(read_register(PC))
        gdb.execute('stepi')
    return path


def find_steady_call(address):
    path = step_call(address)
    for _ in range(20):
        last, path = path, step_call(address)
        if path == last:
            return path
    raise gdb.error(f'no two calls of {FUNC}() in a row execute the same instructions')


def make_rows(path, known):
    known.sort()
    addresses = [address for address, _ in known]
    calls, count = collections.Counter(), collections.Counter()
    for pc in path:
        start, name = known[bisect.bisect(addresses, pc) - 1]
        name = re.sub(r'^(bpf_trampoline)_\d+$|^bpf_prog_[0-9a-f]{16}_', r'\1', name)
        calls[name] += pc == start
        count[name] += 1
    yield 'function', 'calls', 'instructions'
    for name in count:
        yield name, calls[name], count[name]
    yield 'total', '', len(path)
    yield f'without {FUNC}', '', len(path) - count[FUNC]


def main():
    connect()
    try:
        kernel = read_symbols(os.environ['SYSTEM_MAP'])
        path = find_steady_call(next(address for address, name in kernel if name == FUNC))
    finally:
        if gdb.selected_inferior().pid:
            gdb.execute('delete')
            run_to_breakpoint()
    with open(os.environ['TABLE'], 'w') as out:
        for row in make_rows(path, kernel + read_symbols(os.environ['KALLSYMS'])):
            print('%-36s %6s %13s' % row, file=out)


gdb.execute('set pagination off')
gdb.execute('set architecture ' + NAME)
try:
    main()
except Exception as why:
    print('fsession:', why, file=sys.stderr)
    gdb.execute('quit 1')

# SPDX-License-Identifier: GPL-2.0
# Run by gdb, for scripts/steps, on a guest that waits to be started: steps through calls of a
# function until one goes the same way as the one before, lets the guest run to its end and writes
# what that call took, function by function.
import bisect
import collections
import os
import re
import sys
import time

import gdb

FUNC = 'bpf_get_numa_node_id'
# Of ARCH: its name for gdb, the stack pointer, the program counter, and where a function finds its
# return address, on the stack or in a register
NAME, SP, PC, LINK = {
    'x86': ('i386:x86-64', 'rsp', 'rip', None),
    'arm64': ('aarch64', 'sp', 'pc', 'x30'),
}[os.environ['ARCH']]


def symbols(path):
    with open(path) as lines:
        fields = [line.split() for line in lines]
    return [(int(address, 16), name) for address, kind, name, *_ in fields if kind in 'tTwW']


def register(name):
    return int(gdb.selected_frame().read_register(name)) % 2**64


def connect():
    for _ in range(600):
        try:
            return gdb.execute('target remote ' + os.environ['SOCKET'])
        except gdb.error:
            time.sleep(0.1)
    raise gdb.error('no guest to step through')


def stopped():
    """Lets the guest run to the next breakpoint. At its end the connection breaks."""
    try:
        gdb.execute('continue')
    except gdb.error:
        pass
    return gdb.selected_inferior().pid != 0


def caller():
    """At the function's first instruction: the return address, and the stack pointer there."""
    sp = register(SP)
    if LINK:
        return register(LINK), sp
    return int.from_bytes(gdb.selected_inferior().read_memory(sp, 8), 'little'), sp + 8


def call(address):
    """The instructions from a call of the function to its return."""
    gdb.execute(f'thbreak *{address:#x}')
    if not stopped():
        raise gdb.error(f'this benchmark does not call {FUNC}()')
    back = caller()
    way = []
    while (register(PC), register(SP)) != back:
        way.append(register(PC))
        gdb.execute('stepi')
    return way


def steady(address):
    way = call(address)
    for _ in range(20):
        last, way = way, call(address)
        if way == last:
            return way
    raise gdb.error(f'no two calls of {FUNC}() go the same way')


def table(way, known):
    known.sort()
    addresses = [address for address, _ in known]
    calls, count = collections.Counter(), collections.Counter()
    for pc in way:
        start, name = known[bisect.bisect(addresses, pc) - 1]
        name = re.sub(r'^(bpf_trampoline)_\d+$|^bpf_prog_[0-9a-f]{16}_', r'\1', name)
        calls[name] += pc == start
        count[name] += 1
    yield 'function', 'calls', 'instructions'
    for name in count:
        yield name, calls[name], count[name]
    yield 'total', '', len(way)
    yield f'without {FUNC}', '', len(way) - count[FUNC]


def main():
    connect()
    try:
        kernel = symbols(os.environ['SYSTEM_MAP'])
        way = steady(next(address for address, name in kernel if name == FUNC))
    finally:
        if gdb.selected_inferior().pid:
            gdb.execute('delete')
            stopped()
    with open(os.environ['TABLE'], 'w') as out:
        for row in table(way, kernel + symbols(os.environ['KALLSYMS'])):
            print('%-36s %6s %13s' % row, file=out)


gdb.execute('set pagination off')
gdb.execute('set architecture ' + NAME)
try:
    main()
except Exception as why:
    print('fsession:', why, file=sys.stderr)
    gdb.execute('quit 1')

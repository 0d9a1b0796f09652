# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenarios, invariants and the exhaustive search for map_model.py."""
import itertools, multiprocessing
from map_store import *
from map_model import OPS, image, replay, visible

BREAK = {
 'journal-before-data': 'flush commits the map before the data is durable',
 'commit-covers-all': 'COMMIT covers records appended after the flush chose what to sync',
 'ack-before-record': 'a map-changing write is acknowledged with its record only in memory',
 'trust-uncommitted': 'replay after power loss believes records no COMMIT covers',
 'checkpoint-memory': 'checkpoint writes the map in memory instead of the committed one',
 'trim-before-header': 'checkpoint trims the journal before the header names the new chunks',
 'snapshot-no-drain': 'snapshot does not wait for writes in flight',
 'snapshot-no-sync': 'snapshot writes its chunks before the data is durable',
 'snapshot-name-first': 'snapshot becomes visible before the volume\'s base is raised',
 'rollback-keeps-journal': 'rollback leaves old journal records valid',
 'rollback-restores-base': 'rollback restores the base of the snapshot\'s time with its table',
 'discard-clears-bit': 'partial discard of a delta drops its presence bit (parent data resurrected)',
 'discard-punches-shared': 'partial discard punches the shared object in place',
 'discard-removes-early': 'object removed before the drop of its entry is committed',
 'build-on-partial': 'a delta is built on a delta as if that held the whole block',
 'fill-unlocked': 'background fill does not exclude writes to the block',
 'fill-record-first': 'background fill records the block as whole before it has copied',
 'discard-keeps-epoch': 'a block written again after discard gets the same object name, truncated',
 'reuse-no-truncate': 'as discard-keeps-epoch, and the first write does not truncate',
 'open-keeps-epoch': 'open goes on with the epochs of the session before, below the new floor',
 'recovery-no-sync': 'recovery checkpoints records whose data is only in the page cache',
 'recovery-same-journal': 'recovery appends behind the torn tail of the old journal',
 'shrink-keeps-tail': 'shrink keeps entries and grow does not zero the boundary block',
 'shrink-punches': 'shrink punches the tail of the boundary block in place',
 'gc-headers-first': 'gc lists headers before objects',
 'gc-no-relist': 'gc does not look for headers made while it marked',
 'gc-no-floor': 'gc may take unreferenced objects of the running session',
 'gc-purge-any-time': 'purge kills a header while a mark is running',
 'gc-no-lock': 'gc takes a header without a name though its creator is alive',
 'gc-only-past-epochs': 'gc candidates end at base (last snapshot), not at floor (last open): orphans leak',
 'hash-not-atomic': 'content-addressed objects are created and written, not put in place whole',
 'hash-beside-gc': 'deduplication and gc run at the same time',
 'rename-removes-first': 'rename removes the old name first',
}


def check(s):
    for k, w in list(s.snap.items()):
        if w[0] == 'open' and visible(s, k):                      # it has just become visible: which instant does it show?
            img = image(s, k)
            pos = [max([i for i, (_, val) in enumerate(c) if val == got], default=None) for c, got in zip(w[2], img)]
            if None in pos: raise Violation(f'{k} shows {img}, not within {w[2]}')
            for c, p in zip(w[2], pos):
                for d, q in zip(w[2], pos):
                    if any(t[0] == c[p][0][0] > 0 and t[1] < c[p][0][1] for t, _ in d[q + 1:]):
                        raise Violation(f'{k} has a write but not an earlier acknowledged one')
            s.snap[k] = ('image', img)
            if k == 'C': s.orc[k] = settled(img) + settled((0,) * (NS - len(img))); s.mode[k] = None
        elif w[0] == 'image' and k != 'C' and ('h', k) in s.disk and s.disk['h', k].state in ('LIVE', 'TRASH'):
            if image(s, k) != w[1]: raise Violation(f'{k} changed from {w[1]} to {image(s, k)}')
    for v, o in s.orc.items():
        if ('h', v) not in s.disk: continue
        for x, got in enumerate(image(s, v)):
            hist, ack = o[x]
            if v in s.mem:
                if hist[-1][0] == ack and got != hist[-1][1]: raise Violation(f'{v}[{x}] reads {got}, not {hist[-1][1]}')
            elif got not in [val for _, val in (hist if s.mode[v] == 'power' else since(hist, ack))]:
                raise Violation(f'{v}[{x}] is {got} after {s.mode[v]}, promised {hist} acked {ack}')
    for v, names in s.names.items():
        ok = sorted(n[1] for n, t in s.disk.items()
                    if n[0] == 'n' and t == v and visible(s, v) and s.disk['h', v].name == n[1])
        if len(ok) != 1 or ok[0] not in names: raise Violation(f'{v} answers to {ok}, promised one of {names}')


# ---- explorer
NEED_OPEN = ('write', 'zero', 'flush', 'checkpoint', 'snapshot', 'fill', 'resize', 'rollback')

def step(s, i):
    """Perform the next step of thread i on a copy; None if it must wait."""
    tid, ops, k, pc, L = s.thr[i]
    n = s.copy()
    op, *args = ops[k]
    if args and op in NEED_OPEN and args[0] not in n.mem:
        r = True                                                  # it did not survive the crash, or never came to be
    else: r = OPS[op](n, pc, L, (tid, k + 1), *args)
    if r is None: return None
    t = (tid, ops, k + 1, 0, None) if r is True else (tid, ops, k, *r)
    n.thr = s.thr[:i] + (t,) + s.thr[i + 1:]
    check(n)
    return n

def crash(s, kind, then):
    dead = s.copy()
    dead.mem, dead.lock, dead.crash = {}, frozenset(), s.crash + 1
    dead.snap = {k: w for k, w in s.snap.items() if w[0] != 'open'}
    dead.mode = {v: 'power' if 'power' in (kind, s.mode[v]) else 'kill' for v in s.orc}
    dead.thr = ((8 + s.crash, tuple(('open', v) for v in sorted(s.orc)) + then, 0, 0, None),)
    if kind == 'kill': check(dead); yield dead; return
    dead.boot = s.boot + 1
    for disk in after_power(s):
        n = dead.copy()
        n.disk = disk
        check(n)
        yield n

def run(s, ops, tid=7):
    """Run operations to their end with nothing else going on."""
    s = s.copy()
    s.thr = ((tid, tuple(ops), 0, 0, None),)
    while s.thr[0][2] < len(s.thr[0][1]):
        if (s := step(s, 0)) is None: raise Violation('stuck')
    return s

def finish(s, seen):
    """At the end: close, open, collect.  Then exactly the reachable objects are left."""
    key = frozenset(s.disk.items())
    if key in seen: return
    seen.add(key)
    s = run(next(crash(s, 'kill', ())), [('open', v) for v in sorted(s.orc)] + [('gc',), ('gc', 1)])
    reach = set()
    for n, h in s.disk.items():
        if n[0] == 'h':
            reach |= {n, h.table, h.jn, ('n', h.name)}
            for b, e in enumerate(s.disk.get(h.table) or ()):
                if e: reach |= {obj((e.owner, e.epoch), b), e.parent and obj(e.parent, b)}
    left = {n for n, o in s.disk.items() if n not in reach and (n[0] != 'd' or alive(s, n))}
    if left: raise Violation(f'never collected: {sorted(left, key=str)}')

def explore(scn):
    """All interleavings and crashes of one scenario.  Returns (states, message or None)."""
    name, setup, threads, then, crashes, names = scn
    s = St()
    s.disk, s.mem, s.orc, s.snap, s.mode, s.names = {}, {}, {}, {}, {}, {}
    s.thr, s.lock, s.boot, s.crash = (), frozenset(), 0, 0
    seen, ended = set(), set()
    try:
        s = run(s, [('create', 'V'), ('open', 'V')] + setup)
        s.names = names
        s.thr = tuple((i + 1, tuple(t), 0, 0, None) for i, t in enumerate(threads))
        todo = [s]
        while todo:
            s = todo.pop()
            if (k := s.key()) in seen: continue
            seen.add(k)
            live = [i for i, t in enumerate(s.thr) if t[2] < len(t[1])]
            nxt = [n for i in live if (n := step(s, i))]
            if live and not nxt: raise Violation(f'stuck: {s.thr}')
            if not live: finish(s, ended)
            if s.crash < crashes:
                for kind in ('kill', 'power'): nxt.extend(crash(s, kind, then))
            todo.extend(nxt)
    except (Violation, KeyError) as e: return len(seen), f'{name}: {e}'
    return len(seen), None


# ---- scenarios
W = lambda *x, v='V': ('write', v, x)
Z = lambda *x, v='V': ('zero', v, x)
F, K, SNAP, GC = ('flush', 'V'), ('checkpoint', 'V'), ('snapshot', 'V', 'T'), ('gc',)
ALLOC = [W(0, 1), W(2), F]
SHARED = ALLOC + [('snapshot', 'V', 'S')]
SETUPS = {'fresh': [], 'alloc': ALLOC, 'shared': SHARED, 'partial': SHARED + [W(0), F],
          'partial-shared': SHARED + [W(0), F, ('snapshot', 'V', 'P')]}

def scenarios(quick=False):
    rb, small, grow, cl = ('rollback', 'V', 'S'), ('resize', 'V', 3), ('resize', 'V', 4), ('clone', 'S', 'C')
    rm, purge, back = ('name', 'remove', 'S'), ('name', 'purge', 'S'), ('name', 'restore', 'S')
    oc, live, hash_t = ('open', 'C'), ('snapshot', 'V', 'C'), ('hash', 'T')
    small_set = [(W(0), W(1), F), (Z(0, 1), W(0), F), (W(0), F, K), (W(0), W(1), SNAP)]
    gc = [GC]
    for n, setup, ths, post in [                                    # longer stories, two crashes
        ('first write', [], [[W(0), F]], (W(1), F)),
        ('rewrite after discard', ALLOC, [[Z(0, 1), W(0), F]], (W(1), F)),
        ('delta', SHARED, [[W(0), F, W(1)]], (Z(0), F)),
        ('delta zero', SHARED + [W(0), F], [[Z(0), F, Z(1)]], (W(1), F)),
        ('fill', SHARED + [W(0), F], [[W(1), F], [('fill', 'V', 0), K]], (Z(0), F)),
        ('checkpoint', ALLOC, [[W(3), F, W(1), F], [K]], (W(0), F)),
        ('snapshot', ALLOC, [[W(0), W(1)], [SNAP]], (W(0), F)),
        ('rollback', SHARED + [W(0), F, Z(2, 3)], [[rb, W(1), F]], (W(0), F)),
        ('rollback beside gc', SHARED + [W(0), W(3), F], [[rb, W(0), F], gc], (rb, W(1), F, GC)),
        ('clone beside gc', SHARED + [W(0), F], [[cl, rm, purge], gc], (GC, oc, W(0, v='C'), ('flush', 'C'))),
        ('clone, source gone', SHARED + [W(0, 1), F, K], [[cl, rm, purge], [GC, GC]], (oc,)),
        ('clone written', SHARED + [cl, oc], [[W(0, v='C'), ('flush', 'C'), W(0)], [GC]], (W(1), W(1, v='C'), F)),
        ('live clone', ALLOC, [[live, W(0), F, K], gc], (oc, W(1, v='C'), ('flush', 'C'), GC)),
        ('snapshot, drop, gc', SHARED + [rm, purge], [[SNAP, Z(0, 1), F, K], gc], (GC, W(0), F)),
        ('gc and a partial', SHARED + [W(0), F, rm, purge], [[W(1), F, K], gc], (GC, Z(0), F)),
        ('restore', SHARED + [rm], [[back, rm, purge], gc], (back, GC)),
        ('trash and rollback', SHARED + [W(0), F], [[rb, rm, purge], gc], (GC, W(0), F)),
        ('rollback to what only S holds', SHARED + [W(0, 1), F, K], [[rb, rm, purge], gc], (GC, W(0), F)),
        ('hash', SHARED + [('hash', 'S'), rm, purge, GC], [[SNAP, hash_t], gc], (hash_t, GC, W(1), F)),
        ('hash again', SHARED + [('hash', 'S'), rm, purge, SNAP], [[hash_t], gc], (hash_t, GC)),
        ('hash and clone', SHARED + [W(0), F], [[('hash', 'S'), rb, W(1), F], [cl, oc, W(0, v='C')]], (GC, W(1), GC, F)),
        ('orphan, gc', ALLOC, [[Z(0, 1), W(0), F], gc], (W(1), GC, F)),
        ('shrink a shared boundary', ALLOC + [W(3), F, ('snapshot', 'V', 'S')], [[small, grow, W(2)]], (grow, W(2), F)),
        ('new volume', [], [[W(0), F], gc], (GC, W(1), F)),
        ('volume made during gc', ALLOC, [[('create', 'W'), ('open', 'W'), W(0, v='W'), ('flush', 'W')], gc], (GC,)),
        ('shrink, grow', ALLOC + [W(3), F], [[small, grow, W(2), F]], (grow, W(2), F)),
        ('shrink below, grow', ALLOC + [W(3), F], [[('resize', 'V', 2), grow]], (grow, W(2), F)),
        ('shrink shared', SHARED + [W(3), F], [[small, SNAP, grow], [K]], (grow, F)),
        ('snapshot beside flush', ALLOC, [[W(0), F, W(1)], [SNAP, K]], (W(0), F))]:
        for k in (0, 1) if gc in ths else (0,):                   # gc may meet the headers in any order
            yield n, setup, [[('gc', k)] if t is gc else t for t in ths], post, 2 - quick, {}
    for n, setup, ths in [                                           # three at once, one crash
        ('write, snapshot, gc', SHARED + [W(0), F, rm, purge], [[W(1), Z(2, 3)], [SNAP], [('gc', 1)]]),
        ('write, flush, checkpoint', SHARED + [W(0)], [[W(1), W(2)], [F], [F, K]]),
        ('write, fill, snapshot', SHARED + [W(0), F], [[W(1), Z(0)], [('fill', 'V', 0)], [SNAP]]),
        ('clone, rollback, gc', SHARED + [W(0, 1), F, K], [[cl, rm, purge], [rb, W(0)], [('gc', 1)]]),
        ('live clone, write, gc', ALLOC, [[live], [Z(0, 1), F, K], [('gc', 1)]])][:2 if quick else 5]:
        yield n, setup, ths, (GC, W(1), F), 1, {}
    ren = ('name', 'rename', 'C', 'D')
    yield 'rename', SHARED + [cl], [[ren], gc], (('gc',),), 2, {'C': ('C', 'D'), 'V': ('V',)}
    yield 'rename twice', SHARED + [cl], [[ren, ('name', 'rename', 'C', 'C')], gc], (ren,), 2, {'C': ('C', 'D')}
    then = (W(1), F)
    for sname, setup in SETUPS.items():
        ops = [W(0), W(1), W(0, 1), Z(0), Z(0, 1), F] + ([SNAP, rb] if 'S' in str(setup[3:]) else [SNAP])
        for a, b in itertools.product(ops, ops):                   # client pairs beside one background operation
            for bg in ([F], [K], [F, K], [('fill', 'V', 0)], [SNAP], [GC]):
                if quick and (a, b, bg[0]) not in small_set: continue
                if a == b == SNAP or SNAP in (a, b) and SNAP in bg: continue
                yield f'{sname}: {a} {b} | {bg}', setup, [[a, b], bg], then, 1, {}


def sweep(quick):
    total, count = 0, 0
    with multiprocessing.Pool() as pool:
        for n, err in pool.imap_unordered(explore, list(scenarios(quick)), 4):
            total, count = total + n, count + 1
            if err: pool.terminate(); return total, count, err
    return total, count, None

def main(args):
    """Exit status 0: everything holds, or with --break: every broken rule was noticed."""
    quick = '--quick' in args
    if '--break' in args:
        rules = [a for a in args[args.index('--break') + 1:] if a != '--quick']
        if not rules or not set(rules) <= {*BREAK, 'all'}:
            print('\n'.join(f'{k:24} {v}' for k, v in BREAK.items()))
            return rules != ['list']
        missed = 0
        for rule in BREAK if 'all' in rules else rules:
            BAD.clear()
            BAD.add(rule)
            n, _, err = sweep(quick)
            print(f'{"CAUGHT" if err else "MISSED"} {rule} ({n} states): {err}', flush=True)
            missed += not err
        return missed > 0
    n, count, err = sweep(quick)
    print(f'{count} scenarios, {n} states: {"FAIL " + err if err else "PASS"}')
    return bool(err)

# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""State, object store and what clients were promised, for map_model.py.

A unit of a data object is the tuple (durable value, later un-synced values..., what is read now).  Chunk, header and name
objects are put in place whole and durable (writeFull).  A journal is a list of records with the number of synced ones.
"""
import itertools
from collections import namedtuple

NS, SPAN, END = 4, 64, 1 << 30                    # sub-blocks of a volume (2 blocks x 2); epochs reserved by one header write
H = namedtuple('H', 'state name size elimit base floor table jn applied')                        # header object
M = namedtuple('M', 'map epoch base committed dirty drops blk frozen mlock flushing')       # memory of an open volume
E = namedtuple('E', 'owner epoch bits parent')        # map entry; bits None = object holds the whole block
REUSE = {'discard-keeps-epoch', 'reuse-no-truncate'}
BAD = set()                          # the rules broken in this run


class Violation(Exception): pass


class St:
    """One state.  All values are immutable; copying is shallow."""
    __slots__ = ('disk', 'mem', 'thr', 'orc', 'snap', 'lock', 'boot', 'mode', 'crash', 'names')
    def copy(s):
        n = St()
        n.disk, n.mem, n.orc, n.snap, n.mode, n.names = (dict(s.disk), dict(s.mem), dict(s.orc), dict(s.snap),
                                                         dict(s.mode), dict(s.names))
        n.thr, n.lock, n.boot, n.crash = s.thr, s.lock, s.boot, s.crash
        return n
    def key(s):
        f = frozenset
        return (f(s.disk.items()), f(s.mem.items()), s.thr, f(s.orc.items()), f(s.snap.items()), s.lock, s.boot, s.crash,
                f(s.mode.items()), f(s.names.items()))
    def m(s, v, **kw): s.mem[v] = s.mem[v]._replace(**kw)
    def h(s, v, **kw): s.disk['h', v] = s.disk['h', v]._replace(**kw)


# ---- object store: a unit of a data object is the tuple (durable value, later un-synced values..., what is read now)
def alive(s, n): return n in s.disk and s.disk[n][0][-1]
def put(s, n, i, val):
    ex, subs = s.disk[n]
    if subs[i][-1] != val: s.disk[n] = ex, subs[:i] + (subs[i] + (val,),) + subs[i + 1:]
def create(s, n, vals):
    if alive(s, n):
        if not BAD & REUSE: raise Violation(f'object name used twice: {n}')
        for i, v in enumerate(vals):
            if v is not None or 'reuse-no-truncate' not in BAD: put(s, n, i, v or 0)
    else: s.disk[n] = (False, True), tuple((0, v) if v else (0,) for v in vals)
def remove(s, n):
    if alive(s, n): s.disk[n] = s.disk[n][0] + (False,), s.disk[n][1]     # un-synced: power loss may bring it back
def sync(s, names):
    for n in names:
        if n in s.disk:
            ex, subs = s.disk[n]
            if ex[-1]: s.disk[n] = (True,), tuple((u[-1],) for u in subs)
            else: del s.disk[n]
def get(s, o, b, i):
    n = obj(o, b)
    return s.disk[n][1][i][-1] if alive(s, n) else 'X'
def obj(o, b): return ('d', *o, 0 if o[0] == 'cas' else b)    # content-addressed objects have no block
def append(s, v, rec):               # journal object: (boot id, records before the first kept, records, how many synced)
    n = s.disk['h', v].jn
    boot, start, recs, syn = s.disk[n]
    if None in recs: recs = recs[:(k := recs.index(None))] + (rec,) + recs[k + 1:]       # only if recovery-same-journal
    else: recs += (rec,)
    s.disk[n] = boot, start, recs, syn
    return start + len(recs)
def jcount(s, v): return s.disk[s.disk['h', v].jn][1] + len(s.disk[s.disk['h', v].jn][2])
def trim(s, v, p):
    n = s.disk['h', v].jn
    boot, start, recs, syn = s.disk[n]
    k = max(0, p - start)
    s.disk[n] = boot, start + k, recs[k:], max(0, syn - k)

def after_power(s):
    """Every disk that power loss can leave."""
    axes = []
    for n, o in s.disk.items():
        if n[0] == 'd': axes.append([(n, x and ((True,), tuple((u,) for u in us))) for x in set(o[0])
                                     for us in (itertools.product(*map(set, o[1])) if x else [()])])
        elif n[0] == 'j':
            tails = itertools.product(*[(r, None) for r in o[2][o[3]:]])
            axes.append([(n, (o[0], o[1], (r := o[2][:o[3]] + t), len(r))) for t in tails])
    fixed = {n: o for n, o in s.disk.items() if n[0] not in 'dj'}
    for pick in itertools.product(*axes):
        yield {**fixed, **{n: o for n, o in pick if o}}


# ---- what clients were promised: per sub-block the writes since the last flush, and which of them is acknowledged
def begin(s, v, x, tok, val):
    hist, ack = s.orc[v][x]
    s.orc[v] = s.orc[v][:x] + ((hist + ((tok, val),), ack),) + s.orc[v][x + 1:]
    for k, w in s.snap.items():
        if w[0] == 'open' and w[1] == v: s.snap[k] = 'open', v, w[2][:x] + (w[2][x] + ((tok, val),),) + w[2][x + 1:]
def acked(s, v, x, tok):
    hist = s.orc[v][x][0]
    if tok in [t for t, _ in hist]: s.orc[v] = s.orc[v][:x] + ((hist, tok),) + s.orc[v][x + 1:]
def since(hist, tok): return hist[[t for t, _ in hist].index(tok):]
def settled(vals, k=0): return tuple(((((0, k), val),), (0, k)) for val in vals)

#!/usr/bin/python3 -B
# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Executable specification of the map-3 protocol: an exhaustive explicit-state model.

Each operation is a function of (state, program counter) whose every step is one store operation.  The explorer runs
all interleavings of two or three threads, stops the machine after every step (KILL: page cache kept; POWER: every
un-synced write of every object independently lost or kept, journal tail torn), recovers, may stop it again inside
recovery, runs the scenario's next operations, and finally collects garbage.  Every state is checked; an object that is
missing where a map points at it reads as 'X', which is never allowed.

  map_model.py [--quick]          explore everything (--quick: what takes seconds), print the states and PASS
  map_model.py --break NAME...    run with one rule broken at a time; each must print CAUGHT   (list: show them; all)
"""
import sys
from map_store import *


# ---- the map
def replay(s, v, upto=None):
    """Map of a volume as its objects say.  Uncommitted records count only if the page cache that held them is there."""
    h = s.disk['h', v]
    mp = list(s.disk.get(h.table) or ((E(v, -1, None, None),) * 2 if h.table else (None, None)))
    if h.jn in s.disk:
        boot, start, recs, _ = s.disk[h.jn]
        recs = recs[:recs.index(None)] if None in recs else recs
        if upto is None:
            upto = start + len(recs)
            if boot != s.boot and 'trust-uncommitted' not in BAD:
                upto = max([r[1] for r in recs if r[0] == 'C'], default=0)
        for seq, r in enumerate(recs, start + 1):
            if h.applied < seq <= upto and r[0] == 'E': mp[r[1]] = r[2]
    return tuple(mp)
def read(s, mp, x):
    e, b, i = mp[x // 2], x // 2, x % 2
    if e is None: return 0
    return get(s, (e.owner, e.epoch), b, i) if e.bits is None or e.bits[i] else get(s, e.parent, b, i)
def image(s, v):
    mp = s.mem[v].map if v in s.mem else replay(s, v)
    return tuple(read(s, mp, x) for x in range(s.disk['h', v].size))
def private(s, v, e): return e is not None and e.owner == v and e.epoch >= s.mem[v].base
def visible(s, v):
    h = s.disk.get(('h', v))
    return bool(h) and h.state == 'LIVE' and s.disk.get(('n', h.name)) == v


# ---- operations.  op(s, pc, L, tok, *args) performs one step; returns (pc, L), None = must wait, True = done
def op_write(s, pc, L, tok, v, subs, zero=False):
    m, b = s.mem[v], subs[0] // 2
    val = 0 if zero else tok[0] * 10 + tok[1]
    if pc == 0:
        if m.frozen or b in m.blk: return None
        s.m(v, blk=m.blk | {b})
        for x in subs: begin(s, v, x, tok, val)
        return 1, None
    if pc == 1:
        e, new = m.map[b], tuple(val if 2 * b + i in subs else None for i in (0, 1))
        has = tuple(x is not None for x in new)
        if zero and (e is None or all(has)):
            return (2, None) if e else (3, None)
        if private(s, v, e) or (zero and e and 'discard-punches-shared' in BAD):
            n = ('d', e.owner, e.epoch, b)
            if zero and e.bits and 'discard-clears-bit' in BAD: bits = tuple(p and not q for p, q in zip(e.bits, has))
            else: bits = e.bits and tuple(p or q for p, q in zip(e.bits, has))
            if not (zero and 'discard-clears-bit' in BAD and e.bits):
                for i in (0, 1):
                    if has[i]: put(s, n, i, val)
            s.m(v, dirty=m.dirty | {n})
            if bits == e.bits: return 3, None
            return 2, e._replace(bits=bits) if not all(bits) else E(e.owner, e.epoch, None, None)
        n, vals, bits, parent = ('d', v, m.epoch, b), list(new), None, None
        if e and not all(has):
            bits, parent = has, (e.owner, e.epoch)
            if e.bits and 'build-on-partial' not in BAD:          # depth stays two: take over what the shared delta holds
                parent, bits = e.parent, tuple(p or q for p, q in zip(e.bits, has))
                vals = [get(s, (e.owner, e.epoch), b, i) if e.bits[i] and not has[i] else vals[i] for i in (0, 1)]
            if all(bits): bits = parent = None
        create(s, n, vals)
        s.m(v, dirty=m.dirty | {n})
        return 2, E(v, m.epoch, bits, parent)
    if pc == 2:                                                   # L = the new entry; None drops it
        seq = jcount(s, v) + 1
        if 'ack-before-record' in BAD and L: s.m(v, drops=m.drops + ((b, L),))
        else: append(s, v, ('E', b, L))
        if L is None:
            if private(s, v, m.map[b]): s.m(v, drops=m.drops + ((seq, ('d', v, m.map[b].epoch, b)),))
            if 'discard-removes-early' in BAD and private(s, v, m.map[b]): remove(s, ('d', v, m.map[b].epoch, b))
            if not BAD & REUSE: s.m(v, epoch=m.epoch + 1)
        s.m(v, map=m.map[:b] + (L,) + m.map[b + 1:])
        return 3, None
    for x in subs: acked(s, v, x, tok)
    s.m(v, blk=s.mem[v].blk - {b})
    return True
def op_zero(s, pc, L, tok, v, subs): return op_write(s, pc, L, tok, v, subs, True)

def op_flush(s, pc, L, tok, v):
    m = s.mem[v]
    if pc == 0:
        if m.frozen: return None
        for d in m.drops:                                         # only if ack-before-record: records appended at flush
            if isinstance(d[1], E): append(s, v, ('E', *d))
        s.m(v, flushing=m.flushing + 1, drops=tuple(d for d in m.drops if not isinstance(d[1], E)))
        return 1, (jcount(s, v), m.dirty, tuple(a for _, a in s.orc[v]))
    first, second = (2, 1) if 'journal-before-data' in BAD else (1, 2)
    if pc == first: sync(s, L[1]); s.m(v, dirty=m.dirty - L[1])
    if pc == second:
        append(s, v, ('C', jcount(s, v) + 1 if 'commit-covers-all' in BAD else L[0]))
        n = s.disk['h', v].jn
        s.disk[n] = s.disk[n][:3] + (len(s.disk[n][2]),)
    if pc < 3: return pc + 1, L
    if pc == 3:
        s.orc[v] = tuple((since(h, a) if a in [t for t, _ in h] else h, b) for (h, b), a in zip(s.orc[v], L[2]))
        s.m(v, flushing=m.flushing - 1, committed=max(m.committed, L[0]))
        return 4, L
    for seq, n in m.drops:
        if seq <= m.committed: remove(s, n)
    s.m(v, drops=tuple(d for d in m.drops if d[0] > m.committed))
    return True

def new_chunk(s, v, mp):
    m = s.mem[v]
    s.disk[n := ('c', v, m.epoch)] = mp
    s.m(v, epoch=m.epoch + 1)
    return n
def drop_chunk(s, v, old, base):                                  # made since the last snapshot: nobody else can know it
    if old and old[1] == v and old[2] >= base and old != s.disk['h', v].table: s.disk.pop(old, None)

def op_checkpoint(s, pc, L, tok, v):
    m, h = s.mem[v], s.disk['h', v]
    if pc == 0:
        if m.mlock or m.frozen: return None
        if m.committed <= h.applied: return True
        s.m(v, mlock=True)
        return 1, (m.committed, m.map if 'checkpoint-memory' in BAD else replay(s, v, m.committed), h.table)
    if pc == 1: return 2, (L[0], new_chunk(s, v, L[1]), L[2])
    if pc == (3 if 'trim-before-header' in BAD else 2): s.h(v, table=L[1], applied=L[0])
    elif pc in (2, 3): trim(s, v, L[0])
    if pc < 4: return pc + 1, L
    drop_chunk(s, v, L[2], m.base)
    s.m(v, mlock=False)
    return True

def freeze(s, pc, v):
    """Steps 0 and 1 of everything that replaces the table: hold new requests, let those in flight finish."""
    m = s.mem[v]
    if pc == 0:
        if m.mlock or m.frozen: return None
        s.m(v, mlock=True, frozen=True)
    elif (m.blk or m.flushing) and 'snapshot-no-drain' not in BAD: return None
    return pc + 1, None

def op_snapshot(s, pc, L, tok, v, k):
    """k = S or T: snapshot.  k = C: clone of the live volume, the same with a writable header."""
    m, h = s.mem[v], s.disk['h', v]
    if pc == 0 and not m.mlock and not m.frozen:
        s.lock |= {k}
        s.snap[k] = 'open', v, tuple(since(*o) for o in s.orc[v][:h.size])
    if pc < 2: return freeze(s, pc, v)
    early = 'snapshot-name-first' in BAD
    if pc == 2:
        if 'snapshot-no-sync' not in BAD: sync(s, m.dirty); s.m(v, dirty=frozenset())
    if pc == 3: return 4, (new_chunk(s, v, m.map), h.table, m.base)
    if pc == (6 if early else 4):
        e = s.mem[v].epoch
        s.h(v, table=L[0], applied=jcount(s, v), base=e, floor=e)
        s.m(v, base=e, committed=jcount(s, v), drops=())
    if pc == (4 if early else 5): s.disk['h', k] = H('LIVE', k, h.size, 0, 0, 0 if k == 'C' else END, L[0], None, 0)
    if pc == (5 if early else 6): s.disk['n', k] = k
    if pc < 7: return pc + 1, L
    s.m(v, frozen=False, mlock=False)
    trim(s, v, h.applied)
    drop_chunk(s, v, L[1], L[2])
    s.lock -= {k}
    return True

def op_rollback(s, pc, L, tok, v, k):
    m = s.mem[v]
    if pc == 0:
        if not visible(s, k) or k in s.lock: return True
        if m.mlock or m.frozen: return None
        s.lock |= {k}
        for x, val in enumerate(s.snap[k][1]): begin(s, v, x, tok, val)
    if pc < 2: return freeze(s, pc, v)
    if pc == 2:                                                   # one header write decides
        e, src = m.epoch + 1, s.disk['h', k]
        base = src.base if 'rollback-restores-base' in BAD else e
        s.h(v, table=src.table, size=src.size, base=base, floor=e,
            **({} if 'rollback-keeps-journal' in BAD else {'applied': jcount(s, v)}))
        s.m(v, map=replay(s, k), epoch=e + 1, base=base, committed=jcount(s, v), dirty=frozenset(), drops=())
        return 3, None
    s.orc[v] = settled(s.snap[k][1], tok[1])
    s.m(v, frozen=False, mlock=False)
    s.lock -= {k}
    return True

def op_clone(s, pc, L, tok, k, c):
    if pc == 0:
        if not visible(s, k) or k in s.lock or ('h', c) in s.disk: return True
        s.lock |= {c, k}
        s.snap[c] = 'open', k, tuple((((0, 0), val),) for val in s.snap[k][1])
        return 1, s.disk['h', k].table
    if pc == 1: s.disk['h', c] = H('LIVE', c, s.disk['h', k].size, 0, 0, 0, L, None, 0)
    if pc == 2: s.disk['n', c] = c; s.lock -= {c, k}; return True
    return pc + 1, L

def op_fill(s, pc, L, tok, v, b):
    m = s.mem[v]
    if pc == 0:
        if m.frozen or b in m.blk: return None
        if not private(s, v, m.map[b]) or not m.map[b].bits: return True
        if 'fill-unlocked' not in BAD: s.m(v, blk=m.blk | {b})
        return 1, m.map[b]
    first, second = (2, 1) if 'fill-record-first' in BAD else (1, 2)
    if pc == first:
        for i in (0, 1):
            if not L.bits[i]: put(s, ('d', v, L.epoch, b), i, get(s, L.parent, b, i))
        s.m(v, dirty=m.dirty | {('d', v, L.epoch, b)})
    if pc == second:
        append(s, v, ('E', b, n := E(v, L.epoch, None, None)))
        s.m(v, map=m.map[:b] + (n,) + m.map[b + 1:])
    if pc < 2: return pc + 1, L
    s.m(v, blk=s.mem[v].blk - {b})
    return True

def op_resize(s, pc, L, tok, v, size):
    """Shrink: one header write drops the entries behind the end.  Grow: zero the rest of the boundary block, then size."""
    m, h = s.mem[v], s.disk['h', v]
    if pc == 0 and size == h.size: return True
    if size > h.size:
        if pc == 0 and h.size % 2 and m.map[h.size // 2] and 'shrink-keeps-tail' not in BAD: return 10, (0, None)
        if pc == 10:
            r = op_write(s, L[0], L[1], tok, v, (h.size,), True)
            return r and ((20, (0, None)) if r is True else (10, r))
        if pc == 20:
            r = op_flush(s, L[0], L[1], tok, v)
            return r and ((30, None) if r is True else (20, r))
        if m.mlock or m.frozen: return None
        s.h(v, size=size)
        return True
    if pc == 0:
        for x in range(size, h.size): begin(s, v, x, tok, 0)
    if pc < 2: return freeze(s, pc, v)
    if pc == 2:
        sync(s, m.dirty)
        if 'shrink-punches' in BAD and size % 2 and (e := m.map[size // 2]):
            put(s, ('d', e.owner, e.epoch, size // 2), 1, 0)
        return 3, None
    if pc == 3:
        keep = NS if 'shrink-keeps-tail' in BAD else (size + 1) // 2
        mp = tuple(e if b < keep else None for b, e in enumerate(m.map))
        s.m(v, map=mp, dirty=frozenset())
        return 4, (new_chunk(s, v, mp), h.table)
    if pc == 4:
        e = s.mem[v].epoch
        s.h(v, size=size, table=L[0], applied=jcount(s, v), floor=e)
        s.m(v, committed=jcount(s, v), drops=())
        return 5, L
    s.orc[v] = s.orc[v][:size] + settled((0,) * (NS - size), tok[1])
    drop_chunk(s, v, L[1], m.base)
    s.m(v, frozen=False, mlock=False)
    return True

def op_open(s, pc, L, tok, v):
    """Open and recovery are one.  Nothing is served before the header write at step 3; until then nothing has changed."""
    if v not in s.orc or v in s.mem: return True
    h = s.disk['h', v]
    e = h.elimit
    if pc == 0: s.lock |= {v}; return 1, replay(s, v)
    same = 'recovery-same-journal' in BAD and h.jn in s.disk
    if pc == 1:
        if 'recovery-no-sync' not in BAD: sync(s, [n for n in s.disk if n[0] == 'd'])
    if pc == 2:
        s.disk['c', v, e] = L
        if not same: s.disk['j', v, e] = (s.boot, 0, (), 0)
    if pc == 3:
        old = h
        n = s.disk[h.jn][2] if same else ()
        k = s.disk[h.jn][1] + (n.index(None) if None in n else len(n)) if same else 0
        s.h(v, table=('c', v, e), jn=h.jn if same else ('j', v, e), applied=k, floor=e, elimit=e + SPAN)
        if same: s.disk[h.jn] = (s.boot,) + s.disk[h.jn][1:]
        ep = h.floor + 1 if 'open-keeps-epoch' in BAD else e + 1
        drop_chunk(s, v, old.table, h.base)
        if not same: s.disk.pop(old.jn, None)
        s.mem[v] = M(L, ep, h.base, k, frozenset(), (), frozenset(), False, False, 0)
        allowed = [hist if s.mode[v] == 'power' else since(hist, a) for hist, a in s.orc[v]]
        img = image(s, v)
        for x, got in enumerate(img):
            if got not in [val for _, val in allowed[x]]:
                raise Violation(f'{v}[{x}] recovered as {got}, promised {allowed[x]}')
        s.orc[v], s.mode[v] = settled(img + (0,) * (NS - len(img))), None
        return True
    return pc + 1, L

def op_name(s, pc, L, tok, what, v, new=None):
    """Names.  The header decides: a name object counts only if its header is LIVE and bears that name."""
    h = s.disk.get(('h', v))
    if pc == 0:
        if not h or v in s.lock or new == h.name: return True
        if {'remove': h.state != 'LIVE', 'rename': not visible(s, v), 'restore': h.state != 'TRASH',
            'purge': h.state != 'TRASH'}[what]: return True
        s.lock |= {v, ('n', new), ('n', h.name)}
        return 1, h.name
    steps = {'remove': [lambda: s.h(v, state='TRASH'), lambda: s.disk.pop(('n', L), None)],
             'restore': [lambda: s.disk.__setitem__(('n', L), v), lambda: s.h(v, state='LIVE')],
             'purge': [lambda: s.h(v, state='DEAD' if 'gc-purge-any-time' in BAD else 'PURGE')],
             'rename': [lambda: s.disk.__setitem__(('n', new), v), lambda: s.h(v, name=new),
                        lambda: s.disk.pop(('n', L), None)]}[what]
    if 'rename-removes-first' in BAD and what == 'rename': steps = steps[2:] + steps[:2]
    steps[pc - 1]()
    if pc < len(steps): return pc + 1, L
    s.lock -= {v, ('n', new), ('n', L)}
    return True

def op_hash(s, pc, L, tok, k):
    """Turn a snapshot's blocks into content-addressed objects.  These can gain references again: no gc may be running."""
    if pc == 0:
        if not visible(s, k) or k in s.lock: return True
        if 'cas' in s.lock and 'hash-beside-gc' not in BAD: return None
        s.lock |= {k, 'cas'}
        img = image(s, k)
        return 1, tuple(E('cas', c, None, None) if any(c := img[2 * b:2 * b + 2]) else None for b in (0, 1))
    h = s.disk['h', k]
    if pc == 1:
        for e in L:
            if e and not alive(s, n := obj((e.owner, e.epoch), 0)):
                create(s, n, e.epoch)                              # writeFull: whole and durable, or not there
                if 'hash-not-atomic' not in BAD: sync(s, [n])
    if pc == 2: sync(s, [obj((e.owner, e.epoch), 0) for e in L if e])
    if pc == 3: s.disk['c', k, h.elimit] = L
    if pc < 4: return pc + 1, L
    s.h(k, table=('c', k, h.elimit), elimit=h.elimit + 1)
    s.lock -= {k, 'cas'}
    return True

def op_gc(s, pc, L, tok, order=0):
    """Objects first, then headers until no new one appears; sweep what is unmarked and below its owner's floor."""
    heads = sorted(n[1] for n in s.disk if n[0] == 'h')
    objects = frozenset(n for n in s.disk if n[0] in 'dcj')
    if pc == 0:                                                   # the only place where a header dies
        if 'cas' in s.lock and 'hash-beside-gc' not in BAD: return None
        s.lock |= {'cas'}
        for v in heads:
            h = s.disk['h', v]
            if (h.state == 'PURGE' or h.state == 'LIVE' and not visible(s, v)) and (v not in s.lock or 'gc-no-lock' in BAD):
                s.h(v, state='DEAD')
        for n in [n for n in s.disk if n[0] == 'n']:
            w = s.disk[n]
            if n not in s.lock and not (visible(s, w) and s.disk['h', w].name == n[1]): del s.disk[n]
        return 1, (frozenset(v for v in heads if s.disk['h', v].state == 'DEAD'),)
    if pc == 1: return 2, L + (None if 'gc-headers-first' in BAD else objects, frozenset(), (), tuple(heads))
    dead, cand, marked, floors, listed, *seen = L
    if pc == 2:                                                   # read one more header, or end the mark
        if 'gc-no-relist' not in BAD and 'gc-headers-first' not in BAD: listed = tuple(heads)
        left = [v for v in listed if ('h', v) in s.disk and s.disk['h', v].state != 'DEAD' and v not in dict(floors)]
        if not left: return 3, (dead, objects if cand is None else cand, marked, floors, listed)
        v = left[-order]
        return 5, L + ((v, s.disk['h', v]),)
    if pc == 5:                                                   # read its chunk; gone: a checkpoint passed, read it again
        v, h = seen[0]
        if h.table and h.table not in s.disk:
            if s.disk['h', v].table == h.table: raise Violation(f'{v} has lost its chunk')
            return 2, L[:5]
        refs = {h.table, h.jn}
        for b, e in enumerate(s.disk.get(h.table) or ()):
            if e: refs |= {obj((e.owner, e.epoch), b), e.parent and obj(e.parent, b)}
        floor = h.base if 'gc-only-past-epochs' in BAD else h.floor
        return 2, (dead, cand, marked | refs, floors + ((v, floor),), listed)
    if pc == 3:
        fl = dict(floors)
        for n in sorted(cand - marked, key=str):
            owner = s.disk.get(('h', n[1]))
            if n[1] in fl and 'gc-no-floor' not in BAD: ok = n[2] < fl[n[1]]
            elif n[1] == 'cas': ok = True
            elif 'gc-headers-first' in BAD: ok = n[1] not in listed or 'gc-no-floor' in BAD
            else: ok = n[1] in fl or owner is None or owner.state == 'DEAD'
            if ok:
                if n[0] == 'd': remove(s, n)
                else: s.disk.pop(n, None)
                return 3, (dead, cand - {n}, marked, floors, listed)
        return 4, L
    for v in dead: s.disk.pop(('h', v), None)
    s.lock -= {'cas'}
    return True

def op_create(s, pc, L, tok, v):
    """A new volume: header, then name, then it may be opened and written."""
    if pc == 0: s.lock |= {v}; return 1, None
    if pc == 1: s.disk['h', v] = H('LIVE', v, NS, 1, 0, 0, None, None, 0)
    if pc == 2: s.disk['n', v] = v; s.orc[v] = settled((0,) * NS); s.mode[v] = None; return True
    return pc + 1, None

OPS = {n[3:]: f for n, f in list(globals().items()) if n.startswith('op_')}

if __name__ == '__main__':
    import map_explore
    sys.exit(map_explore.main(sys.argv[1:]))

#!/usr/bin/python3
# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Executable specification of the volume lock on a plain shared directory; explores every interleaving.

Two hosts open one volume of two blocks (A, B). An owner reads both blocks, writes A, flushes, writes B, flushes, and
may release or lose its lock at any moment. The value written is the owner's generation. Every step of a host may be
delayed for ever (SIGSTOP, scheduler, network): a host that takes no step while the others and the clocks do IS a
stopped host. Writes in flight land at any later moment, also after their process died. `crash` kills a daemon at any
step; its host starts a new one. `freeze` stops a host together with its clock (VM pause); only --break
freeze_clock_mode allows it.

Store: gens[n] = (state, owner, incarnation, head)   write-once record gen.<n>, made by link(2); state is its token:
                 L live | R released | B broken | P dead, proved on its own host. One rename(2) moves L to another.
       maps[n] = (epoch of A, epoch of B, current epoch)   map file of generation n, written by that generation only
       objs[(epoch, block)] = value                  epoch = the generation that opened it: names never collide
       flight = writes issued and not landed: ('D', host, inc, epoch, block, value) | ('M', host, inc, n, map)
Modes: clock  an owner acts only while its lease is valid by its own clock; a breaker waits TTL and twice the drift
       proof  no clock at all: a flush is acknowledged after a token rename that was sent after the data had landed;
              a breaker does not wait.
Ghost: need[block] = newest flush-acknowledged value, obs[block] = (value, generation) read last: a later owner sees
       that or newer.

  lock_model.py --quick       both protocols in small bounds and every control that is found fast (a minute)
  lock_model.py --all         both protocols and every control in full bounds (two to three minutes)
  lock_model.py [--mode clock|proof|both] [--break NAME] [--trace] [--gens N] [--crashes N] [--ttl N] [--snaps N]

Exit status 0: the protocol holds and the controls fail. Runs of the protocol itself keep 64-bit hashes only (no trace;
add --break to debug).
"""
import argparse
import multiprocessing
import sys
import time
from collections import deque, namedtuple

DRIFT = 1
H = namedtuple('H', 'pc inc g seen head left wait rn m pin step frozen tmp')
S = namedtuple('S', 'gens maps objs flight hosts skew need obs crashes freezes snaps')
Job = namedtuple('Job', 'mode brk gens crashes ttl snaps compact trace')
OWN = ('own', 'sealw', 'chk', 'datw', 'prf')           # pcs in which a host believes it owns the volume
ALONE = 99                                             # generation limit while one host is checked for recovery

BREAKS = {  # name: (mode, what the control takes away)
    'no_wait':           ('clock', 'a breaker claims at once'),
    'no_drift_margin':   ('clock', 'a breaker waits TTL only'),
    'lease_from_reply':  ('clock', 'the lease is counted from the reply of the renewal instead of its sending'),
    'no_ack_check':      ('clock', 'the lease is checked before a write is submitted, not again before it is acknowledged'),
    'freeze_clock_mode': ('clock', 'a VM pause freezes the owner together with its clock'),
    'early_map_read':    ('clock', 'the breaker reads the map before it has waited'),
    'no_epoch_bump':     ('both', 'the new owner goes on in the epoch of the broken one'),
    'no_seal':           ('both', 'new writes go to a new epoch, but reads of suspect objects are served from them'),
    'shared_map':        ('both', 'one map file for all generations'),
    'counter_epoch':     ('proof', 'the new epoch is the last one seen plus one instead of the generation'),
    'claim_not_excl':    ('both', 'a generation is claimed by overwriting instead of link(2)'),
    'no_drain':          ('both', 'after its own process died a host goes on without waiting for the writes in flight'),
    'release_undrained': ('both', 'the lock is released with writes in flight'),
    'read_before_map':   ('proof', 'a sealed block is served before its map entry is durable'),
    'no_proof':          ('proof', 'a flush is acknowledged without a token rename'),
    'proof_too_early':   ('proof', 'a token rename that was sent before the data had landed counts as proof'),
}


class Violation(Exception):
    pass


def process(inc, pc='idle'):
    """A daemon that holds nothing."""
    return H(pc=pc, inc=inc, g=0, seen=0, head=0, left=0, wait=0, rn=None, m=None, pin=(None, None), step=0,
             frozen=False, tmp=None)


class Model:
    def __init__(self, mode, brk=None, gens=3, crashes=1, ttl=2, snaps=1):
        self.clock, self.brk, self.maxg = mode == 'clock', brk, gens
        self.wait = 0 if not self.clock or brk == 'no_wait' else ttl if brk == 'no_drift_margin' else ttl + 2 * DRIFT
        self.ttl, self.compact = ttl, False
        self.start = S(gens=(('R', -1, 0, 0),), maps=((0, 0, 0),), objs=(((0, 0), 0), ((0, 1), 0)), flight=frozenset(),
                       hosts=(process(0), process(0)), skew=0, need=(0, 0), obs=((0, 0), (0, 0)), crashes=crashes,
                       freezes=int(brk == 'freeze_clock_mode'), snaps=snaps)

    # -- small helpers -----------------------------------------------------------------------------------------------
    def valid(self, h): return h.left > 0 if self.clock else True
    def slot(self, g): return 0 if self.brk == 'shared_map' else g
    @staticmethod
    def put(s, i, h, **kw): return s._replace(hosts=s.hosts[:i] + (h,) + s.hosts[i + 1:], **kw)
    @staticmethod
    def end(s, n, state): return s.gens[:n] + ((state,) + s.gens[n][1:],) + s.gens[n + 1:]
    @staticmethod
    def obj(s, epoch, blk): return dict(s.objs)[epoch, blk]
    @staticmethod
    def setobj(s, epoch, blk, v): return tuple(sorted({**dict(s.objs), (epoch, blk): v}.items()))
    @staticmethod
    def busy(s, i, kinds='DM', inc=None):
        return any(f[1] == i and f[0] in kinds and (inc is None or f[2] < inc) for f in s.flight)
    def epoch(self, g, cur):                                           # (generation, count) as 10 * generation + count
        return cur + 1 if self.brk == 'counter_epoch' or cur // 10 == g else 10 * g
    def acked(self, s, h, blk): return tuple(max(o, h.g) if k == blk else o for k, o in enumerate(s.need))
    def observe(self, s, h, blk, v):
        """Reads of a fenced owner bind nobody; with valid clocks there are none (see check), without there may be."""
        ov, og = s.obs[blk]
        ok = h.g >= og and (self.clock or s.gens[h.g][0] == 'L')
        if ok and v != ov and v < og:
            raise Violation(f'block {"AB"[blk]}: owner {og} had read {ov}, its successor reads {v}')
        return tuple((v, h.g) if k == blk and ok else o for k, o in enumerate(s.obs))

    # -- transitions -------------------------------------------------------------------------------------------------
    def steps(self, s):
        """Yields (label, next state) for every step possible in s."""
        for f in s.flight:                                             # a write in flight lands
            rest = s.flight - {f}
            if f[0] == 'D':
                yield f'land {f}', s._replace(flight=rest, objs=self.setobj(s, f[3], f[4], f[5]))
            else:
                k = self.slot(f[3])
                yield f'land {f}', s._replace(flight=rest, maps=s.maps[:k] + (f[4],) + s.maps[k + 1:])
            if f[2] < s.hosts[f[1]].inc:                               # its process is dead: may never land
                yield f'drop {f}', s._replace(flight=rest)
        if self.clock: yield from self.ticks(s)
        for i, h in enumerate(s.hosts):
            if h.rn and h.rn[1] is None:                               # the store serves the renewal
                ok = s.gens[h.g][0] == 'L' and s.gens[h.g][1:3] == (i, h.inc)
                yield f'{i} renewal served {ok}', self.put(s, i, h._replace(rn=(h.rn[0], ok, h.rn[2])))
            if h.frozen:
                yield f'{i} thaw', self.put(s, i, h._replace(frozen=False))
                continue
            if s.freezes and h.pc in OWN:
                yield f'{i} freeze', self.put(s, i, h._replace(frozen=True), freezes=s.freezes - 1)
            if s.crashes and h.pc != 'idle':
                yield f'{i} crash', self.put(s, i, process(h.inc + 1), crashes=s.crashes - 1)
            yield from getattr(self, 'at_' + h.pc)(s, i, h)
            if h.pc == 'first' or h.pc in OWN: yield from self.renewal(s, i, h)

    def ticks(self, s):
        """Clocks advance together, or one alone while their difference stays within DRIFT. A frozen one stands still."""
        def tick(h):
            if h.frozen: return h
            return h._replace(left=max(0, h.left - 1), wait=max(0, h.wait - 1),
                              rn=h.rn and (max(0, h.rn[0] - 1),) + h.rn[1:])
        a, b = s.hosts
        ta, tb = tick(a), tick(b)
        if (ta, tb) != (a, b): yield 'tick', s._replace(hosts=(ta, tb))
        if s.skew < DRIFT and ta != a: yield 'tick 0 only', s._replace(hosts=(ta, b), skew=s.skew + 1)
        if s.skew > -DRIFT and tb != b: yield 'tick 1 only', s._replace(hosts=(a, tb), skew=s.skew - 1)

    def renewal(self, s, i, h):
        """rename(2) of the token to a fresh name. rn = (lease left if it succeeds, answer of the store, is a proof)."""
        early = self.brk == 'proof_too_early'
        if h.rn is None:
            if self.clock or h.pc in ('first', 'prf') or (early and h.pc == 'datw'):
                yield f'{i} renew', self.put(s, i, h._replace(rn=(self.ttl, None, h.pc == 'prf')))
        elif h.rn[1] is False:
            yield f'{i} learns that it is fenced', self.put(s, i, process(h.inc))
        elif h.rn[1]:
            left = self.ttl if self.brk == 'lease_from_reply' else h.rn[0]
            n = h._replace(rn=None, left=left if self.clock else 0, pc='own' if h.pc == 'first' else h.pc)
            if h.pc == 'prf' and (h.rn[2] or early): yield f'{i} flush proved', self.ack(s, i, n._replace(pc='own'))
            else: yield f'{i} renewed', self.put(s, i, n)

    def at_idle(self, s, i, h):
        n = len(s.gens) - 1
        if n >= self.maxg: return
        if n == 0 and i == 1 and self.maxg < ALONE: return             # the hosts are alike: let host 0 own first
        state, owner, inc, _ = s.gens[n]
        if state in 'RP':
            yield f'{i} sees {n}{state}', self.put(s, i, self.ready(s, h._replace(seen=n)))
        elif state == 'L' and owner == i and inc < h.inc:              # my own daemon of before: its death is proved here
            if self.brk == 'no_drain' or not self.busy(s, i, inc=h.inc):   # ... and its ring is drained
                yield f'{i} ends own {n}', self.put(s, i, self.ready(s, h._replace(seen=n)), gens=self.end(s, n, 'P'))
        elif state == 'L' and owner == i:
            return                                                     # unreachable: the process knows what it owns
        else:                                                          # unlock -f, or a break somebody else began
            w = h._replace(pc='wait', seen=n, wait=self.wait)
            if self.brk == 'early_map_read': w = w._replace(m=self.headmap(s, n))
            yield f'{i} breaks {n}', self.put(s, i, w, gens=self.end(s, n, 'B') if state == 'L' else s.gens)

    def at_wait(self, s, i, h):
        if h.wait == 0: yield f'{i} waited', self.put(s, i, self.ready(s, h))

    def head(self, s, n): return n if s.maps[n] is not None else s.gens[n][3]
    def headmap(self, s, n): return s.maps[self.slot(self.head(s, n))]
    def ready(self, s, h): return h._replace(pc='claim', head=self.head(s, h.seen))

    def at_claim(self, s, i, h):
        """link(2): exactly one claimer of seen + 1 succeeds."""
        g = h.seen + 1
        mine = ('L', i, h.inc, h.head)
        if len(s.gens) == g:
            yield f'{i} claims {g}', self.put(s, i, h._replace(pc='hdr', g=g), gens=s.gens + (mine,), maps=s.maps + (None,))
        elif self.brk == 'claim_not_excl' and len(s.gens) == g + 1:
            yield f'{i} claims {g} again', self.put(s, i, h._replace(pc='hdr', g=g), gens=s.gens[:g] + (mine,))
        else:
            yield f'{i} too late for {g}', self.put(s, i, process(h.inc))

    def at_hdr(self, s, i, h):
        """First map of this generation. Unless every one since head ended cleanly, all entries become copy-on-write."""
        a, b, cur = h.m or s.maps[self.slot(h.head)]
        if self.brk != 'no_epoch_bump' and any(s.gens[k][0] == 'B' for k in range(h.head, h.g)):
            cur = self.epoch(h.g, cur)
        m = (a, b, cur)
        yield f'{i} writes map {h.g}', self.put(s, i, h._replace(pc='hdrw', m=m), flight=self.map_write(s, i, h, m))

    def at_hdrw(self, s, i, h):
        if not self.busy(s, i, 'M'): yield f'{i} map {h.g} durable', self.put(s, i, h._replace(pc='first'))

    def at_first(self, s, i, h): return ()                             # waits for its first renewal

    def at_own(self, s, i, h):
        if not self.valid(h):
            if self.brk == 'no_ack_check' and h.step in (1, 3): yield f'{i} flush', self.ack(s, i, h)
            return
        for blk in (0, 1):                                             # read a block for the first time
            if h.pin[blk] is not None: continue
            if h.m[blk] == h.m[2] or self.brk == 'no_seal':
                v = self.obj(s, h.m[blk], blk)
                yield f'{i} reads {"AB"[blk]}={v}', self.put(s, i, self.pinned(h, blk, v), obs=self.observe(s, h, blk, v))
            else:
                yield self.seal(s, i, h, blk)
        blk = h.step // 2
        if h.step in (0, 2) and h.pin[blk] is not None:
            if h.m[blk] == h.m[2]: yield f'{i} checks lease', self.put(s, i, h._replace(pc='chk'))
            else: yield self.seal(s, i, h, blk)
        if h.step in (1, 3):
            if self.clock or self.brk == 'no_proof':
                yield f'{i} flush', self.ack(s, i, h)
            elif h.rn is None or self.brk == 'proof_too_early':
                yield f'{i} flush asks for proof', self.put(s, i, h._replace(pc='prf'))
        settled = h.m[0] == h.m[1] == h.m[2]                           # nothing suspect or shared, nothing in flight
        if s.snaps and h.step < 4 and h.step % 2 == 0 and settled:
            m = h.m[:2] + (self.epoch(h.g, h.m[2]),)
            yield f'{i} snapshot', self.put(s, i, h._replace(pc='sealw', m=m), snaps=s.snaps - 1,
                                            flight=self.map_write(s, i, h, m))
        if h.step in (0, 2, 4) and h.rn is None: yield from self.release(s, i, h)

    @staticmethod
    def pinned(h, blk, v): return h._replace(pin=(v, h.pin[1]) if blk == 0 else (h.pin[0], v))
    @staticmethod
    def map_write(s, i, h, m): return s.flight | {('M', i, h.inc, h.g, m)}

    def seal(self, s, i, h, blk):
        """Whole-object copy of a suspect object into my epoch; served only when the map entry is durable."""
        v = self.obj(s, h.m[blk], blk)
        m = (h.m[2], h.m[1], h.m[2]) if blk == 0 else (h.m[0], h.m[2], h.m[2])
        n, obs = h._replace(pc='sealw', m=m, tmp=(blk, v)), s.obs
        if self.brk == 'read_before_map': n, obs = self.pinned(n, blk, v), self.observe(s, h, blk, v)
        return f'{i} seals {"AB"[blk]}={v}', self.put(s, i, n, obs=obs, objs=self.setobj(s, h.m[2], blk, v),
                                                      flight=self.map_write(s, i, h, m))

    def at_sealw(self, s, i, h):
        if self.busy(s, i, 'M') or not self.valid(h): return
        if h.tmp is None:
            yield f'{i} has a snapshot', self.put(s, i, h._replace(pc='own'))
            return
        blk, v = h.tmp
        yield f'{i} sealed {"AB"[blk]}', self.put(s, i, self.pinned(h, blk, v)._replace(pc='own', tmp=None),
                                                  obs=self.observe(s, h, blk, v))

    def at_chk(self, s, i, h):                                         # between check and submission any time may pass
        blk = h.step // 2
        yield f'{i} submits {"AB"[blk]}={h.g}', self.put(s, i, h._replace(pc='datw'),
                                                         flight=s.flight | {('D', i, h.inc, h.m[2], blk, h.g)})

    def at_datw(self, s, i, h):
        if self.brk == 'release_undrained': yield from self.release(s, i, h)
        if self.busy(s, i, 'D'): return
        done = h._replace(pc='own', step=h.step + 1)
        yield f'{i} write completed', self.put(s, i, self.pinned(done, h.step // 2, h.g))

    def at_prf(self, s, i, h): return ()                               # see renewal
    def at_fin(self, s, i, h): return ()

    def release(self, s, i, h):
        if s.gens[h.g][0] == 'L':
            yield f'{i} releases {h.g}', self.put(s, i, process(h.inc, 'fin'), gens=self.end(s, h.g, 'R'))

    def ack(self, s, i, h):
        if self.clock and any(m is not None for m in s.maps[h.g + 1:]):
            raise Violation('flush acknowledged after a successor had opened')
        return self.put(s, i, h._replace(step=h.step + 1), need=self.acked(s, h, h.step // 2))

    # -- what must hold in every state -------------------------------------------------------------------------------
    def check(self, s):
        n = len(s.gens) - 1
        claimants = [h for h in s.hosts if h.g == n and h.pc in OWN]
        if len(claimants) > 1: raise Violation('two owners of one generation')
        if self.clock:
            for h in s.hosts:
                if h.pc in OWN and h.left and any(o.pc in OWN and o.g > h.g for o in s.hosts):
                    raise Violation('two unfenced owners')
        if not claimants: return
        h = claimants[0]
        i = s.hosts.index(h)
        for blk in (0, 1):
            v, p = self.obj(s, h.m[blk], blk), h.pin[blk]
            mine = h.pc in ('chk', 'datw') and h.step // 2 == blk
            if p is None: continue
            if v != p and not (mine and v == h.g):
                raise Violation(f'block {"AB"[blk]} changed under the owner: {p} became {v}')
            if p < s.need[blk]:
                raise Violation(f'block {"AB"[blk]}: acknowledged {s.need[blk]} lost, owner sees {p}')
        if h.step == 0 and None not in h.pin and h.pin[0] < h.pin[1]:
            raise Violation(f'order: B={h.pin[1]} seen without A ({h.pin[0]})')
        if not self.busy(s, i, 'M') and s.maps[self.slot(n)] != h.m:
            raise Violation(f'map of the owner overwritten: {s.maps[self.slot(n)]} is not {h.m}')

    def recoverable(self, s):
        """Host 1 alone, host 0 silent for ever: does a fresh daemon reach ownership without help?"""
        s = s._replace(hosts=(s.hosts[0], process(s.hosts[1].inc + 1)), crashes=0, freezes=0)
        old, self.maxg = self.maxg, ALONE
        try:
            for _ in range(60):
                if s.hosts[1].pc == 'own': return True
                options = [(l, t) for l, t in self.steps(s)
                           if l[0] == '1' or l == 'tick' or (l[:4] in ('land', 'drop') and "', 1," in l)]
                if not options: return False
                s = sorted(options, key=lambda o: (o[0] == 'tick', o[0][0] != '1'))[0][1]
            return False
        finally:
            self.maxg = old

    def run(self):
        """Breadth first; returns (violation or None, trace, states)."""
        key = hash if self.compact else lambda s: s                    # compact: 64-bit hashes only, no trace
        seen, todo, locks = {key(self.start): None}, deque([self.start]), set()
        def trace(s, last):
            t = [last]
            while not self.compact and seen[s]:
                s, label = seen[s]
                t.append(label)
            return t[::-1]
        while todo:
            s = todo.popleft()
            try:
                for label, t in self.steps(s):
                    k = key(t)
                    if k in seen: continue
                    seen[k] = None if self.compact else (s, label)
                    todo.append(t)
                    try: self.check(t)
                    except Violation as v: return str(v), trace(t, '** ' + str(v)), len(seen)
                lock = (s.gens, tuple(m is None for m in s.maps), frozenset(f[:3] for f in s.flight), s.hosts[1].inc)
                if lock not in locks:
                    locks.add(lock)
                    if not self.recoverable(s): return 'lock not recoverable', trace(s, '** stuck'), len(seen)
            except Violation as v: return str(v), trace(s, '** ' + str(v)), len(seen)
        return None, [], len(seen)


def perform(job):
    """One run; returns (as expected?, report)."""
    began, model = time.time(), Model(job.mode, job.brk, job.gens, job.crashes, job.ttl, job.snaps)
    model.compact = job.compact or not job.brk
    violation, trace, states = model.run()
    good = bool(violation) == bool(job.brk)
    what = 'without ' + job.brk if job.brk else f'{job.gens} generations, {job.crashes} crash'
    text = (f'{"ok " if good else "BAD"} {job.mode:5} {what:26} {states:8} states {len(trace):3} steps '
            f'{time.time() - began:6.1f} s  {violation or "no violation"}')
    if trace and (job.trace or not good) and not model.compact: text += ''.join('\n      ' + step for step in trace)
    return good, text


def jobs(a):
    """What to run: the smallest bounds that still find every control, unless told otherwise."""
    def job(mode, brk, gens=None, crashes=None):
        def pick(*values): return next(v for v in values if v is not None)
        return Job(mode, brk, pick(a.gens, gens, 3 if mode == 'proof' else 2),
                   pick(a.crashes, crashes, int(brk != 'early_map_read')), a.ttl,
                   pick(a.snaps, int(brk in ('counter_epoch', 'early_map_read'))), a.compact, a.trace)
    modes = [m for m in ('proof', 'clock') if a.mode in (m, 'both')]
    controls = [job(m, b) for b, (where, _) in BREAKS.items() for m in modes if where in (m, 'both')]
    if a.quick:
        # A third generation shows what a second takeover finds, a crash what a restart finds; both at once are for
        # --all. Only early_map_read takes longer than a few seconds to be found.
        small = [job('proof', None, 3, 0), job('proof', None, 2, 1), job('clock', None, 2, 0)]
        return small + [j for j in controls if j.brk != 'early_map_read']
    if a.brk: return [j for j in controls if j.brk == a.brk]
    return [job(m, None) for m in modes] + (controls if a.all else [])


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--mode', default='both', choices=['clock', 'proof', 'both'])
    p.add_argument('--break', dest='brk', choices=BREAKS)
    for name in ('gens', 'crashes', 'snaps'): p.add_argument('--' + name, type=int)
    p.add_argument('--ttl', type=int, default=1)
    for name in ('compact', 'all', 'quick', 'trace'): p.add_argument('--' + name, action='store_true')
    bad = 0
    with multiprocessing.Pool() as pool:
        for good, text in pool.imap(perform, jobs(p.parse_args())):
            bad += not good
            print(text, flush=True)
    return bad > 0


if __name__ == '__main__':
    sys.exit(main())

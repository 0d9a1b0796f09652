#!/usr/bin/env python3
# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exhaustive check of the ring in xseg/src/ring.h together with the state word of the requests that travel in it.

Several producers each send one request through a ring of two slots to one consumer. Every shared access is one step and
every interleaving of steps is explored. Any producer may be killed at any step, the consumer too (a successor goes on
at the shared head). For a dead producer whose request is SENDING, the supervisor pushes once more, wherever the dead one was.

    request   O owned by its producer -> S sending -> T taken (the consumer's CAS; whoever comes second skips it)
    slot      (ticket, request): 2*lap empty, 2*lap+1 full          Vyukov: (sequence, request)

Checked in every reachable state: without further kills the system can still reach the goal, in which no request is S and
nobody is in the middle of something. A state that cannot has lost a request or has blocked somebody for ever. Also: the
tail hint is never more than one behind. (A request is never taken twice: T is final, and only a CAS from S leads there.)

Two negative controls must fail: the Vyukov ring (reserve, then publish: a kill in between leaves a hole), and our ring
with the consumer clearing the slot before it has won the request.
Memory is sequentially consistent here, as the ring's accesses are. Exit code 0: ours holds and both controls are caught.
"""
import sys
import time
from collections import namedtuple

SLOTS = 2

# pc of a producer or its supervisor; `tail` and `slot` are what it has read. dead = killed, its request may need a push.
Producer = namedtuple('Producer', 'pc tail slot supervised')
Consumer = namedtuple('Consumer', 'pc head request kills')
State = namedtuple('State', 'tail head slots requests producers consumer')


def replaced(items, index, item):
    return items[:index] + (item,) + items[index + 1:]


class OneCasRing:
    """xseg/src/ring.h: push() in steps of one access each; `order` is what the consumer does with an entry."""
    name = 'one-CAS ring'
    order = ('take', 'clear', 'bump')

    def empty(self):
        return tuple((0, None) for _ in range(SLOTS))

    def push_step(self, state, who, producer):
        """The next step of a push: the state after it. Ends in pc 'done'."""
        tail, at = producer.tail, (producer.tail or 0) % SLOTS
        if producer.pc == 'tail':
            return self.moved(state, who, producer._replace(pc='slot', tail=state.tail))
        if producer.pc == 'slot':
            word = state.slots[at]
            lead = word[0] - 2 * (tail // SLOTS)
            then = 'publish' if lead == 0 else 'help' if lead > 0 else 'tail'  # full: comes again
            return self.moved(state, who, producer._replace(pc=then, slot=word if lead == 0 else None))
        if producer.pc == 'publish':
            if state.slots[at] != producer.slot:
                return self.moved(state, who, producer._replace(pc='tail'))
            slots = replaced(state.slots, at, (producer.slot[0] + 1, who))
            return self.moved(state._replace(slots=slots), who, producer._replace(pc='advance', slot=None))
        # 'advance' after our own entry, 'help' past somebody else's: the same CAS on the hint
        then = 'done' if producer.pc == 'advance' else 'tail'
        hint = tail + 1 if state.tail == tail else state.tail
        return self.moved(state._replace(tail=hint), who, producer._replace(pc=then))

    @staticmethod
    def moved(state, who, producer):
        if producer.pc in ('tail', 'done'):
            producer = producer._replace(tail=None, slot=None)  # forgotten, so that equal states are one
        return state._replace(producers=replaced(state.producers, who, producer))

    def peek(self, state, head):
        """('entry', request), ('skip',) or None when there is nothing to do."""
        ticket, request = state.slots[head % SLOTS]
        lead = ticket - 2 * (head // SLOTS)
        return ('entry', request) if lead == 1 else ('skip',) if lead > 1 else None

    def cleared(self, head):
        return (2 * (head // SLOTS) + 2, None)

    def hint_lag(self, state):
        """How far the hint is behind the last entry that was ever published."""
        published = 0
        for index, (ticket, _) in enumerate(state.slots):
            if ticket > 0:
                published = max(published, (ticket - 1) // 2 * SLOTS + index + 1)
        return published - state.tail


class ClearBeforeTake(OneCasRing):
    name = 'one-CAS ring, slot cleared before the state CAS'
    order = ('clear', 'take', 'bump')


class VyukovRing(OneCasRing):
    name = 'Vyukov ring'

    def empty(self):
        return tuple((index, None) for index in range(SLOTS))

    def push_step(self, state, who, producer):
        tail, at = producer.tail, (producer.tail or 0) % SLOTS
        if producer.pc == 'tail':
            return self.moved(state, who, producer._replace(pc='slot', tail=state.tail))
        if producer.pc == 'slot':
            then = 'reserve' if state.slots[at][0] == tail else 'tail'
            return self.moved(state, who, producer._replace(pc=then))
        if producer.pc == 'reserve':
            if state.tail != tail:
                return self.moved(state, who, producer._replace(pc='tail'))
            return self.moved(state._replace(tail=tail + 1), who, producer._replace(pc='publish'))
        slots = replaced(state.slots, at, (tail + 1, who))
        return self.moved(state._replace(slots=slots), who, producer._replace(pc='done'))

    def peek(self, state, head):
        sequence, request = state.slots[head % SLOTS]
        lead = sequence - head
        return ('entry', request) if lead == 1 else ('skip',) if lead > 1 else None

    def cleared(self, head):
        return (head + SLOTS, None)

    def hint_lag(self, state):
        return 0  # its tail is no hint


def producer_steps(ring, state):
    """Steps and kills of the producers and of the supervisor that stands in for the dead: (is_kill, next state)."""
    for who, producer in enumerate(state.producers):
        if producer.pc == 'start':
            sending = state._replace(requests=replaced(state.requests, who, 'S'))
            yield False, ring.moved(sending, who, producer._replace(pc='tail'))
        elif producer.pc == 'dead':
            if state.requests[who] == 'S':
                yield False, ring.moved(state, who, producer._replace(pc='tail', supervised=True))
        elif producer.pc != 'done':
            yield False, ring.push_step(state, who, producer)
        if producer.pc not in ('dead', 'done') and not producer.supervised:
            dead = Producer('dead', None, None, False)
            yield True, state._replace(producers=replaced(state.producers, who, dead))


def consumer_steps(ring, state):
    me = state.consumer
    if me.kills > 0:
        yield True, state._replace(consumer=Consumer('look', state.head, None, me.kills - 1))
    if me.pc == 'look':
        found = ring.peek(state, me.head)
        if found and found[0] == 'entry':
            yield False, state._replace(consumer=me._replace(pc=ring.order[0], request=found[1]))
        elif found:
            yield False, state._replace(head=me.head + 1, consumer=me._replace(head=me.head + 1))
        return
    after = (ring.order + ('look',))[ring.order.index(me.pc) + 1]
    if me.pc == 'take':
        if state.requests[me.request] == 'S':
            state = state._replace(requests=replaced(state.requests, me.request, 'T'))
        yield False, state._replace(consumer=me._replace(pc=after))
    elif me.pc == 'clear':
        slots = replaced(state.slots, me.head % SLOTS, ring.cleared(me.head))
        yield False, state._replace(slots=slots, consumer=me._replace(pc=after))
    else:
        yield False, state._replace(head=me.head + 1, consumer=Consumer(after, me.head + 1, None, me.kills))


def is_goal(state):
    return ('S' not in state.requests and state.consumer.pc == 'look'
            and all(p.pc in ('done', 'dead') for p in state.producers))


def canonical(state):
    """Producers are alike: one order of them stands for all. Their numbers also appear in slots and with the consumer."""
    def key(who):
        producer, word = state.producers[who], [slot for slot in state.slots if slot[1] == who]
        return (state.requests[who], producer.pc, producer.tail or 0, (producer.slot or (0,))[0], producer.supervised,
                state.consumer.request == who, [ticket for ticket, _ in word])
    order = sorted(range(len(state.producers)), key=key)
    if order == list(range(len(order))):
        return state
    new = {who: place for place, who in enumerate(order)}
    new[None] = None
    return state._replace(
        slots=tuple((ticket, new[who]) for ticket, who in state.slots),
        requests=tuple(state.requests[who] for who in order), producers=tuple(state.producers[who] for who in order),
        consumer=state.consumer._replace(request=new[state.consumer.request]))


def explore(ring, producers, consumer_kills):
    """All reachable states. Returns (number of states, what is wrong or None)."""
    first = State(0, 0, ring.empty(), ('O',) * producers, (Producer('start', None, None, False),) * producers,
                  Consumer('look', 0, None, consumer_kills))
    number = {first: 0}
    states, predecessors, at = [first], [[]], 0
    while at < len(states):
        state = states[at]
        if ring.hint_lag(state) > 1:
            return len(states), f'the hint is far behind: {state}'
        for steps in (producer_steps, consumer_steps):
            for is_kill, after in steps(ring, state):
                after = canonical(after)
                index = number.setdefault(after, len(states))
                if index == len(states):
                    states.append(after)
                    predecessors.append([])
                if not is_kill:
                    predecessors[index].append(at)
        at += 1

    # Backwards from the goals along steps that are no kills: whatever is not met cannot finish any more.
    can_finish = bytearray(len(states))
    work = [index for index, state in enumerate(states) if is_goal(state)]
    for index in work:
        can_finish[index] = 1
    while work:
        for before in predecessors[work.pop()]:
            if not can_finish[before]:
                can_finish[before] = 1
                work.append(before)
    stuck = can_finish.find(0)
    return len(states), None if stuck < 0 else f'can never finish: {states[stuck]}'


def main():
    as_expected = True
    cases = [(OneCasRing(), 2, 2, True), (OneCasRing(), 3, 1, True),
             (VyukovRing(), 2, 0, False), (ClearBeforeTake(), 2, 1, False)]
    for ring, producers, kills, should_hold in cases:
        began = time.monotonic()
        states, wrong = explore(ring, producers, kills)
        good = (wrong is None) == should_hold
        as_expected &= good
        print(f'{"ok  " if good else "FAIL"} {ring.name}: {producers} producers, {kills} consumer kills, {states} states, '
              f'{time.monotonic() - began:.1f} s: {"holds" if wrong is None else wrong}'
              f'{"" if should_hold else " (a control, must not hold)"}')
    return 0 if as_expected else 1


if __name__ == '__main__':
    sys.exit(main())

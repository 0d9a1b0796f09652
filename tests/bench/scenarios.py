# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured beside what. A scenario is a context manager that sets up its peers and takes them down again."""
import contextlib
from typing import NamedTuple

import nbd

from cases import CASES
from instance import Instance, SPLIT
from peers import Neighbours, fill, volume_peer, written_volume
from verdict import Goal


class Setup(NamedTuple):
    folder: str
    peers: list
    cases: dict
    left_out: dict = {}


def wanted(options, keys):
    return [k for k in keys if not options.only or k in options.only]


def cases(options, *keys):
    return {k: CASES[k] for k in keys if not options.cases or k in options.cases}


def running(extra="", sections=""):
    return Instance(extra=extra, sections=sections)


@contextlib.contextmanager
def held_open(it, names=("bench",)):
    """A client on each that does nothing: opening and closing volumes is not what is measured."""
    clients = []
    for name in names:
        clients.append(nbd.NBD())
        clients[-1].connect_uri(it.uri(name))
    yield
    for client in clients:
        client.shutdown()


# ---- one volume beside the others

ONE = ("rr1", "rr32", "rw1", "rw32", "wf1", "sr8", "sw8")
NEIGHBOURS = ("raw", "floor", "floor-files", "qsd-raw", "qsd-qcow2", "nbdkit-file", "floor-null", "nbdkit-null")
GATED = ("rr1", "rr32", "rw1", "rw32", "sr8", "sw8")
ONE_GOALS = (
    *(Goal(case, "rate", 0.85) for case in GATED),
    *(Goal(case, "cpu", 2.0) for case in GATED),
    *(Goal(case, "rate", 0.85, "floor-files", must=False) for case in GATED),
    Goal("rr32", "rate", 1.8, "qsd-qcow2", must=False),
    Goal("rw32", "rate", 3.5, "qsd-qcow2", must=False),
    Goal("rr1", "rate", 1.25, "qsd-qcow2", must=False),
    Goal("rw1", "rate", 1.7, "qsd-qcow2", must=False),
    Goal("wf1", "rate", 1.3, "qsd-qcow2", must=False),
    Goal("sw8", "rate", 1.0, "raw", must=False),
    Goal("sr8", "rate", 1.3, "qsd-qcow2", must=False),
    Goal("rr32", "cpu us", 11, "volume", must=False),
    Goal("rw32", "cpu us", 13, "volume", must=False),
)
# Two short rounds on a machine that does other things too: only what cannot be noise fails. At depth 1 the CPU time is that of
# waking up, and grows with what others leave in the caches.
QUICK_GOALS = (*(Goal(case, "rate", 0.25) for case in GATED), *(Goal(case, "cpu", 4.0 if case in ("rr1", "rw1") else 3.0) for case in GATED))


@contextlib.contextmanager
def one(options):
    with running() as it, contextlib.closing(Neighbours(it.dir, options.size)) as neighbours:
        it.start()
        peers = [neighbours.get(key) for key in wanted(options, ("raw", "floor") if options.quick else NEIGHBOURS)]
        volume = written_volume(it, options.size)
        peers += [volume] if wanted(options, ["volume"]) else []
        with held_open(it):
            yield Setup(it.dir, [p for p in peers if p], cases(options, *(GATED if options.quick else ONE)), neighbours.left_out)


@contextlib.contextmanager
def unmapped(options):
    """Nothing was ever written: no storage is touched, as in the others' null."""
    with running() as it, contextlib.closing(Neighbours(it.dir, options.size)) as neighbours:
        it.start()
        it.vlmc("create", "bench", "--size", f"{options.size}M")
        peers = [neighbours.get("nbdkit-null"), neighbours.get("floor-null"), volume_peer(it, options.size)]
        with held_open(it):
            yield Setup(it.dir, [p for p in peers if p], cases(options, "rr32"), neighbours.left_out)


# ---- the same roles in one host and in two

@contextlib.contextmanager
def split(options):
    with running() as together, running(sections=SPLIT) as apart:
        together.start()
        apart.start()
        peers = [written_volume(together, options.size, key="together", title="one host"),
                 written_volume(apart, options.size, key="split", title="gateway in a host of its own")]
        with held_open(together), held_open(apart):
            yield Setup(together.dir, peers, cases(options, "rr1", "rr32", "rw1", "rw32"))


# ---- several volumes at once

MANY = (1, 16, 100)
MANY_MIB = 16  # of each


@contextlib.contextmanager
def volumes(options):
    """The same depth on each of them, and all of them open all the time, beside an instance with one volume: what one
    volume's I/O costs must not grow with the number of the others, busy or not."""
    with running() as lonely, running() as it:
        lonely.start()
        it.start()
        names = [f"v{n}" for n in range(max(MANY))]
        for name in names:
            it.vlmc("create", name, "--size", f"{MANY_MIB}M")
        fill(volume_peer(it, MANY_MIB, names).targets, it.dir)
        peers = [written_volume(lonely, MANY_MIB, key="alone", title="the only volume"),
                 *(volume_peer(it, MANY_MIB, names[:n], f"volumes-{n}", f"{n} of {max(MANY)} open volumes") for n in MANY)]
        with held_open(lonely), held_open(it, names):
            yield Setup(it.dir, peers, cases(options, "rr8", "rw8"))


# ---- many objects and few descriptors

OBJECTS, BLOCK_MIB, DESCRIPTORS = 65536, 4, 512


def first_of_blocks(peer, blocks):
    """The same peer, but only the first 4 KiB of each of the first `blocks` blocks."""
    for target in peer.targets:
        target[-1] = f"--size={blocks * BLOCK_MIB}M"
        target.append(f"--blockalign={BLOCK_MIB}M")
    return peer


@contextlib.contextmanager
def objects(options):
    """4 KiB in each block of a sparse volume of 256 GiB; one read in 128 finds its object's file open."""
    total = OBJECTS * BLOCK_MIB
    with running(extra=f"[file_blocker]\nfdcache = {DESCRIPTORS}") as it:
        it.start()
        it.vlmc("create", "bench", "--size", f"{total}M")
        fill(volume_peer(it, total).targets, it.dir, f"--rw=write:{BLOCK_MIB * 1024 - 4}k", "--bs=4k", "--iodepth=32",
             f"--io_size={OBJECTS * 4}k")
        peers = [first_of_blocks(volume_peer(it, total, key="hits", title="files open"), DESCRIPTORS // 2),
                 first_of_blocks(volume_peer(it, total, key="misses", title="files to be opened"), OBJECTS)]
        with held_open(it):
            yield Setup(it.dir, peers, cases(options, "rr1", "rr32"))


class Scenario(NamedTuple):
    title: str
    open: object  # (options) -> context manager of Setup
    bases: tuple  # keys of the peers that the table compares with
    goals: tuple


SCENARIOS = {
    "one": Scenario("One volume beside other servers", one, ("raw", "floor", "qsd-qcow2"), ONE_GOALS),
    "unmapped": Scenario("A volume nobody wrote to", unmapped, ("nbdkit-null", "floor-null"), (
        Goal("rr32", "rate", 1.0, "nbdkit-null", must=False), Goal("rr32", "cpu us", 5, "volume", must=False))),
    "split": Scenario("Roles together and over two hosts", split, ("together",), (
        Goal("rr32", "cpu+", 6, "together", "split"), Goal("rw32", "cpu+", 6, "together", "split"))),
    "volumes": Scenario("Several volumes at once", volumes, ("alone",), tuple(
        Goal(case, "cpu", 1.1, "alone", f"volumes-{n}") for case in ("rr8", "rw8") for n in MANY)),
    "objects": Scenario(f"{OBJECTS} objects, {DESCRIPTORS} descriptors", objects, ("hits",), (
        Goal("rr32", "cpu+", 6, "hits", "misses", must=False),)),
}

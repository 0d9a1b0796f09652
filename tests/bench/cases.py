# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What fio does to a peer. The same for every peer; only where it goes to differs."""
from typing import NamedTuple


class Case(NamedTuple):
    title: str
    rw: str
    block: str
    depth: int
    fsync: int = 0  # a flush behind so many writes
    unit: str = "IOPS"

    def fio(self):
        sync = [f"--fsync={self.fsync}"] if self.fsync else []
        return [f"--rw={self.rw}", f"--bs={self.block}", f"--iodepth={self.depth}", *sync]

    @property
    def reads(self):
        return self.rw.endswith("read")


CASES = {
    "rr1": Case("4 KiB random read, depth 1", "randread", "4k", 1),
    "rr32": Case("4 KiB random read, depth 32", "randread", "4k", 32),
    "rw1": Case("4 KiB random write, depth 1", "randwrite", "4k", 1),
    "rw32": Case("4 KiB random write, depth 32", "randwrite", "4k", 32),
    "wf1": Case("4 KiB random write and flush, depth 1", "randwrite", "4k", 1, fsync=1),
    "sr8": Case("1 MiB sequential read, depth 8", "read", "1M", 8, unit="MiB/s"),
    "sw8": Case("1 MiB sequential write, depth 8", "write", "1M", 8, unit="MiB/s"),
    "rr8": Case("4 KiB random read, depth 8 each", "randread", "4k", 8),
    "rw8": Case("4 KiB random write, depth 8 each", "randwrite", "4k", 8),
}

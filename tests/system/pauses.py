# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long clients wait when something behind them is killed: fio writes and verifies, a meter times each operation, and hosts
are killed again and again. Nobody may see an error."""
import select
import statistics
import threading
import time

import nbd

from instance import BIN, Instance, Load


class Meter(threading.Thread):
    """Writes and reads back 4 KiB pieces; remembers when each operation began and ended."""

    def __init__(self, uri):
        super().__init__()
        self.client = nbd.NBD()
        self.client.connect_uri(uri)
        self.samples, self.error, self.ending = [], None, False

    def run(self):
        n = 0
        try:
            while not self.ending:
                n += 1
                data = n.to_bytes(8, "little") * 512
                offset = (n * 7919 % 4096) * 4096
                self.timed(self.client.pwrite, data, offset)
                if n % 16 == 0:
                    self.timed(self.client.flush)
                if self.timed(self.client.pread, 4096, offset) != data:
                    raise AssertionError(f"write {n} reads back differently")
            self.client.shutdown()
        except Exception as e:  # the test reports it
            self.error = e

    def timed(self, what, *args):
        began = time.monotonic()
        result = what(*args)
        self.samples.append((began, time.monotonic()))
        return result

    def __enter__(self):
        self.start()

    def __exit__(self, *_):
        self.ending = True
        self.join(60)

    def pause_around(self, moment):
        """The longest operation that was under way at `moment` or began within half a second after it."""
        return max((b - a for a, b in self.samples if b > moment and a < moment + 0.5), default=0)


def running(it, host):
    try:
        it.host_pid(host)
        roles = it.run([BIN + "/archipelago", "status", "--json"], expect=None)
        return all(f'"{state}"' not in roles.stdout for state in ("failed", "starting")) and roles.returncode == 0
    except (OSError, ValueError, IndexError):
        return False


def kill_under_load(test, sections, hosts, kills, dice):
    """Kills `hosts`, one at a time, `kills` times in all. Prints the pauses; nine in ten must be under a second."""
    with Instance(sections=sections) as it:
        it.start()
        it.vlmc("create", "v", "--size", "256M")
        it.vlmc("create", "meter", "--size", "64M")
        meter = Meter(it.uri("meter"))
        moments = []
        with Load(it, "v", "--rw=randrw", "--verify_backlog=256", "--bsrange=4k-256k", "--bs_unaligned=0", "--iodepth=16",
                  "--size=256M", "--fsync=64") as load, meter:
            for n in range(kills):
                host = hosts[n % len(hosts)] if n < len(hosts) else dice.choice(hosts)
                # Also soon after its start: the first tries have no back-off.
                it.wait_for(host, lambda h=host: running(it, h))
                select.select([], [], [], dice.choice((0.2, 0.4, 0.55, 0.7)))
                moments.append((time.monotonic(), host))
                try:
                    it.kill_host(host)
                except (OSError, ValueError, IndexError):
                    moments.pop()  # it is just not there
                load.check()
                test.assertIsNone(meter.error, f"the meter's client, kill {n}: {host}")
            it.wait_running()
            load.end()
        test.assertIsNone(meter.error)
        every = []
        for host in hosts:
            pauses = sorted(meter.pause_around(moment) for moment, who in moments if who == host)
            every += pauses
            print(f"{host}: {len(pauses)} kills, pause: median {statistics.median(pauses) * 1000:.0f} ms, "
                  f"90 % {pauses[len(pauses) * 9 // 10] * 1000:.0f} ms, longest {pauses[-1] * 1000:.0f} ms")
        test.assertGreater(len(every), kills * 2 // 3)
        test.assertLess(sorted(every)[len(every) * 9 // 10], 1.0)

# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark itself: the yardstick serves what it was given, CPU time is counted, and the verdict can fail."""
import contextlib
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/system")

from measure import cpu_seconds
from peers import Neighbours
from verdict import Goal, holds, judge


def samples(**peers):
    """Of the case rr1: by peer, a (rate, CPU) for each round."""
    return [{"case": "rr1", "round": n, "peer": peer, "rate": rate, "server_cpu_us": cpu}
            for peer, rounds in peers.items() for n, (rate, cpu) in enumerate(rounds)]


class Floor(unittest.TestCase):
    def test_it_stores_and_reads_back(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, contextlib.closing(Neighbours(folder, 16)) as neighbours:
            peer = neighbours.get("floor")
            uri = peer.targets[0][1].removeprefix("--uri=")
            image = folder + "/image"
            with open(image, "wb") as f:
                f.write(os.urandom(16 << 20))
            subprocess.run(["nbdcopy", "--connections=4", "--flush", image, uri], check=True)
            subprocess.run(["cmp", image, folder + "/raw.img"], check=True)
            subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", image, uri], check=True)
            subprocess.run(["fio", "--name=v", "--ioengine=nbd", "--uri=" + uri, "--rw=randwrite", "--bsrange=512-1M", "--blockalign=512",
                            "--iodepth=64", "--size=16M", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--fsync=16"],
                           check=True, stdout=subprocess.DEVNULL)
            self.assertGreater(cpu_seconds(peer.pids()[0]), 0)

    def test_files_are_one_disk(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, contextlib.closing(Neighbours(folder, 16)) as neighbours:
            uri = neighbours.get("floor-files").targets[0][1].removeprefix("--uri=")
            self.assertEqual([os.path.getsize(e) for e in os.scandir(folder + "/files")], [4 << 20] * 4)
            image = folder + "/image"
            with open(image, "wb") as f:
                f.write(os.urandom(16 << 20))
            subprocess.run(["nbdcopy", "--request-size=1048576", image, uri], check=True)
            subprocess.run(["qemu-img", "compare", "-q", "-f", "raw", "-F", "raw", image, uri], check=True)

    def test_without_storage(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, contextlib.closing(Neighbours(folder, 16)) as neighbours:
            uri = neighbours.get("floor-null").targets[0][1].removeprefix("--uri=")
            size = subprocess.run(["nbdinfo", "--size", uri], check=True, capture_output=True, text=True).stdout
            self.assertEqual(int(size), 16 << 20)


class Verdict(unittest.TestCase):
    RATE, CPU = Goal("rr1", "rate", 0.85), Goal("rr1", "cpu", 2.0)

    def verdict(self, *goals, **peers):
        return holds(judge(goals, samples(**peers)))

    def test_at_the_limit_and_beyond(self):
        floor = [(100, 10)] * 3
        self.assertTrue(self.verdict(self.RATE, self.CPU, floor=floor, volume=[(85, 20)] * 3))
        self.assertFalse(self.verdict(self.RATE, self.CPU, floor=floor, volume=[(84, 20)] * 3))
        self.assertFalse(self.verdict(self.RATE, self.CPU, floor=floor, volume=[(85, 21)] * 3))

    def test_ratios_are_of_the_same_round(self):
        # Medians of the rates would say 0.5; of the ratios, which leave out what slowed a round for both, 1.
        self.assertTrue(self.verdict(self.RATE, floor=[(100, 10), (50, 10), (100, 10)], volume=[(50, 10), (50, 10), (100, 10)]))
        row = judge([self.RATE], samples(floor=[(100, 1), (50, 1)], volume=[(90, 1), (60, 1)]))[0]
        self.assertEqual((row["lowest"], row["highest"], row["rounds"]), (0.9, 1.2, 2))

    def test_differences(self):
        goal = Goal("rr1", "cpu+", 6, "together", "split")
        self.assertTrue(self.verdict(goal, together=[(1, 10)], split=[(1, 16)]))
        self.assertFalse(self.verdict(goal, together=[(1, 10)], split=[(1, 17)]))

    def test_aims_do_not_decide_and_nothing_shows_nothing(self):
        aim = Goal("rr1", "rate", 3.5, must=False)
        self.assertTrue(self.verdict(self.CPU, aim, floor=[(100, 10)], volume=[(100, 10)]))
        self.assertFalse(self.verdict(aim, floor=[(100, 10)], volume=[(400, 10)]))
        self.assertFalse(self.verdict(self.RATE, volume=[(100, 10)]))


if __name__ == "__main__":
    unittest.main()

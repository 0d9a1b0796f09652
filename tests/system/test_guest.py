# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest boots from a volume over NBD, with the option line that `vlmc info` gives, writes and reads back, and the host with its
disk in it is killed again and again: qemu connects anew, the guest sees a pause and no error, and its file system is clean."""
import hashlib
import re
import select
import sys
import unittest

import guest
from instance import Instance, rounds

ROOT = 128  # MiB
ROUNDS_PER_KILL = 4


class Boot(unittest.TestCase):
    def test_a_guest_outlives_the_data_host(self):
        kills, dice = rounds(3, 100)
        with Instance() as it:
            it.start()
            image = it.dir + "/root"
            guest.make_root(image, ROOT)
            it.vlmc("create", "root", "--size", f"{ROOT}M")
            it.run(["nbdcopy", "--flush", image, it.uri("root")])
            offered = re.search(r"^qemu\s+-blockdev (\S+reconnect-delay=\S+)$", it.vlmc("info", "root").stdout, re.M).group(1)
            with guest.Guest(it, offered, f"rounds={(kills + 1) * ROUNDS_PER_KILL}") as it_runs:
                it_runs.line("GUEST up, root on /dev/vda")
                for n in range(kills):
                    it_runs.line(f"GUEST writes {n * ROUNDS_PER_KILL + 2 + dice.randrange(2)}")
                    select.select([], [], [], dice.random() * 0.3)  # anywhere in a round
                    for host in it.hosts:
                        it.kill_host(host)
                    it.wait_running(60)
                sums = [it_runs.line(r"GUEST sum (\w{32})  (/data/f\d)").groups() for _ in range(6)]
                it_runs.line("GUEST done")
                it_runs.end()
            self.check(it, sums)

    def check(self, it, sums):
        """What the guest said it wrote, by another way."""
        back = it.dir + "/back"
        it.run(["nbdcopy", it.uri("root"), back])
        it.run(["e2fsck", "-fn", back])
        for expected, path in sums:
            it.run(["debugfs", "-R", f"dump {path} {it.dir}/file", back])
            with open(it.dir + "/file", "rb") as f:
                self.assertEqual(hashlib.md5(f.read(), usedforsecurity=False).hexdigest(), expected, path)


if __name__ == "__main__":
    if guest.missing():
        print("skipped: no guest can run here, missing:", guest.missing())
        sys.exit(77)
    unittest.main()

# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""fio with crc32c verification: block sizes from 512 bytes to 1 MiB at depths from 1 to 64. In check each size at a depth of the
dice's, and the corners; in the soak all of them, over more data."""
import itertools
import unittest

from instance import Instance, rounds

MIB = 1024 * 1024
SIZES = [512 << n for n in range(12)]
DEPTHS = [1 << n for n in range(7)]
EVERY = list(itertools.product(SIZES, DEPTHS))
CORNERS = list(itertools.product((512, 4096, MIB), (1, 64)))
VOLUME = 256 * MIB


class Fio(unittest.TestCase):
    def fio(self, it, *args):
        it.run(["fio", "--name=verify", "--ioengine=nbd", "--uri=" + it.uri("v"), "--rw=randwrite", "--verify=crc32c",
                "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0", "--output=" + it.dir + "/fio.txt", *args], timeout=300)
        with open(it.dir + "/fio.txt", encoding="utf-8") as f:
            text = f.read()
        self.assertRegex(text, r"err= ?0")

    def test_sizes_and_depths(self):
        count, dice = rounds(len(CORNERS) + len(SIZES), 3 * len(EVERY))
        if count < len(EVERY):
            runs = CORNERS + [(size, dice.choice(DEPTHS)) for size in SIZES]
            requests, most = 2048, 64 * MIB
        else:
            runs = dice.sample(3 * EVERY, count)
            requests, most = 65536, VOLUME
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", f"{VOLUME}B")
            for size, depth in runs:
                with self.subTest(bs=size, qd=depth):
                    amount = min(size * (requests if depth > 4 else requests // 2), most)
                    first = dice.randrange(0, VOLUME - amount + 1, 512)
                    self.fio(it, f"--bs={size}", f"--iodepth={depth}", f"--size={amount}", f"--offset={first}",
                             f"--randseed={dice.getrandbits(31)}")
            self.fio(it, "--bsrange=4k-1M", "--bs_unaligned=0", "--iodepth=16", "--size=128M", "--fsync=32")
            self.fio(it, "--bs=512", "--iodepth=16", "--size=2M", "--offset=" + str(128 * MIB - 7 * 512))


if __name__ == "__main__":
    unittest.main()

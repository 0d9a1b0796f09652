# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""fio with crc32c verification: block sizes 4 KiB to 1 MiB, depths 1, 16 and 64, and 512 B steps of mixed sizes."""
import unittest

from instance import Instance

MIB = 1024 * 1024


class Fio(unittest.TestCase):
    def fio(self, it, volume, *args):
        it.run(["fio", "--name=verify", "--ioengine=nbd", "--uri=" + it.uri(volume), "--rw=randwrite", "--verify=crc32c",
                "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0", "--randrepeat=0", "--output=" + it.dir + "/fio.txt", *args], timeout=120)
        with open(it.dir + "/fio.txt", encoding="utf-8") as f:
            text = f.read()
        self.assertRegex(text, r"err= ?0")

    def test_sizes_and_depths(self):
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", "256M")
            for size in ("4k", "64k", "1M"):
                for depth in (1, 16, 64):
                    amount = {"4k": "8M" if depth == 1 else "32M", "64k": "64M", "1M": "256M"}[size]
                    with self.subTest(bs=size, qd=depth):
                        self.fio(it, "v", f"--bs={size}", f"--iodepth={depth}", "--size=" + amount)
            self.fio(it, "v", "--bsrange=4k-1M", "--bs_unaligned=0", "--iodepth=16", "--size=128M", "--fsync=32")
            self.fio(it, "v", "--bs=512", "--iodepth=16", "--size=2M", "--offset=" + str(128 * MIB - 7 * 512))


if __name__ == "__main__":
    unittest.main()

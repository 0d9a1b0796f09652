# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a role runs is configuration: the same data path, together in one process or each role in its own."""
import unittest

import nbd

from instance import APART, Instance, SPLIT

SPLITS = {"gateway apart": SPLIT, "one each": APART}


class Hosts(unittest.TestCase):
    def test_splits(self):
        for name, sections in SPLITS.items():
            with self.subTest(name), Instance(sections=sections) as it:
                it.start()
                it.archipelago("status")
                it.vlmc("create", "v", "--size", "64M")
                data = bytes(range(256)) * 4096  # 1 MiB, crossing block borders below
                client = nbd.NBD()
                client.connect_uri(it.uri("v"))
                for offset in (0, (4 << 20) - 512 * 1024, 63 << 20):
                    client.pwrite(data, offset)
                client.flush()
                for offset in (0, (4 << 20) - 512 * 1024, 63 << 20):
                    self.assertEqual(client.pread(len(data), offset), data)
                client.shutdown()
                it.archipelago("restart")
                client = nbd.NBD()
                client.connect_uri(it.uri("v"))
                self.assertEqual(client.pread(len(data), 63 << 20), data)
                client.shutdown()


if __name__ == "__main__":
    unittest.main()

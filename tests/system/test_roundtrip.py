# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real data in through one client and out through others, before and after a restart."""
import json
import unittest

from instance import Instance, make_image

MIB = 1024 * 1024


class RoundTrip(unittest.TestCase):
    def test_data_survives_every_client_and_a_restart(self):
        with Instance() as it:
            it.start()
            image = it.dir + "/image"
            make_image(image, 48)
            it.vlmc("create", "db", "--size", "48")
            it.run(["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", image, it.uri("db")], timeout=120)
            self.identical(it, image)

            it.archipelago("restart")
            self.identical(it, image)
            back = it.dir + "/back"
            it.run(["nbdcopy", it.uri("db"), back], timeout=120)
            it.run(["cmp", image, back])
            it.run(["/sbin/e2fsck", "-fn", back])

            it.archipelago("stop")
            it.archipelago("status", expect=3)
            it.archipelago("start")
            it.archipelago("status")
            self.identical(it, image)
            info = json.loads(it.vlmc("info", "db", "--json").stdout)
            text = json.dumps(info)
            self.assertIn(str(48 * MIB), text)

    def identical(self, it, image):
        out = it.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", image, it.uri("db")], timeout=120).stdout
        self.assertIn("Images are identical", out)

    def test_verbs_and_their_tokens(self):
        with Instance() as it:
            it.start()
            it.vlmc("create", "a volume", "--size", "10M")
            it.vlmc("create", "übung", "-s", "1G")
            self.assertEqual(sorted(it.volumes()), ["a volume", "übung"])
            first = it.vlmc("info", "übung").stdout.splitlines()[0]
            self.assertEqual(first, "Volume übung: size: 1073741824")
            self.assertIn("Volume opened", it.vlmc("open", "übung").stdout)
            it.vlmc("open", "übung")  # already open here: succeeds
            it.vlmc("remove", "übung", expect=5)
            self.assertIn("Volume closed", it.vlmc("close", "übung").stdout)
            it.vlmc("close", "übung", expect=5)
            it.vlmc("remove", "übung")
            it.vlmc("info", "übung", expect=4)
            it.vlmc("create", "übung", "--size", "2G")  # a removed name is free at once
            self.assertEqual(it.volumes()["übung"]["sizeBytes"], 2 << 30)


if __name__ == "__main__":
    unittest.main()

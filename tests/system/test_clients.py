# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs people have: nbdinfo, nbdcopy, nbdsh, nbdfuse, qemu-img and qemu-io, each with real data on real volumes. What a
request means at its edges is in test_requests.py."""
import json
import os
import shutil
import subprocess
import unittest

from instance import Instance, make_image

MIB = 1024 * 1024
SIZE = 64  # MiB, of every volume here


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.it = it = cls.enterClassContext(Instance())
        it.start()
        cls.image = it.dir + "/image"
        make_image(cls.image, SIZE)

    def volume(self, name):
        self.it.vlmc("create", name, "--size", f"{SIZE}M")
        return self.it.uri(name)

    def allocated(self, name):
        """Bytes of blocks the volume has."""
        return self.it.volumes()[name]["allocatedBytes"]

    def same(self, one, other):
        out = self.it.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", one, other], timeout=120).stdout
        self.assertIn("Images are identical", out)

    # ---- libnbd's programs
    def test_nbdinfo(self):
        uri = self.volume("info")
        self.volume("with a space, und ü")
        export = json.loads(self.it.run(["nbdinfo", "--json", uri]).stdout)
        self.assertEqual((export["protocol"], export["TLS"], export["structured"]), ("newstyle-fixed", False, True))
        export = export["exports"][0]
        for key, value in {"export-name": "info", "export-size": SIZE * MIB, "is_read_only": False, "can_flush": True, "can_fua": True,
                           "can_trim": True, "can_zero": True, "can_cache": False, "is_rotational": False,
                           "can_df": True, "can_multi_conn": True, "can_fast_zero": True,
                           "block_size_minimum": 512, "block_size_preferred": 4096, "block_size_maximum": 32 * MIB}.items():
            self.assertEqual(export[key], value, key)
        listed = json.loads(self.it.run(["nbdinfo", "--list", "--json", self.it.uri("")]).stdout)["exports"]
        self.assertEqual({e["export-name"]: e["export-size"] for e in listed}, {n: SIZE * MIB for n in self.it.volumes()})
        self.assertEqual(self.it.run(["nbdinfo", "--size", uri]).stdout, f"{SIZE * MIB}\n")
        missing = self.it.run(["nbdinfo", self.it.uri("ghost")], expect=1).stderr
        self.assertIn("No such file or directory for export: ghost", missing)  # its own words for our answer

    def test_nbdcopy_both_ways(self):
        uri, back = self.volume("copy"), self.it.dir + "/back"
        self.it.run(["nbdcopy", "--connections=4", "--requests=16", "--flush", self.image, uri], timeout=120)
        self.same(self.image, uri)
        self.it.run(["nbdcopy", "--connections=4", "--requests=16", uri, back], timeout=120)
        self.it.run(["cmp", self.image, back])
        other = self.volume("copy of a copy")
        self.it.run(["nbdcopy", "--connections=4", uri, other], timeout=120)
        self.same(uri, other)
        os.unlink(back)

    def test_copies_of_sparse_files_stay_thin(self):
        sparse = self.it.dir + "/sparse"
        with open(sparse, "wb") as f:
            f.truncate(SIZE * MIB)
            f.seek(21 * MIB)
            f.write(os.urandom(MIB))
        for name, command in (("by nbdcopy", ["nbdcopy", "--connections=4"]),
                              ("by qemu", ["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw"])):
            with self.subTest(name):
                uri = self.volume(name)
                self.it.run([*command, sparse, uri], timeout=120)
                self.same(sparse, uri)
                self.assertLessEqual(self.allocated(name), 4 * MIB)

    def test_nbdsh(self):
        uri = self.volume("shell")
        script = ("h.pwrite(b'\\x5a' * 1024, 512, nbd.CMD_FLAG_FUA)\nassert h.pread(2048, 0) == bytes(512) + b'\\x5a' * 1024 + bytes(512)\n"
                  "h.flush()\nprint(h.get_size(), h.get_tls_negotiated())")
        out = self.it.run(["nbdsh", "-u", uri, "-c", script]).stdout
        self.assertEqual(out, f"{SIZE * MIB} False\n")

    def test_nbdfuse(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            self.skipTest("/dev/fuse cannot be opened here")
        if os.geteuid() and not shutil.which("fusermount3"):
            self.skipTest("mounting needs root or fusermount3 here")
        uri, mount = self.volume("fuse"), self.it.dir + "/mnt"
        os.mkdir(mount)
        with subprocess.Popen(["nbdfuse", mount, uri], env=self.it.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as fuse:
            try:
                self.it.wait_for("nbdfuse to mount", lambda: os.path.exists(mount + "/nbd") or fuse.poll() is not None)
                if fuse.poll() is not None:
                    said = fuse.stderr.read()
                    # Some containers let /dev/fuse be opened and forbid to mount; anything else is a failure.
                    if "Operation not permitted" in said or "Permission denied" in said:
                        self.skipTest("this machine mounts nothing: " + said.strip())
                    self.fail(said)
                self.it.run(["mkfs.ext4", "-q", "-F", mount + "/nbd"])
                self.it.run(["e2fsck", "-fn", mount + "/nbd"])
                self.it.run(["dd", "if=" + self.image, f"of={mount}/nbd", "bs=1M", "conv=notrunc,fsync", "status=none"], timeout=120)
                self.it.run(["e2fsck", "-fn", mount + "/nbd"])
            finally:
                subprocess.run(["umount", mount], check=False, stderr=subprocess.DEVNULL)
                fuse.wait(30)
        self.same(self.image, uri)

    # ---- qemu's
    def test_qemu_img_map(self):
        """By qemu-img, whole blocks; what it calls zero reads as zeros, and nothing else is left out."""
        uri, sparse = self.volume("map"), self.it.dir + "/mapped"
        self.it.run(["qemu-io", "-f", "raw", "-c", "write -P 5 4M 4M", "-c", "write -P 6 21M 512", "-c", "write -P 7 60M 4M", uri])
        told = json.loads(self.it.run(["qemu-img", "map", "-f", "raw", "--output=json", uri]).stdout)
        self.assertEqual([(e["start"] // MIB, e["length"] // MIB) for e in told if e["data"]], [(4, 4), (20, 4), (60, 4)])
        self.assertEqual(sum(e["length"] for e in told), SIZE * MIB)
        self.it.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", uri, sparse])
        self.assertLessEqual(os.stat(sparse).st_blocks * 512, 12 * MIB)
        self.same(sparse, uri)

    def test_qemu_img(self):
        uri, qcow, raw = self.volume("qemu"), self.it.dir + "/q.qcow2", self.it.dir + "/q.raw"
        self.it.run(["qemu-img", "convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw", self.image, uri], timeout=120)
        self.same(self.image, uri)
        self.it.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, qcow], timeout=120)
        second = self.volume("back from qcow2")
        self.it.run(["qemu-img", "convert", "-n", "-f", "qcow2", "-O", "raw", qcow, second], timeout=120)
        self.same(uri, second)
        self.it.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", second, raw], timeout=120)
        self.it.run(["cmp", self.image, raw])
        self.it.run(["e2fsck", "-fn", raw])
        info = json.loads(self.it.run(["qemu-img", "info", "--output=json", uri]).stdout)
        self.assertEqual(info["virtual-size"], SIZE * MIB)
        # One byte of another, and compare must see it.
        self.it.run(["qemu-io", "-f", "raw", "-c", "write -P 0x11 33M 512", second])
        self.assertIn("Content mismatch at offset 34603008", self.it.run(["qemu-img", "compare", uri, second], expect=1, timeout=120).stdout)
        measured = json.loads(self.it.run(["qemu-img", "measure", "--output=json", "-O", "qcow2", uri]).stdout)
        self.assertLessEqual(os.path.getsize(qcow), measured["required"] + 65536)

    def test_qemu_io(self):
        uri = self.volume("io")

        def io(*commands, expect=0):
            out = self.it.run(["qemu-io", "-f", "raw", *sum((["-c", c] for c in commands), []), uri], expect=expect)
            return out.stdout + out.stderr
        said = io("write -P 0xa5 0 64k", "write -P 0x5a 4190208 8k", "write -P 1 -f 1M 4k", "aio_write -P 7 8M 2M", "aio_flush", "flush",
                  "read -P 0xa5 0 64k", "read -P 0 64k 64k", "read -P 0x5a 4190208 8k", "read -P 1 1M 4k", "read -P 7 8M 2M",
                  "discard 0 64k", "read -P 0xa5 4k 4k", expect=1)  # discarded: no pattern any more
        self.assertEqual(said.count("Pattern verification failed"), 1, said)
        io("read -P 0x5a 4190208 8k",  # in another process, after the other has left
           "write -z -u 4190208 4k", "read -P 0 4190208 4k", "read -P 0x5a 4M 4k", "write -z 8M 12M", "read -P 0 8M 12M",
           "write -P 3 63M 1M", "read -P 3 63M 1M")
        self.assertIn("Input/output error", io("write 63M 2M", expect=1))  # beyond the end: qemu refuses itself

    # ---- what is not offered
    def test_tls_is_refused_and_says_so(self):
        uri = self.volume("tls")
        for mode, status in (("nbd.TLS_REQUIRE", 1), ("nbd.TLS_ALLOW", 0)):
            done = self.it.run(["nbdsh", "-c", f"h.set_tls({mode})\nh.set_debug(True)\nh.set_export_name('tls')\n"
                                f"h.connect_unix('{self.it.run_dir}/nbd.sock')\nassert not h.get_tls_negotiated()"], expect=status)
            self.assertIn("TLS is not offered: this is a local socket", done.stderr)
        self.it.run(["nbdinfo", uri.replace("nbd+", "nbds+", 1)], expect=1)
        refused = self.it.run(["qemu-img", "info", "--object", "tls-creds-anon,id=t,endpoint=client", "--image-opts",
                               f"driver=nbd,server.type=unix,server.path={self.it.run_dir}/nbd.sock,export=tls,tls-creds=t"], expect=1)
        self.assertIn("STARTTLS", refused.stderr)
        self.it.run(["nbdinfo", uri])


if __name__ == "__main__":
    unittest.main()

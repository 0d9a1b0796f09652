# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input gets its error, its exit code and a next step, and changes nothing."""
import json
import os
import shutil
import socket
import subprocess
import unittest

from instance import BIN, Instance

USAGE, NOT_RUNNING, NOT_FOUND, BUSY, EXISTS, PERMISSION = 2, 3, 4, 5, 6, 7


def tree(*dirs):
    """Every path below, with its size: what "nothing was changed" is checked against."""
    return sorted((os.path.join(folder, name), os.stat(os.path.join(folder, name)).st_size)
                  for top in dirs for folder, _, files in os.walk(top) for name in files)


class Commands(unittest.TestCase):
    """One running instance, many ways to ask for nonsense."""
    CASES = [  # arguments of vlmc, exit status, words of the message
        (["create", "", "--size", "1"], USAGE, "name"),
        (["create", "a/b", "--size", "1"], USAGE, "'/'"),
        (["create", ".", "--size", "1"], USAGE, "not allowed"),
        (["create", "..", "--size", "1"], USAGE, "not allowed"),
        (["create", "tab\there", "--size", "1"], USAGE, "not allowed"),
        (["create", "x" * 83, "--size", "1"], USAGE, "82"),
        (["create", "archip_x", "--size", "1"], USAGE, "archip_"),
        (["create", "x_lock", "--size", "1"], USAGE, "_lock"),
        (["create", "x_hash", "--size", "1"], USAGE, "_hash"),
        (["create", "x_0123456789abcdef", "--size", "1"], USAGE, "16 hex"),
        (["create", b"\xff\xfe", "--size", "1"], USAGE, "UTF-8"),
        (["create", "x"], USAGE, "--size"),
        (["create", "x", "--size", "0"], USAGE, "512"),
        (["create", "x", "--size", "-1"], USAGE, "negative"),
        (["create", "x", "--size", "10m"], USAGE, "MiB"),
        (["create", "x", "--size", "513B"], USAGE, "1024"),
        (["create", "x", "--size", "5P"], USAGE, "4"),
        (["create", "x", "--size", "99999999999999999999T"], USAGE, "size"),
        (["create", "x", "--size", "10Q"], USAGE, "size"),
        (["create", "taken", "--size", "1"], EXISTS, "exists"),
        (["info", "ghost"], NOT_FOUND, "no such volume"),
        (["remove", "ghost"], NOT_FOUND, "no such volume"),
        (["open", "ghost"], NOT_FOUND, "no such volume"),
        (["close", "taken"], BUSY, "not open"),
        (["nfo", "taken"], USAGE, 'Did you mean "info"'),
        (["snapshot", "taken", "s"], USAGE, "not built yet"),
        (["info"], USAGE, "NAME"),
        (["info", "taken", "--frobnicate"], USAGE, "frobnicate"),
    ]

    def test_vlmc(self):
        with Instance() as it:
            it.start()
            it.vlmc("create", "taken", "--size", "1")
            before = tree(it.dir + "/maps", it.dir + "/blocks")
            for args, status, words in self.CASES:
                with self.subTest(args=args):
                    done = subprocess.run([BIN + "/vlmc", *args], env=it.env, stdin=subprocess.DEVNULL, capture_output=True,
                                          timeout=30, check=False)
                    message = done.stderr.decode(errors="replace")
                    self.assertEqual(done.returncode, status, message)
                    self.assertIn(words, message)
                    self.assertEqual(done.stdout, b"")
            self.assertEqual(tree(it.dir + "/maps", it.dir + "/blocks"), before)
            error = json.loads(it.vlmc("info", "ghost", "--json", expect=NOT_FOUND).stderr)["error"]
            self.assertEqual(error["code"], "E-NOTFOUND")
            self.assertTrue(error["hint"])

    def test_archipelago(self):
        with Instance() as it:
            self.assertIn("archipelago start", it.vlmc("list", expect=NOT_RUNNING).stderr)
            it.archipelago("status", expect=NOT_RUNNING)
            it.start()
            pid = it.host_pid()
            it.archipelago("start")  # all of it: nothing to do
            self.assertIn("runs already", it.archipelago("start", "mapperd", expect=BUSY).stderr)
            self.assertIn("ghost", it.archipelago("start", "ghost", expect=NOT_FOUND).stderr)
            self.assertEqual(it.host_pid(), pid)
            it.archipelago("explain", "E-NOSUCH", expect=USAGE)
            self.assertIn("E-BUSY", it.archipelago("explain", "busy").stdout)

    def test_without_a_service(self):
        with Instance() as it:
            it.stop_service()
            for command in (it.vlmc, it.archipelago):
                done = command("list" if command == it.vlmc else "status", expect=NOT_RUNNING)
                self.assertIn("not running", (done.stdout + done.stderr).lower())


class Configuration(unittest.TestCase):
    CASES = [  # text, words of the diagnosis
        ("SEGMENT_SIZE = 10\n", ":1:"),
        ('SEGMENT_SIZE = "big"\n', ":1:"),
        ("SEGMENT_SIZES = 256\n", "SEGMENT_SIZE"),
        ("SEGMENT_SIZE = \n", ":1:"),
        ('[mapperd]\nblockerm_port = 4000\n', ":2:"),
        ('[vlmcd]\nnr_ops = 100\n', "power of two"),
        ('[blockerb]\narchip_dir = "relative"\n', ":2:"),
        ('[blockerb]\nshared = true\n', "5/9"),
        ('DEVICE_DRIVER = "auto"\n', "not built yet"),
        ('USER = "archipelago"\n', "USER"),
        ("roles = [('blockerb', 'file_blocker')]\nSEGMENT_PORTS = 2048\n", "config import"),
    ]

    def test_check_config_and_start_say_the_same(self):
        with Instance() as it:
            with open(it.config, encoding="utf-8") as f:
                good = f.read()
            for text, words in self.CASES:
                with self.subTest(text=text):
                    with open(it.config, "w", encoding="utf-8") as f:
                        f.write(text)
                    checked = it.archipelago("check-config", it.config, expect=USAGE)
                    self.assertIn(words, checked.stdout + checked.stderr)
                    started = it.archipelago("start", "--create-dirs", expect=USAGE)
                    self.assertIn(words, started.stderr)
                    it.archipelago("status", expect=NOT_RUNNING)
            self.assertFalse(os.path.exists(it.dir + "/blocks"))
            with open(it.config, "w", encoding="utf-8") as f:
                f.write(good)
            it.archipelago("check-config", it.config)
            it.start()


class Directories(unittest.TestCase):
    def refused(self, it, status, *words):
        """A start that must fail, naming its role, and leave nothing running."""
        done = it.archipelago("start", expect=status)
        for word in words:
            self.assertIn(word, done.stderr)
        it.archipelago("status", expect=NOT_RUNNING)
        self.assertFalse([p for p in os.listdir(it.run_dir + "/hosts") if p.endswith(".pid")])

    def test_stores(self):
        with Instance(create_dirs=False) as it:
            blocks, maps = it.dir + "/blocks", it.dir + "/maps"
            self.refused(it, NOT_FOUND, "blockerb", blocks, "--create-dirs")
            os.makedirs(blocks)
            os.makedirs(maps)
            self.refused(it, USAGE, "blockerb", "--create-dirs", "mounted")  # empty: an unmounted disk looks like this
            it.archipelago("start", "--create-dirs")
            it.vlmc("create", "v", "--size", "1")
            it.archipelago("stop")

            with self.subTest("a filesystem that is not mounted is refused, not served as zeros"):
                os.rename(maps, maps + ".away")
                os.makedirs(maps)
                self.refused(it, USAGE, "blockerm", "mounted")
                self.assertEqual(os.listdir(maps), [])
                os.rmdir(maps)
                os.rename(maps + ".away", maps)

            with self.subTest("somebody else's files"):
                os.rename(blocks, blocks + ".away")
                os.makedirs(blocks)
                shutil.copy("/etc/hostname", blocks)
                self.refused(it, USAGE, "blockerb", blocks)
                self.assertEqual(os.listdir(blocks), ["hostname"])
                shutil.rmtree(blocks)
                os.rename(blocks + ".away", blocks)

            with self.subTest("a file where the directory should be"):
                os.rename(blocks, blocks + ".away")
                shutil.copy("/etc/hostname", blocks)
                done = it.archipelago("start", expect=None)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(blocks, done.stderr)
                os.unlink(blocks)
                os.rename(blocks + ".away", blocks)

            with self.subTest("an identity that was damaged"):
                with open(maps + "/identity", "r+b") as f:
                    f.seek(20)
                    f.write(b"\xff\xff\xff\xff")
                done = it.archipelago("start", expect=None)
                self.assertIn(done.returncode, (USAGE, 9), done.stderr)
                self.assertIn("blockerm", done.stderr)
                it.archipelago("status", expect=NOT_RUNNING)

    def test_a_directory_that_cannot_be_written(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to make a directory that even its owner cannot write")
        with Instance() as it:
            it.start()
            it.archipelago("stop")
            mounted = subprocess.run(["mount", "--bind", "-o", "ro", it.dir + "/maps", it.dir + "/maps"], check=False).returncode == 0
            if not mounted:
                self.skipTest("this machine mounts nothing")
            try:
                subprocess.run(["mount", "-o", "remount,bind,ro", it.dir + "/maps"], check=True)
                done = it.archipelago("start", expect=None)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("blockerm", done.stderr)
                self.assertIn(it.dir + "/maps", done.stderr)
                it.archipelago("status", expect=NOT_RUNNING)
            finally:
                subprocess.run(["umount", it.dir + "/maps"], check=True)
            it.archipelago("start")


class Leftovers(unittest.TestCase):
    def test_a_second_service_is_refused(self):
        with Instance() as it:
            it.start()
            done = it.run(it.service_command(), expect=BUSY)
            self.assertIn(str(it.service.pid), done.stderr)
            it.archipelago("status")

    def test_two_instances_on_one_store(self):
        with Instance() as one:
            one.start()
            with Instance() as two:
                with open(two.config, "w", encoding="utf-8") as f:
                    f.write(f'SEGMENT_SIZE = 256\n[blockerb]\narchip_dir = "{one.dir}/blocks"\n[blockerm]\narchip_dir = "{one.dir}/maps"\n')
                done = two.archipelago("start", expect=BUSY)
                self.assertIn("blockerb", done.stderr)
                self.assertIn(str(one.host_pid()), done.stderr)
            one.archipelago("status")

    def test_stale_sockets_and_pid_files(self):
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", "4M")
            it.kill_host()
            it.stop_service()
            # What a power cut leaves: a socket nobody listens on, a pid file whose number may be anybody's by now.
            self.assertTrue(os.path.exists(it.run_dir + "/nbd.sock"))
            with open(it.run_dir + "/hosts/data.pid", "w", encoding="ascii") as f:
                f.write(f"{os.getpid()} 1\n")
            it.start_service()
            it.archipelago("start")
            it.archipelago("status")
            self.assertIn("v", it.volumes())

    def test_a_socket_somebody_else_listens_on(self):
        with Instance() as it:
            os.makedirs(it.run_dir, exist_ok=True)
            with socket.socket(socket.AF_UNIX) as other:
                other.bind(it.run_dir + "/nbd.sock")
                other.listen()
                done = it.archipelago("start", "--create-dirs", expect=BUSY)
                self.assertIn("nbd.sock", done.stderr)
                it.archipelago("status", expect=NOT_RUNNING)
            it.start()  # now it is stale

    def test_a_host_that_cannot_be_taken_over_can_be_stopped(self):
        with Instance() as it:
            it.start()
            it.vlmc("create", "v", "--size", "4M")
            pid = it.host_pid()
            it.stop_service(9)
            os.unlink(it.run_dir + "/hosts/data.sock")
            it.start_service()
            self.assertIn(str(pid), it.archipelago("status", expect=None).stdout)
            done = it.archipelago("start", expect=BUSY)
            self.assertIn(str(pid), done.stderr)
            self.assertIn("archipelago stop", done.stderr)
            it.archipelago("stop")
            it.archipelago("start")
            self.assertIn("v", it.volumes())


if __name__ == "__main__":
    unittest.main()

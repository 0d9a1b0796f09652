# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is measured: volumes of ours, and the others beside them, each a process with a Unix socket.

A Peer knows its fio targets (one job each) and which processes work for it. What serves a file has every block of it written
before anything is measured: holes and first writes are not in the figures.
"""
import os
import shutil
import socket
import subprocess

from instance import BIN, Instance
from measure import fio

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TITLES = {"raw": "raw file (no server)", "floor": "nbd-floor", "floor-null": "nbd-floor, no storage", "floor-files": "nbd-floor, files of 4 MiB", "nbdkit-file": "nbdkit file (page cache)",
          "nbdkit-null": "nbdkit null", "qsd-raw": "qemu-storage-daemon raw", "qsd-qcow2": "qemu-storage-daemon qcow2", "volume": "archipelago"}


class Peer:
    def __init__(self, key, targets, pids, title=None):
        self.key, self.targets, self.pids = key, targets, pids
        self.title = title or TITLES[key]
        self.flushes = key != "floor-files"


def floor_program():
    """The yardstick is built with the tests, which a release build does not have."""
    places = [os.path.dirname(BIN) + "/tests/nbd-floor", TOP + "/build/dev/tests/nbd-floor"]
    return next((p for p in places if os.path.exists(p)), None)


def volume_peer(it, size, names=("bench",), key="volume", title=None):
    """`size` MiB of each volume. All hosts of the instance work for it, wherever the roles are."""
    targets = [["--ioengine=nbd", "--uri=" + it.uri(name), f"--size={size}M"] for name in names]
    return Peer(key, targets, lambda: [it.host_pid(host) for host in it.hosts], title)


def written_volume(it, size, **more):
    """A volume of `size` MiB, every block of it written."""
    it.vlmc("create", "bench", "--size", f"{size}M")
    peer = volume_peer(it, size, **more)
    fill(peer.targets, it.dir)
    return peer


class Neighbours:
    """Starts the others in a folder, on files of `size` MiB, and ends them. One raw file serves all that use one directly."""

    def __init__(self, folder, size):
        self.folder, self.size = folder, size
        self.running, self.left_out = [], {}

    def get(self, key):
        """The peer, running and filled; None when its program is missing (left_out says so)."""
        program = {"raw": "fio", "floor": floor_program(), "nbdkit": "nbdkit", "qsd": "qemu-storage-daemon"}[key.split("-")[0]]
        if not program or not shutil.which(program):
            self.left_out[key] = f"{TITLES[key]}: {program or 'nbd-floor'} is not there"
            return None
        if key == "raw":
            return Peer(key, [["--ioengine=io_uring", "--direct=1", "--filename=" + self.raw()]], lambda: [])
        sock = f"{self.folder}/{key}.sock"
        command = {
            "floor": lambda: [program, sock, self.raw()],
            "floor-files": lambda: [program, sock, self.files()],
            "floor-null": lambda: [program, sock, "--null", str(self.size << 20)],
            "nbdkit-null": lambda: ["nbdkit", "-f", "-U", sock, "null", f"size={self.size}M"],
            "nbdkit-file": lambda: ["nbdkit", "-f", "-U", sock, "file", self.raw("cached")],
            "qsd-raw": lambda: self.storage_daemon(sock, "raw", self.raw()),
            "qsd-qcow2": lambda: self.storage_daemon(sock, "qcow2", self.qcow2()),
        }[key]()
        peer = self.start(key, sock, command)
        if key == "qsd-qcow2":
            fill(peer.targets, self.folder)
        return peer

    def start(self, key, sock, command):
        with open(sock + ".log", "w+", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
            self.running.append(process)
            Instance.wait_for(None, f"{TITLES[key]} to listen", lambda: process.poll() is not None or listens(sock))
            if process.poll() is not None:
                log.seek(0)
                raise AssertionError(f"{' '.join(command)}: exit {process.returncode}: {log.read()[-1000:]}")
        return Peer(key, [["--ioengine=nbd", f"--uri=nbd+unix:///?socket={sock}", f"--size={self.size}M"]], lambda: [process.pid])

    def raw(self, name="raw"):
        path = f"{self.folder}/{name}.img"
        if not os.path.exists(path):
            fill([["--ioengine=io_uring", "--direct=1", f"--size={self.size}M", "--filename=" + path]], self.folder)
        return path

    def files(self):
        """The same bytes in a file for each 4 MiB, as a volume's are."""
        path = self.folder + "/files"
        if not os.path.exists(path):
            os.mkdir(path)
            fill([["--ioengine=io_uring", "--direct=1", "--directory=" + path, f"--nrfiles={self.size // 4}", "--filesize=4M",
                   "--openfiles=64"]], self.folder)
        return path

    def qcow2(self):
        path = self.folder + "/q64.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=64k", path, f"{self.size}M"], check=True)
        return path

    @staticmethod
    def storage_daemon(sock, driver, path):
        return ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=file,filename={path},cache.direct=on,aio=io_uring",
                "--blockdev", f"driver={driver},node-name=disk,file=file,cache.direct=on", "--nbd-server", f"addr.type=unix,addr.path={sock}",
                "--export", "type=nbd,id=e,node-name=disk,name=,writable=on"]

    def close(self):
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait()


def listens(path):
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
        except OSError:
            return False
    return True


def fill(targets, folder, *how):
    """Writes all of them once, or as fio's arguments in `how` say."""
    fio(targets, [*(how or ("--rw=write", "--bs=1M", "--iodepth=8")), "--refill_buffers"], folder)

# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What test_hostile.py and test_fuzz.py share: a client that sends whatever it likes, a well-behaved one that is timed, and
what a host holds in memory, descriptors and buffers."""
import json
import os
import socket
import struct
import time

import nbd

from instance import BIN

OPTION, REPLY = 0x49484156454F5054, 0x0003E889045565A9
READ, WRITE, DISCONNECT, FLUSH, TRIM, ZEROES = 0, 1, 2, 3, 4, 6
GO = 7


def option(number, data, length=None):
    return struct.pack(">QII", OPTION, number, len(data) if length is None else length) + data


def go(name):
    return option(GO, struct.pack(">I", len(name)) + name.encode() + b"\0\0")


def command(kind, offset, length, flags=0, cookie=1):
    return struct.pack(">IHHQQI", 0x25609513, flags, kind, cookie, offset, length)


class Raw(socket.socket):
    """A connection to the NBD socket, with nobody who keeps its bytes in order. Times out after 30 s."""

    def __init__(self, it):
        super().__init__(socket.AF_UNIX)
        self.settimeout(30)
        self.connect(it.run_dir + "/nbd.sock")

    def receive(self, count):
        """`count` bytes, or what came before the end."""
        got = b""
        while len(got) < count:
            more = self.recv(count - len(got))
            if not more:
                break
            got += more
        return got

    def go(self, name):
        """Up to the transmission phase."""
        self.sendall(struct.pack(">I", 3) + go(name))
        assert len(self.receive(18)) == 18
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self.receive(20))
            assert magic == REPLY and not kind & 0x80000000, hex(kind)
            self.receive(length)
            if kind == 1:
                return self

    def at_end(self):
        """Waits until the server has closed; what it still sent is passed over."""
        try:
            while self.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True

    def push(self, data):
        """As much of it as the socket takes at once; the number of bytes. 0 also when the server has closed."""
        try:
            return self.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return 0


class Neighbour:
    """Writes, flushes and reads back, and times it. One operation after the other."""

    def __init__(self, it, name):
        self.client = nbd.NBD()
        self.client.connect_uri(it.uri(name))
        self.count = 0

    def work(self, rounds, between=lambda: None):
        """Seconds that each operation took; `between` runs untimed before each."""
        took = []
        for _ in range(rounds):
            between()
            self.count += 1
            data = self.count.to_bytes(8, "little") * 512
            offset = self.count * 7919 % 1024 * 4096
            began = time.monotonic()
            self.client.pwrite(data, offset)
            if self.count % 8 == 0:
                self.client.flush()
            assert self.client.pread(4096, offset) == data
            took.append(time.monotonic() - began)
        return took


def is_socket(link):
    try:
        return os.readlink(link).startswith("socket:")
    except OSError:
        return False  # closed since


class Holdings:
    """What a host holds now: private memory in bytes, sockets, and of the segment bytes of buffers (of all hosts together)."""

    def __init__(self, it, host="data"):
        pid = it.host_pid(host)
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            self.memory = next(int(line.split()[1]) * 1024 for line in f if line.startswith("RssAnon:"))
        self.sockets = sum(is_socket(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
        info = json.loads(it.run([BIN + "/xseg", "--run-dir", it.run_dir, "--json", "info"]).stdout)
        self.requests = info["requests"]["owned"]
        self.limit = info["data_bytes"]
        self.buffers = info["slabs"]["used"] * info["data_bytes"] // info["slabs"]["total"]

    def __str__(self):
        return f"{self.memory >> 20} MiB private, {self.sockets} sockets, {self.buffers >> 20} MiB of buffers, {self.requests} requests"

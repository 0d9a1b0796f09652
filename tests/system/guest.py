# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Linux guest in qemu, emulated (TCG), so that it runs anywhere: Debian's kernel, an initramfs that loads what a virtio disk
with ext4 needs and goes on from that disk, and a root file system on it of busybox and one script, guest_init.

The guest talks through its serial console: lines that begin with "GUEST". Anything a kernel says of errors fails the test."""
import glob
import os
import re
import select
import shutil
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUSYBOX = "/bin/busybox"
MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
TROUBLE = re.compile(r"I/O error|EXT4-fs (error|warning)|Kernel panic|BUG:|Oops|blocked for more than|GUEST wrong")

INITRAMFS_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
while read -r module; do /bin/busybox insmod "/modules/$module"; done < /modules/list
/bin/busybox mount -t ext4 /dev/vda /root || { echo "GUEST wrong: no root file system"; /bin/busybox poweroff -f; }
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /sbin/init
"""


def kernel():
    """Version of the newest Debian kernel that is here with its modules; "" when there is none."""
    versions = [path.removeprefix("/boot/vmlinuz-") for path in glob.glob("/boot/vmlinuz-*") if os.access(path, os.R_OK)]
    return max((v for v in versions if os.path.isdir("/lib/modules/" + v)), default="",
               key=lambda v: [int(n) for n in re.findall(r"\d+", v)])


def missing():
    """Why no guest can run here, in words; empty when one can."""
    lacks = [program for program in ("qemu-system-x86_64", "busybox", "cpio", "modprobe")
             if not shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin")]
    if not kernel():
        lacks.append("a readable /boot/vmlinuz-VERSION with its /lib/modules/VERSION")
    return ", ".join(lacks)


def make_initramfs(path, version):
    top = path + ".files"
    for folder in ("bin", "dev", "modules", "root"):
        os.makedirs(f"{top}/{folder}")
    shutil.copy(BUSYBOX, top + "/bin")
    listed = []
    for module in MODULES:
        shown = subprocess.run(["/sbin/modprobe", "-S", version, "--show-depends", module], capture_output=True, text=True, check=True).stdout
        for line in shown.splitlines():
            file = line.split()[1] if line.startswith("insmod ") else ""
            # What only works on some processors has a generic sibling in the list.
            if file and "/arch/" not in file and os.path.basename(file) not in listed:
                listed.append(os.path.basename(file))
                shutil.copy(file, top + "/modules")
    write(top + "/modules/list", "".join(name + "\n" for name in listed))
    write(top + "/init", INITRAMFS_INIT, 0o755)
    with open(path, "wb") as out:
        files = subprocess.run(["find", "."], cwd=top, capture_output=True, check=True).stdout
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=top, input=files, stdout=out, check=True)
    shutil.rmtree(top)


def make_root(path, megabytes):
    """An ext4 image of busybox and guest_init."""
    top = path + ".files"
    for folder in ("bin", "sbin", "proc", "sys", "dev", "tmp", "data"):
        os.makedirs(f"{top}/{folder}")
    shutil.copy(BUSYBOX, top + "/bin")
    shutil.copy(HERE + "/guest_init", top + "/sbin/init")
    os.chmod(top + "/sbin/init", 0o755)
    subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", top, path, f"{megabytes}M"], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)
    shutil.rmtree(top)


def write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, mode)


class Guest:
    """One that boots from `blockdev`, the value of qemu's option of that name, whose node is archipelago0. `words` go on the
    kernel's command line."""

    def __init__(self, it, blockdev, words):
        version = kernel()
        initramfs = it.dir + "/initramfs"
        make_initramfs(initramfs, version)
        self.text = ""
        self.seen = 0  # characters of it that line() has passed
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "256", "-nodefaults", "-nographic", "-no-reboot",
             "-serial", "stdio", "-kernel", "/boot/vmlinuz-" + version, "-initrd", initramfs, "-blockdev", blockdev,
             "-device", "virtio-blk-pci,drive=archipelago0",
             "-append", "console=ttyS0 quiet loglevel=4 panic=-1 " + words],
            env=it.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def line(self, pattern, seconds=240):
        """Waits for the next line that matches, and returns the match."""
        end = time.monotonic() + seconds
        while True:
            found = re.compile(pattern + r".*\n").search(self.text, self.seen)
            if found:
                self.seen = found.end()
                return found
            self.read(end, pattern)

    def read(self, end, what):
        ready, _, _ = select.select([self.qemu.stdout], [], [], max(0, end - time.monotonic()))
        more = os.read(self.qemu.stdout.fileno(), 65536) if ready else b""
        self.text += more.decode(errors="replace").replace("\r", "")
        if not more or TROUBLE.search(self.text):
            raise AssertionError(f"waited for {what!r}; the guest's last words:\n{self.text[-4000:]}")

    def end(self, seconds=60):
        """Until it has switched itself off; its trouble shows up to the last moment."""
        while True:
            ready, _, _ = select.select([self.qemu.stdout], [], [], seconds)
            more = os.read(self.qemu.stdout.fileno(), 65536) if ready else b""
            if not more:
                break
            self.text += more.decode(errors="replace")
        if self.qemu.wait(seconds) or TROUBLE.search(self.text):
            raise AssertionError(f"qemu: exit {self.qemu.returncode}; the guest's last words:\n{self.text[-4000:]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.qemu.kill()
        self.qemu.wait()
        self.qemu.stdout.close()

# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private Archipelago instance for tests: own bus, own directories, own processes, gone at the end.

Instance() makes the directories and a configuration and starts the bus and the service; start() starts the peers. Commands
run with a deadline and never wait for a terminal. Waiting is for events: a process's end, a file, a command's answer.
"""
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

BIN = os.environ.get("ARCHIPELAGO_BIN") or sys.exit("ARCHIPELAGO_BIN must name the folder of the built programs")

CONFIG = """SEGMENT_SIZE = {segment}
{extra}
[blockerb]
archip_dir = "{dir}/blocks"
[blockerm]
archip_dir = "{dir}/maps"
{sections}
"""


class CommandFailed(AssertionError):
    """A command ended with another status than the one expected."""


ROLES = ("blockerb", "blockerm", "mapperd", "vlmcd", "nbd")
APART = "".join(f'[hosts.{role}]\nroles = ["{role}"]\n' for role in ROLES)  # each role in a host of its own
SPLIT = """[hosts.data]
roles = ["blockerb", "blockerm", "mapperd", "vlmcd"]
[hosts.front]
roles = ["nbd"]
"""  # the gateway in a host of its own: clients stay connected whatever dies behind it
# What a test gets that does not care: the same tests run with the roles together and apart.
LAYOUT = APART if os.environ.get("ARCHIPELAGO_LAYOUT") == "apart" else ""


class Instance:
    def __init__(self, extra="", sections=LAYOUT, segment=256, create_dirs=True):
        self.dir = tempfile.mkdtemp(prefix="archipelago-test-", dir=os.environ.get("ARCHIPELAGO_TEST_DIR", "/var/tmp"))
        self.run_dir = self.dir + "/run"
        self.config = self.dir + "/archipelago.conf"
        self.create_dirs = create_dirs
        self.hosts = re.findall(r"\[hosts\.(\w+)\]", sections) or ["data"]
        self.service = self.bus = None
        self.write_config(extra, sections, segment)
        try:
            self.start_bus()
            self.start_service()
        except BaseException:  # nobody will have it to close
            self.close()
            raise

    # ---- configuration
    def write_config(self, extra="", sections="", segment=256):
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(CONFIG.format(dir=self.dir, extra=extra, sections=sections, segment=segment))

    # ---- processes
    def start_bus(self):
        self.bus = subprocess.Popen(
            ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--nosyslog", "--print-address=1",
             "--address=unix:path=" + self.dir + "/bus"], stdout=subprocess.PIPE, text=True)
        self.address = self.bus.stdout.readline().strip()
        assert self.address, "dbus-daemon printed no address"
        self.env = dict(os.environ, ARCHIPELAGO_BUS=self.address, PATH=BIN + ":/usr/bin:/bin:/usr/sbin:/sbin", LC_ALL="C.UTF-8",
                        NO_COLOR="1")

    def service_command(self):
        return [BIN + "/archipelagod", "--trial", "--dir", self.dir, "--run-dir", self.run_dir, "--config", self.config,
                "--bus", self.address]

    def start_service(self):
        read, write = os.pipe()
        os.makedirs(self.dir + "/log", exist_ok=True)
        try:
            with open(self.dir + "/log/archipelagod.log", "ab") as log:
                self.service = subprocess.Popen(self.service_command() + ["--ready-fd", str(write)], pass_fds=[write], stdout=log,
                                                stderr=log, env=self.env)
        finally:
            os.close(write)
        ready, _, _ = select.select([read], [], [], 20)
        said = os.read(read, 16) if ready else b""
        os.close(read)
        if not said:
            self.stop_service(signal.SIGKILL)
            raise CommandFailed("the service did not get ready:\n" + self.log("archipelagod"))

    def stop_service(self, how=signal.SIGTERM):
        if self.service:
            self.service.send_signal(how)
            self.service.wait(40)
            self.service = None

    def start(self, *args):
        return self.archipelago("start", *(["--create-dirs"] if self.create_dirs else []), *args)

    def host_pid(self, host="data"):
        with open(f"{self.run_dir}/hosts/{host}.pid", encoding="ascii") as f:
            return int(f.read().split()[0])

    def kill_host(self, host="data"):
        """SIGKILL; returns when the process is gone."""
        pid = self.host_pid(host)
        fd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        assert select.select([fd], [], [], 30)[0], "a killed process did not end"
        os.close(fd)

    def wait_running(self, seconds=20):
        """Until status says that everything is up."""
        self.wait_for("status ok", lambda: self.archipelago("status", expect=None).returncode == 0, seconds)

    def verify_segment(self):
        """`xseg verify` once nothing is under way any more: nothing held, leaked or broken. True when there was a segment."""
        if not any(n.endswith(".pid") for n in os.listdir(self.run_dir + "/hosts")):
            return False
        last = [None]

        def clean():
            last[0] = self.run([BIN + "/xseg", "--run-dir", self.run_dir, "verify"], expect=None)
            return last[0].returncode == 0
        try:
            self.wait_for("a clean segment", clean, 10)
        except AssertionError as e:
            raise CommandFailed(f"{e}: xseg verify: exit {last[0].returncode}\n{last[0].stdout[-3000:]}{last[0].stderr[-1000:]}") from None
        return True

    def close(self):
        try:
            if self.service and self.service.poll() is None:
                self.run(["archipelago", "stop", "-f"], None, timeout=60)
                self.stop_service()
        finally:
            self.stop_service(signal.SIGKILL)
            self.kill_leftovers()
            if self.bus:
                self.bus.kill()
                self.bus.wait()
                self.bus.stdout.close()
        if not os.environ.get("ARCHIPELAGO_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def kill_leftovers(self):
        hosts = self.run_dir + "/hosts"
        for name in os.listdir(hosts) if os.path.isdir(hosts) else []:
            if name.endswith(".pid"):
                try:
                    self.kill_host(name[:-4])
                except (OSError, ValueError, AssertionError):
                    pass

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if not kind:
                self.verify_segment()
        except BaseException:
            kind = True
            raise
        finally:
            if kind:
                for name in sorted(os.listdir(self.dir + "/log")):
                    print(f"---- {name}\n{self.log(name[:-4])[-6000:]}", file=sys.stderr)
            self.close()

    def log(self, name):
        try:
            with open(f"{self.dir}/log/{name}.log", encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    # ---- commands
    def run(self, command, expect=0, timeout=60, **more):
        """Runs a command; `expect`: its exit status, None = any. Returns the CompletedProcess."""
        done = subprocess.run(command, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                              check=False, **more)
        if expect is not None and done.returncode != expect:
            raise CommandFailed(f"{' '.join(map(str, command))}: exit {done.returncode}, expected {expect}\n"
                                f"stdout: {done.stdout[-3000:]}\nstderr: {done.stderr[-3000:]}")
        return done

    def archipelago(self, *args, expect=0, timeout=60):
        return self.run([BIN + "/archipelago", *args], expect, timeout)

    def vlmc(self, *args, expect=0, timeout=60):
        return self.run([BIN + "/vlmc", *args], expect, timeout)

    def volumes(self):
        return {v["name"]: v for v in json.loads(self.vlmc("list", "--json").stdout)["items"]}

    def uri(self, name):
        return f"nbd+unix:///{urllib.parse.quote(name)}?socket={self.run_dir}/nbd.sock"

    def wait_for(self, what, condition, seconds=20):
        """Waits for an event that has no descriptor to wait on (a state another process shows)."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError("waited in vain for " + what)
            select.select([], [], [], 0.02)


class Load:
    """fio that writes and verifies until it is told to end; what it finds wrong ends it at once. Give it a --verify_backlog: fio 3.33
    verifies its second pass wrongly, behind qemu-nbd as well, and a run that ends before its first has verified nothing."""

    def __init__(self, it, volume, *args):
        self.output = f"{it.dir}/fio-{volume}.txt"
        self.fio = subprocess.Popen(
            ["fio", "--name=load", "--ioengine=nbd", "--uri=" + it.uri(volume), "--verify=crc32c", "--verify_fatal=1",
             "--verify_state_save=0", "--randrepeat=0", "--time_based", "--runtime=7200", "--output=" + self.output, *args],
            env=it.env, stdin=subprocess.DEVNULL)

    def check(self):
        if self.fio.poll() is not None:
            raise AssertionError("fio ended:\n" + self.text())

    def text(self):
        with open(self.output, encoding="utf-8") as f:
            return f.read()

    def end(self):
        """Lets it finish what is in flight; it must have found nothing."""
        self.check()
        self.fio.send_signal(signal.SIGINT)
        status = self.fio.wait(60)
        text = self.text()
        if status not in (0, 128) or not re.search(r"err= ?0", text) or "verify:" in text:  # 128: ended by us
            raise AssertionError(f"fio: exit {status}\n{text}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.fio.kill()
        self.fio.wait()


def rounds(check, soak):
    """How often: `check` times, or `soak` times in the soak. Also prints and returns the dice of this run."""
    seed = int(os.environ.get("ARCHIPELAGO_SEED") or random.randrange(1 << 32))
    count = soak if os.environ.get("ARCHIPELAGO_SOAK") else check
    print(f"seed {seed} (ARCHIPELAGO_SEED), {count} rounds", flush=True)
    return count, random.Random(seed)


def stored_bytes(*dirs):
    """What files occupy on disk, in bytes."""
    total = 0
    for top in dirs:
        for folder, _, files in os.walk(top):
            total += sum(os.stat(os.path.join(folder, f), follow_symlinks=False).st_blocks * 512 for f in files)
    return total


def make_image(path, megabytes=32):
    """An ext4 image with real files of this machine."""
    source = path + ".files"
    os.makedirs(source)
    budget = megabytes * 1024 * 1024 // 2
    for folder, _, files in os.walk("/usr/share/doc"):
        for name in sorted(files):
            full = os.path.join(folder, name)
            if os.path.islink(full) or not os.path.isfile(full):
                continue
            size = os.path.getsize(full) + 4096
            if size > budget:
                continue
            budget -= size
            target = os.path.join(source, os.path.relpath(full, "/usr/share/doc"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(full, target)
        if budget < 65536:
            break
    subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", source, path, f"{megabytes}M"], check=True,
                   stdin=subprocess.DEVNULL)
    shutil.rmtree(source)

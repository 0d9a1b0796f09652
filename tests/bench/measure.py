# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""One sample: fio against one peer, and what the machine spent meanwhile.

Absolute times mean little on a shared machine. What counts is the ratio inside one round, and the CPU time (user and system,
all threads, the kernel's io_uring workers among them) that the peer's processes took for one I/O. So peers take turns within
a round, and every second round has the reverse order.
"""
import json
import os
import subprocess
import time


class MeasureFailed(Exception):
    """fio could not do it."""


def cpu_seconds(pid):
    """User and system time of a process since it began, in ns resolution (clock_getcpuclockid of another process)."""
    return time.clock_gettime((~pid << 3) | 2)


def busy_seconds():
    """What all processors did since boot but idle and wait; what a hypervisor took from them counts as busy."""
    with open("/proc/stat", encoding="ascii") as f:
        fields = [int(n) for n in f.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def fio(targets, more, folder, timeout=600):
    """Runs fio with a job for each target; what its group did, as fio's JSON has it."""
    out = folder + "/fio.json"
    command = ["fio", "--output-format=json", "--output=" + out, "--group_reporting", "--thread", "--name=global", "--randrepeat=0", *more]
    for target in targets:
        command += ["--name=job", *target]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise MeasureFailed(f"{' '.join(command)[:400]}: exit {done.returncode}\n{done.stderr[-1000:]}")
    with open(out, encoding="utf-8") as f:
        text = f.read()
    return json.loads(text[text.index("{"):])["jobs"][0]  # before it: what engines print


def sample(peer, case, seconds, folder):
    """One dictionary: rate (in the case's unit), latencies, and CPU time per I/O in microseconds."""
    pids = peer.pids()
    began, busy = time.monotonic(), busy_seconds()
    server = [cpu_seconds(pid) for pid in pids]
    job = fio(peer.targets, [*case.fio(), "--time_based", f"--runtime={round(seconds * 1000)}ms"], folder)
    used = sum(cpu_seconds(pid) - before for pid, before in zip(pids, server))
    elapsed, busy = time.monotonic() - began, busy_seconds() - busy
    stats = job["read" if case.reads else "write"]
    ios = max(1, stats["total_ios"])
    client = (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] / 1000
    return {"rate": stats["iops"] if case.unit == "IOPS" else stats["bw_bytes"] / (1 << 20),
            "p50_us": stats["clat_ns"]["percentile"]["50.000000"] / 1000,
            "p99_us": stats["clat_ns"]["percentile"]["99.000000"] / 1000,
            "ios": stats["total_ios"],
            "server_cpu_us": used * 1e6 / ios if pids else None,
            "client_cpu_us": client * 1e6 / ios,
            "others_cpu_share": max(0.0, busy - used - client) / elapsed / os.cpu_count()}


def interleaved(peers, cases, options, folder, told):
    """All samples: each case in rounds over all peers. `told(case, samples)` is called when a case is complete."""
    samples = []
    for key, case in cases.items():
        of_case = []
        for number in range(options.rounds):
            for peer in peers[::-1] if number % 2 else peers:
                if case.fsync and not peer.flushes:
                    continue
                of_case.append({"case": key, "round": number, "peer": peer.key, **sample(peer, case, options.seconds, folder)})
        samples += of_case
        told(key, of_case)
    return samples

# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables for people, and the environment that a file of samples needs to be understood later."""
import os
import platform
import re
import statistics
import subprocess

from verdict import METRICS, per_round


def middle(samples, peer, key):
    values = [s[key] for s in samples if s["peer"] == peer and s[key] is not None]
    return statistics.median(values) if values else None


def number(value, digits=0, width=9):
    return f"{'-' if value is None else format(value, f'.{digits}f'):>{width}}"


def against(samples, case, peer, base, metric):
    try:
        values = per_round(samples, case, peer, base, METRICS[metric][0])
    except (TypeError, ZeroDivisionError):  # a peer without a server has no CPU time
        values = []
    return number(statistics.median(values) if values and peer != base else None, 2, 13)


def table(case_key, case, peers, bases, samples):
    """One case: a row for each peer, medians over the rounds; ratios are medians of same-round ratios."""
    keys = [p.key for p in peers]
    bases = [b for b in bases if b in keys]
    lines = [f"{case.title:38}{case.unit:>9}" + "".join(f"{'/' + b:>13}" for b in bases) + f"{'p50 us':>9}{'p99 us':>9}{'CPU us/IO':>11}" +
             "".join(f"{'/' + b:>13}" for b in bases if b != "raw")]
    for peer in peers:
        lines.append(f"  {peer.title:36}" + number(middle(samples, peer.key, "rate")) +
                     "".join(against(samples, case_key, peer.key, b, "rate") for b in bases) +
                     number(middle(samples, peer.key, "p50_us")) + number(middle(samples, peer.key, "p99_us")) +
                     number(middle(samples, peer.key, "server_cpu_us"), 1, 11) +
                     "".join(against(samples, case_key, peer.key, b, "cpu") for b in bases if b != "raw"))
    return "\n".join(lines)


def verdict_lines(rows, cases, titles):
    for row in rows:
        sign = ">=" if row["metric"] == "rate" else "<="
        base = "" if row["metric"] == "cpu us" else " " + titles.get(row["base"], row["base"])
        yield (f"  {'must' if row['must'] else 'aim':5} {cases[row['case']].title:38} {titles.get(row['peer'], row['peer'])}: "
               f"{sign} {row['limit']:g} {METRICS[row['metric']][1]}{base}: {row['measured']:.2f} ({row['lowest']:.2f}-{row['highest']:.2f})"
               f"  {'holds' if row['holds'] else 'MISSED' if row['must'] else 'missed'}")


def first_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.split("\n")[0]
    except OSError:
        return None


def environment(binaries, folder):
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    build = None
    try:
        with open(os.path.dirname(binaries) + "/CMakeCache.txt", encoding="utf-8") as f:
            build = re.search(r"CMAKE_BUILD_TYPE:\w+=(.*)", f.read()).group(1)
    except (OSError, AttributeError):
        pass
    here = os.path.dirname(os.path.abspath(__file__))
    return {"kernel": platform.release(), "processors": os.cpu_count(), "processor": model and model.group(1),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "load_before": os.getloadavg(),
            "file_system": first_line("findmnt", "-no", "FSTYPE,SOURCE,OPTIONS", "-T", folder),
            "binaries": binaries, "build_type": build, "commit": first_line("git", "-C", here, "describe", "--always", "--dirty"),
            "fio": first_line("fio", "--version"), "nbdkit": first_line("nbdkit", "--version"),
            "qemu-storage-daemon": first_line("qemu-storage-daemon", "--version")}

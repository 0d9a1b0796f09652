# SPDX-FileCopyrightText: The Archipelago project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Goals, and whether the samples reach them.

A goal compares a peer with another one in the same case and the same round; the median over the rounds is what counts.
`must` decides the exit status; the others are aims, printed beside.
"""
import statistics
from typing import NamedTuple

METRICS = {  # name: (how two values of one round are compared, unit)
    "rate": (lambda a, b: a["rate"] / b["rate"], "x the rate of"),
    "cpu": (lambda a, b: a["server_cpu_us"] / b["server_cpu_us"], "x the CPU per I/O of"),
    "cpu+": (lambda a, b: a["server_cpu_us"] - b["server_cpu_us"], "us CPU per I/O above"),
    "cpu us": (lambda a, _: a["server_cpu_us"], "us CPU per I/O"),
}


class Goal(NamedTuple):
    case: str
    metric: str
    limit: float
    base: str = "floor"
    peer: str = "volume"
    must: bool = True

    @property
    def at_least(self):
        return self.metric == "rate"


def per_round(samples, case, peer, base, compare):
    """One value per round in which both were measured."""
    found = {(s["round"], s["peer"]): s for s in samples if s["case"] == case}
    rounds = sorted({r for r, _ in found})
    return [compare(found[r, peer], found[r, base]) for r in rounds if (r, peer) in found and (r, base) in found]


def judge(goals, samples):
    """A row for each goal: what was measured, its range, whether it holds. A case or peer nobody asked for gives no row."""
    rows = []
    for goal in goals:
        values = per_round(samples, goal.case, goal.peer, goal.base, METRICS[goal.metric][0])
        if not values:
            continue
        middle = statistics.median(values)
        rows.append({**goal._asdict(), "measured": middle, "lowest": min(values), "highest": max(values), "rounds": len(values),
                     "holds": middle >= goal.limit if goal.at_least else middle <= goal.limit})
    return rows


def holds(rows):
    """Nothing measured is nothing shown."""
    musts = [row["holds"] for row in rows if row["must"]]
    return bool(musts) and all(musts)

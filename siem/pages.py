#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Selects the records to page for: reads records as JSON lines from standard input, and writes one alert for each problem to
standard output.

    kcat -b BROKER -C -q -u -G pager meshtls-tap.findings | siem/dedup.py | siem/pages.py | ...

Each tap alerts (event.kind) once for a problem, so 40 replicas send 40 alerts with one meshtls.finding.group_id. The first of
them is written, and a later one only if it is more severe than those before. The group ends when each finding in it has ended
at each tap, or when no record of it came for 24 hours, as after its taps were killed: the next alert is then written again. An
argument sets another number of hours.

Records of one edge of one tap must come in order, as on a partition in Kafka. Others may come in any order.
"""
import datetime, json, signal, sys

signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end in silence with the reader of the output
if sys.argv[1:] in (["-h"], ["--help"]):
    print(__doc__)
    sys.exit()
try:
    (hours,) = map(float, sys.argv[1:] or ["24"])
    if not 0 < hours < 1e6:
        raise ValueError
except ValueError:
    print("usage: pages.py [HOURS] < RECORDS", file=sys.stderr)
    sys.exit(2)
silence = datetime.timedelta(hours=hours)
groups = {}  # by group_id: [highest severity written, open findings as (tap, run, edge), time of the latest record]
latest = None  # time of the latest record of all


def finding(line):
    """Returns kind, state, severity, group_id, identity and time of a finding, or None for any other line."""
    try:
        record = json.loads(line)
        event, meshtls = record["event"], record["meshtls"]
        if event["dataset"] != "meshtls.finding":
            return None
        tap = record.get("kubernetes", {}).get("pod", {}).get("uid", "")
        identity = tap, meshtls.get("run", ""), meshtls.get("edge", {}).get("key", "")
        time = datetime.datetime.fromisoformat(record["@timestamp"][:19])
        problem = meshtls["finding"]
        hash((identity, problem["group_id"]))  # a TypeError if one is a list
        return event["kind"], problem["state"], int(event["severity"]), problem["group_id"], identity, time
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def expire():
    """Forgets the groups without a record for the time of silence."""
    for group in [g for g, (_, _, last) in groups.items() if latest - last > silence]:
        del groups[group]


swept = 0
for number, line in enumerate(sys.stdin.buffer):
    found = finding(line)
    if found is None:
        continue
    kind, state, severity, group, identity, time = found
    latest = max(latest or time, time)
    if group in groups and time - groups[group][2] > silence:
        del groups[group]
    if number - swept >= 10000:
        swept = number
        expire()

    if state in ("resolved", "withdrawn"):
        if group in groups:
            groups[group][1].discard(identity)
            if not groups[group][1]:
                del groups[group]
        continue

    entry = groups.setdefault(group, [0, set(), time])
    entry[1].add(identity)
    entry[2] = max(entry[2], time)
    if kind == "alert" and severity > entry[0]:
        entry[0] = severity
        sys.stdout.buffer.write(line if line.endswith(b"\n") else line + b"\n")
        sys.stdout.buffer.flush()

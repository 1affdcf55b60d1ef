#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Finds missing and repeated records. Reads records as JSON lines from standard input, of any topics and in any order:

    kcat -b BROKER -C -e -q -o beginning -G audit-1 meshtls-tap.findings meshtls-tap.posture | siem/gaps.py

event.sequence counts from 1 in each run of a tap (meshtls.run) and each dataset; event.id is the same each time that a record
is sent. A record of tap read has no run, and is not understood. Exit status 1 if a record is missing, 2 if no record was understood.
"""
import collections, json, signal, sys

signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end in silence with the reader of the output
if sys.argv[1:] in (["-h"], ["--help"]):
    print(__doc__)
    sys.exit()
if len(sys.argv) > 1:
    print("usage: gaps.py < RECORDS (it takes no argument)", file=sys.stderr)
    sys.exit(2)

seen = collections.defaultdict(collections.Counter)  # by (tap, run, dataset): how often each sequence number came
ids, again, stopped, broken = set(), 0, set(), 0
for line in sys.stdin.buffer:
    try:
        record = json.loads(line)
        event, run = record["event"], record["meshtls"]["run"]
        tap = record.get("kubernetes", {}).get("pod", {}).get("uid", "")
        again += event["id"] in ids
        seen[tap, run, event["dataset"]][int(event["sequence"])] += 1
        ids.add(event["id"])
    except (ValueError, KeyError, TypeError, AttributeError):
        broken += 1
        continue
    if event.get("action") == "stopped":
        stopped.add((tap, run))
missing = 0
for (tap, run, dataset), numbers in sorted(seen.items()):
    first, last = min(numbers), max(numbers)
    gaps = [n for n in range(1, last) if n not in numbers]  # records deleted by retention count as missing too
    missing += len(gaps)
    end = "stopped" if (tap, run) in stopped else "runs, or was killed: its last records may be missing"
    print(f"{tap} {run} {dataset}: {first}-{last}, {len(gaps)} missing {gaps[:10] or ''}, {sum(numbers.values()) - len(numbers)} twice; {end}")
print(f"{len(ids)} records, {missing} missing, {again} came again, {broken} not understood")
if not ids:
    print("gaps.py: no record was understood: nothing is known about gaps", file=sys.stderr)
    sys.exit(2)
sys.exit(missing > 0)

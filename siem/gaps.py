#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Finds missing and repeated records. Reads records as JSON lines from standard input, of any topics and in any order:

    kcat -b BROKER -C -e -q -o beginning -G audit-1 meshtls-tap.findings meshtls-tap.posture | siem/gaps.py

event.sequence counts from 1 in each run of a tap (meshtls.run) and each dataset; event.id is the same each time that a record
is sent. Exit status 1 if a record is missing.
"""
import collections, json, sys

seen = collections.defaultdict(collections.Counter)  # by (tap, run, dataset): how often each sequence number came
ids, again, stopped, broken = set(), 0, set(), 0
for line in sys.stdin.buffer:
    try:
        record = json.loads(line)
        event, run = record["event"], record["meshtls"]["run"]
        tap = record.get("kubernetes", {}).get("pod", {}).get("uid", "")
        seen[tap, run, event["dataset"]][event["sequence"]] += 1
    except (ValueError, KeyError, TypeError):
        broken += 1
        continue
    again += event["id"] in ids
    ids.add(event["id"])
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
sys.exit(missing > 0)

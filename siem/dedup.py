#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Removes duplicates from records as JSON lines: reads standard input and writes each event.id once to standard output.

    kcat -b BROKER -C -q -u -G siem meshtls-tap.findings | siem/dedup.py | ...

It remembers the last million IDs (some 150 MB), since a repeated record comes minutes after the first one, not days. An argument
sets another number.
"""
import collections, json, signal, sys

signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end in silence with the reader of the output
if sys.argv[1:] in (["-h"], ["--help"]):
    print(__doc__)
    sys.exit()
if len(sys.argv) > 2 or not (sys.argv[1:] or ["1"])[0].isdecimal():
    print("usage: dedup.py [NUMBER] < RECORDS", file=sys.stderr)
    sys.exit(2)
limit = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
seen = collections.OrderedDict()
for line in sys.stdin.buffer:
    try:
        identity = json.loads(line)["event"]["id"]
        if identity in seen:
            continue
    except (ValueError, KeyError, TypeError):
        identity = None  # not a record of a tap: passed through
    if identity is not None:
        seen[identity] = None
        if len(seen) > limit:
            seen.popitem(last=False)
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()

#!/usr/bin/env python3
"""Scores the rules of a tap on the captures with known truth: score.py TAP FOLDER [-v] [CAPTURE...]

FOLDER has corpus, cases and stacks; expected.tsv (written by truth.py) has what must and may fire. Each capture is read with
every rule turned on: with mutual TLS declared for all peers, where all rules can fire, and without a declaration. A rule that is off
by default is read with its severity set. Over loopback nothing may fire; the same packets with other addresses are scored.
A hit is a connection that breaks a rule. Missed: fewer hits on an edge than must be. False: more than must and may be. A finding has the
number of its hits, not their connections. So captures in which the connections of an edge differ are also scored with each kind alone
(?without=), and the lines of an edge on which one rule both must and may fire are printed as mixed.
Exit status 1 if a hit is missed or false, or if a mixed line has no such capture.
"""
import collections, csv, json, os, subprocess, sys, tempfile, concurrent.futures
import known, recipes
from rules import RULES, edge_hash

HERE = os.path.dirname(os.path.abspath(__file__))
EVERYWHERE = '--cluster=0.0.0.0/0,::/0'     # addresses of edges are exact
DECLARED = '--expect=0.0.0.0/0=mtls,::/0=mtls'
ALL_ON = '--severity=key-exchange-not-post-quantum=21'


def hits(tap, path, *flags):
    """Returns {(edge, rule): hits} and the addresses of each edge."""
    done = subprocess.run([tap, 'read', '--output=json', '--emit=findings', EVERYWHERE, ALL_ON, *flags, path], capture_output=True, text=True, timeout=60)
    if 'panic' in done.stderr or done.returncode not in (0, 1):
        raise SystemExit(f'{path}: exit status {done.returncode}: {done.stderr[-300:]}')
    findings, count, where = collections.defaultdict(list), collections.Counter(), {}
    for line in done.stdout.splitlines():
        record = json.loads(line)
        if record['event']['dataset'] == 'meshtls.finding':
            records = findings[record['rule']['id'], record['meshtls'].get('edge', {}).get('key')]
            # Records count since the finding opened. One that opens after it was resolved counts anew
            if records and records[-1]['meshtls']['finding']['state'] != 'resolved':
                records.pop()
            records.append(record)
    for (rule, _), records in findings.items():
        for record in records:
            ends = (record.get('source', {}).get('ip'), record.get('destination', {}).get('ip'), record.get('destination', {}).get('port'))
            edge = edge_hash(ends)
            where[edge] = '{} > {}:{}'.format(*ends)
            count[edge, rule] += record['meshtls']['finding']['count']
    return {k: n for k, n in count.items() if n}, where


def score(tap, name, captures, expected, scratch):
    """Returns ({rule: [must, fired, missed, false, undecided hits]}, lines about disagreements)."""
    path, moved = recipes.build(name, captures, scratch)
    table, lines = collections.defaultdict(lambda: [0, 0, 0, 0, 0]), []
    if moved and name in captures:
        got, where = hits(tap, captures[name], DECLARED)
        for (edge, rule), n in got.items():
            if where[edge].startswith(('127.', '::1')):
                table[rule][3] += n
                lines.append(f'false    {name} over loopback: {rule} {n}x on {where[edge]}')
    for flags in ((DECLARED,), ()):
        got, where = hits(tap, path, *flags)
        for key in sorted({*got, *expected}):
            edge, rule = key
            must, may, why = expected.get(key, (0, 0, ''))
            if not flags and rule == 'tls-not-mutual':
                must, may = 0, must + may       # depends on what the tap expects of its own accord
            n = got.get(key, 0)
            missed, false = max(0, must - n), max(0, n - must - may)
            if missed or false:
                lines.append(f"{'missed  ' if missed else 'false   '} {name} {'declared' if flags else 'default'}: {rule} on {where.get(edge, edge)}: {n} hits, must {must}, may {may} ({why})")
            elif may and flags and '-v' in sys.argv:
                lines.append(f'undecided {name}: {rule} on {where.get(edge, edge)}: {n} hits, must {must}, may {may} ({why})')
            row = table[rule]
            row[2] += missed
            row[3] += false
            if flags:
                row[0] += must
                row[1] += n
                row[4] += may
    return table, lines


def main():
    arguments = [a for a in sys.argv[1:] if not a.startswith('-')]
    tap, folder, only = arguments[0], arguments[1], arguments[2:]
    expected = collections.defaultdict(dict)
    for row in csv.DictReader(open(os.path.join(HERE, 'expected.tsv')), delimiter='\t'):
        here = expected[row['capture']]
        if row['rule'] != '-':
            here[row['edge'], row['rule']] = int(row['must']), int(row['may']), row['why it may']
    total, bad = collections.defaultdict(lambda: [0, 0, 0, 0, 0]), []
    captures = {s[0]: s[1] for s in known.sources(folder)}
    unknown = [name for name in captures if name not in expected] + [n for name in expected for n, _ in recipes.parts(name) if n not in captures]
    if unknown:
        sys.exit('expected.tsv and the captures differ: ' + ', '.join(unknown))
    mixed = [(name, *key, *counts) for name, lines in expected.items() for key, counts in lines.items() if counts[0] and counts[1]]
    alone = [line for line in mixed if not any(n.startswith(line[0] + '?without=') for n in expected)]
    if alone:
        sys.exit('must and may on one edge, and no capture without the undecided connections: ' + '; '.join(f'{m[0]} {m[1]} {m[2]}' for m in alone))
    for name, edge, rule, must, may, _ in mixed:
        print(f'mixed     {name}: {rule} on {edge}: must {must}, may {may}')
    chosen = [name for name in expected if not only or any(o in name for o in only)]
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for table, lines in pool.map(lambda name: score(tap, name, captures, expected[name], scratch), chosen):
            bad += lines
            for rule, row in table.items():
                total[rule] = [a + b for a, b in zip(total[rule], row)]
    print('\n'.join(bad))
    print(f"{'rule':<32}{'must':>6}{'fired':>7}{'missed':>8}{'false':>7}{'undecided':>11}")
    for rule in RULES:
        must, fired, missed, false, may = total[rule]
        print(f'{rule:<32}{must:>6}{fired:>7}{missed:>8}{false:>7}{may:>11}')
    missed, false = (sum(row[i] for row in total.values()) for i in (2, 3))
    print(f'rules: {len(chosen)} captures, {len([n for n in chosen if n in captures])} of them as they are, {missed} missed, {false} false')
    sys.exit(1 if missed or false else 0)


if __name__ == '__main__':
    main()

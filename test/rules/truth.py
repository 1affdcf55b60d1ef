#!/usr/bin/env python3
"""Derives which rules each connection of the captures with known truth must break: truth.py FOLDER [--explain] [CAPTURE...]

FOLDER has corpus, cases and stacks. The sources are the truth files next to the captures and tshark's dissection, never the tap.
Writes the lines of expected.tsv: capture or recipe (see recipes.py), edge, rule, how many connections of the edge must break the rule, how
many may, and why it is not decided for those. Every other rule must not fire. README.md describes how each rule is derived.
"""
import copy, os, subprocess, sys, tempfile, concurrent.futures
import known, packets, recipes, rules, session

# Where tshark needs help: further options for a first and, if a connection has no handshake in it, a second reading. They name the
# protocol of a port that is not the protocol's own, as the truth files describe it.
OPTIONS = {
    'cases/ftp_mtls_then_ccc': ['-d tcp.port==2121,ftp'], 'cases/ldap_starttls_ldaps_clear': ['-d tcp.port==3890,ldap'],
    'cases/nats_info_then_mtls': ['-d tcp.port==4222,tls'], 'cases/nfs_rpc_with_tls': ['-d tcp.port==7000,tls'],
    'cases/pop3_stls_long_greeting': ['-d tcp.port==7000,pop'], 'cases/smtp_starttls_refused': ['-d tcp.port==7000,smtp'],
    'cases/text_banner_then_tls': ['without 1-9 -d tcp.port==7000,tls'],     # the banner's packets
    'cases/tls13_close_notify_then_http': ['-d tcp.port==7000,tls'], 'cases/two_handshakes12_cert_then_none': ['-d tcp.port==7000,tls'],
    'cases/vxlan_8472_flannel': ['-d udp.port==8472,vxlan'], 'cases/consul_rpc_byte_joined': ['-d tcp.port==8300,tls'],
    'corpus/tcp_hard__dcerpc_synthetic': ['-d tcp.port==445,dcerpc'],     # DCE-RPC without SMB
    'cases/smtp_starttls_banner_without_smtp': ['-d tcp.port==2525,smtp'], 'cases/postgres17_direct_tls': ['', '-d tcp.port==5432,tls'],
}

# Sequences of captures, for the rules that compare connections and that no capture breaks by itself
HISTORIES = (
    'stacks/s2n--s2n-mutual + stacks/s2n--s2n-oneway', 'stacks/s2n--s2n-oneway + stacks/s2n--s2n-mutual',
    'stacks/s2n--s2n-mutual + stacks/s2n--s2n-oneway?client=3', 'stacks/s2n--s2n-mutual + stacks/s2n--s2n-oneway?after=86400',
    'stacks/ssl3-tlslite-presented + stacks/ssl3-tlslite-declined?times=2',
    'stacks/s2n--s2n-mutual + cases/tds_clear?port=1433:8443', 'cases/tds_clear?port=1433:8443 + stacks/s2n--s2n-mutual',
    'stacks/s2n--s2n-mutual + cases/tds_clear?port=1433:8443&client=3', 'stacks/s2n--s2n-mutual + cases/tds_clear?port=1433:8443&client=3&after=7200',
    'stacks/s2n--s2n-oneway + cases/tds_clear?port=1433:8443&client=3', 'cases/redis_clear_mtls_declined?port=6379:6380',
    'stacks/node24--node24-mutual + stacks/rustls--rustls-mutual?times=2', 'stacks/rustls--rustls-mutual + stacks/node24--node24-mutual',
    'stacks/node24--node24-oneway + stacks/o12-rsa-static-oneway',
    # one TLS client, whose second server has no post-quantum group
    'stacks/pyossl4--pyossl4-mutual + stacks/pyossl4--s2n-mutual?times=2', 'stacks/pyossl4--s2n-mutual + stacks/pyossl4--pyossl4-mutual',
    'stacks/pyossl4--pyossl4-mutual + stacks/pyossl4--s2n-mutual?client=3',
    # all in one window of ten minutes
    'cases/le_frames_not_mongodb?at=1795964400&after=1&times=10', 'cases/le_frames_not_mongodb?at=1795964400&after=1&times=9',
    'cases/le_frames_not_mongodb?at=1795964400&after=1&times=10 + cases/thrift_framed?port=9090:5938',
    'cases/le_frames_not_mongodb?at=1795964400&after=120&times=10',     # in two windows
)


def read(name, path, add_truth, scratch):
    """Returns the connections of a capture, with the verdicts that are possible."""
    source, moved = recipes.build(name, {name: path}, scratch)
    truths = []
    for options in OPTIONS.get(name, ['']):
        words = options.split()
        if words[:1] == ['without']:
            source, whole = os.path.join(scratch, 'part-' + os.path.basename(path)), source
            subprocess.run(['editcap', whole, source, words[1]], check=True, capture_output=True)
            words = words[2:]
        again = [rules.Truth(c) for c in packets.read(source, words)]
        truths = [b if b.handshake.seen and not a.handshake.seen else a for a, b in zip(truths, again)] if truths else again
    for t in truths:
        t.verdicts, t.auth, t.why = known.from_packets(t)
    add_truth(truths)
    return truths


def moved(truths, options, clock, number):
    """Returns copies of TRUTHS with the OPTIONS of a recipe applied, and the time of the last packet. See recipes.build."""
    out, times = [], [when for t in truths for when in t.connection.times]
    wanted = int(options['at']) if 'at' in options and not number else None if clock is None else clock + int(options.get('after', 60))
    shift = 0 if wanted is None else wanted - int(min(times))
    swap = [int(p) for p in options['port'].split(':')] if 'port' in options else [None, None]
    for t in truths:
        if {port for _, port in t.connection.ends} & recipes.excluded(options):
            continue
        t = copy.copy(t)
        t.rules, t.connection = {}, copy.copy(t.connection)
        c = t.connection
        c.start, c.times, c.loopback = c.start + shift, [when + shift for when in c.times], False
        c.ends = tuple((f"10.99.0.{options['client']}" if 'client' in options and ip == '10.99.0.1' else ip,
                        port + number if number and port >= 32768 else swap[1] if port == swap[0] else port) for ip, port in c.ends)
        out.append(t)
    return out, int(max(times)) + shift


def derive(recipe, readings):
    """Returns the connections of a recipe with the rules that each must or may break. READINGS has the result of read for each capture."""
    parts = recipes.parts(recipe)
    if len(parts) == 1 and not parts[0][1]:
        truths = readings[recipe]
    else:
        truths, clock = [], None
        for name, options in parts:
            for number in range(int(options.get('times', 1))):
                more, clock = moved(readings[name], options, clock, number)
                truths += more
    rules.apply_rules(truths)
    return truths


def at_other_times(name, path, truths):
    """Yields recipes of a capture at times when one of its certificates is near its end, and when it has expired."""
    if not any(True for _ in recipes.records(recipes.content(path))):
        return
    leaves = [c for t in truths if t.verdicts and t.verdicts <= {'tls', 'mtls'} and rules.on_wire(t.connection) for c in t.handshake.certificates.values() if c.parsed]
    ends = sorted({c.end for c in leaves})
    if not ends or max(max(t.connection.times) for t in truths) - min(min(t.connection.times) for t in truths) > 86400 or ends[-1] > 0xf0000000:
        return
    first = next(c for c in leaves if c.end == ends[0])
    yield f'{name}?at={ends[0] - (first.end - first.begin) // 20}'
    yield f'{name}?at={ends[-1] + 86400}'


def apart(name, path, truths):
    """Yields recipes of a capture in which the connections of an edge differ in the rules that they must or may break: once with each kind of
    them alone. The tap reports the number of hits of an edge, so a wrong hit of one connection could hide the missing hit of another."""
    edges = {}
    for t in truths:
        if t.verdicts and rules.on_wire(t.connection):
            kinds = edges.setdefault(rules.edge_of(t.connection), {})
            kinds.setdefault(tuple(sorted((rule, state) for rule, (state, _) in t.rules.items())), set()).add(t.connection.client[1])
    if not any(True for _ in recipes.records(recipes.content(path))):
        return
    for kinds in edges.values():
        for clients in kinds.values():
            others = set().union(*kinds.values()) - clients
            if others:
                yield f"{name}?without={','.join(map(str, sorted(others)))}"


def lines(name, truths):
    """The lines of expected.tsv for a capture."""
    table = {}
    for t in truths:
        for rule, (state, why) in t.rules.items():
            entry = table.setdefault((rules.edge_hash(rules.edge_of(t.connection)), rule), [0, 0, set()])
            entry[state == 'may'] += 1
            if state == 'may':
                entry[2].add(why)
    for (edge, rule), (must, may, why) in sorted(table.items(), key=lambda e: (e[0][0], rules.RULES.index(e[0][1]))):
        yield '\t'.join((name, edge, rule, str(must), str(may), '; '.join(sorted(why))))


def main():
    explain = '--explain' in sys.argv
    arguments = [a for a in sys.argv[1:] if not a.startswith('-')]
    folder, only = arguments[0], arguments[1:]
    session.names('tls.handshake.ciphersuite')
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(2) as pool:
        captures = list(known.sources(folder))
        wanted = [c for c in captures if not only or any(o in c[0] or any(c[0] in h and o in h for h in HISTORIES) for o in only)]
        readings = dict(zip((c[0] for c in wanted), pool.map(lambda c: read(*c, scratch), wanted)))
    names = [c[0] for c in wanted] + [r for c in wanted for r in at_other_times(c[0], c[1], readings[c[0]])]
    names += [r for c in wanted for r in apart(c[0], c[1], derive(c[0], readings))]
    names += [h for h in HISTORIES if all(n in readings for n, _ in recipes.parts(h))]
    connections = 0
    if not explain:
        print('capture\tedge\trule\tmust\tmay\twhy it may')
    for name in names:
        truths = derive(name, readings)
        connections += len(truths)
        if not explain:
            print('\n'.join(lines(name, truths)) or f'{name}\t-\t-\t0\t0\t')
            continue
        print(name)
        for t in truths:
            print(f"  {t.connection} [{rules.edge_hash(rules.edge_of(t.connection))}] {t.handshake.state if t.handshake.seen else '-'} {'|'.join(sorted(t.verdicts)) or '-'} {t.auth} ({t.why})")
            for rule, (state, why) in t.rules.items():
                print(f'      {state} {rule}: {why}')
    print(f'{len(wanted)} captures, {len(names) - len(wanted)} made of them, {connections} connections', file=sys.stderr)


if __name__ == '__main__':
    main()

#!/usr/bin/env python3
"""Derives which rules each connection of the captures with known truth must break: truth.py FOLDER [--explain] [CAPTURE...]

FOLDER has corpus, cases and stacks. The sources are the truth files next to the captures and tshark's dissection, never the tap.
Writes the lines of expected.tsv: capture, edge, rule, how many connections of the edge must break the rule, how many may, and why it
is not decided for those. Every other rule must not fire. README.md describes how each rule is derived.
"""
import csv, glob, hashlib, json, os, re, subprocess, sys, tempfile, concurrent.futures
import packets, session

RULES = ('plaintext-edge', 'tls-not-mutual', 'mtls-downgrade', 'tls-version-weak', 'cipher-weak', 'certificate-expired', 'certificate-expiring',
         'certificate-weak', 'handshake-failed', 'plaintext-accepted', 'credentials-in-clear', 'identity-mismatch', 'edge-unjudged',
         'key-exchange-downgrade', 'key-exchange-not-post-quantum', 'tap-blind')
TLS_RULES = ('tls-version-weak', 'cipher-weak', 'certificate-expired', 'certificate-expiring', 'certificate-weak', 'identity-mismatch', 'key-exchange-not-post-quantum')
# Where tshark needs help: further options for a first and, if a connection has no handshake in it, a second reading. They name the
# protocol of a port that is not the protocol's own, as the truth files describe it.
OPTIONS = {
    'cases/ftp_mtls_then_ccc': ['-d tcp.port==2121,ftp'], 'cases/ldap_starttls_ldaps_clear': ['-d tcp.port==3890,ldap'],
    'cases/nats_info_then_mtls': ['-d tcp.port==4222,tls'], 'cases/nfs_rpc_with_tls': ['-d tcp.port==7000,tls'],
    'cases/pop3_stls_long_greeting': ['-d tcp.port==7000,pop'], 'cases/smtp_starttls_refused': ['-d tcp.port==7000,smtp'],
    'cases/text_banner_then_tls': ['without 1-9 -d tcp.port==7000,tls'],     # the banner's packets
    'cases/tls13_close_notify_then_http': ['-d tcp.port==7000,tls'], 'cases/two_handshakes12_cert_then_none': ['-d tcp.port==7000,tls'],
    'cases/vxlan_8472_flannel': ['-d udp.port==8472,vxlan'], 'cases/consul_rpc_byte_joined': ['-d tcp.port==8300,tls'],
    'cases/smtp_starttls_banner_without_smtp': ['-d tcp.port==2525,smtp'], 'cases/postgres17_direct_tls': ['', '-d tcp.port==5432,tls'],
}
# Connections that began as mutual TLS and continued as less, by the truth files' notes: the client's port
CONTINUED = {'cases/ftp_mtls_then_ccc': (47584, 47588), 'cases/two_handshakes12_cert_then_none': (40000,)}
# corpus: names of plaintext protocols in the truth files that score.py requires as plaintext; those that are guesses by the first bytes,
# and count only if tshark has no other name
NAMED, GUESSED = {'http1', 'http2', 'mysql', 'postgres', 'smtp'}, {'ftp', 'ldap?', 'socks', 'rdp'}
# tshark's names of plaintext protocols that schema/README.md lists
LISTED = {'http', 'http2', 'mysql', 'pgsql', 'smtp', 'ftp', 'ldap', 'dcerpc', 'smb', 'imap', 'pop', 'xmpp', 'socks', 'mqtt', 'resp', 'telnet', 'cql', 'thrift', 'nbd', 'tds'}
FRAMES = {'eth', 'ethertype', 'vlan', 'null', 'sll', 'ppp', 'pppoes', 'ip', 'ipv6', 'tcp', 'udp', 'data', 'data-text-lines'}


class Truth:
    """What is known of one connection: verdicts that are possible, and the client's authentication."""

    def __init__(self, connection):
        self.connection, self.handshake = connection, session.Handshake(connection)
        self.verdicts, self.auth, self.why = set(), None, ''
        self.continued = False
        self.rules = {}     # rule: ('must' | 'may', reason). What is absent must not fire

    def must(self, rule, why):
        self.rules[rule] = ('must', why)

    def may(self, rule, why):
        self.rules[rule] = ('may', why)


def on_wire(connection):
    a, b = connection.client[0], connection.server[0]
    return a != b and not connection.loopback and not any(x.startswith('127.') or x == '::1' for x in (a, b))


def endpoint(end):
    return f'{end[0]} {end[1]}'


def is_pair(connection, pair):
    """Reports whether a connection has the ends PAIR of a truth file. Loopback addresses were replaced, so their ports decide."""
    ends = (endpoint(connection.client), endpoint(connection.server))
    if all(e.split()[0] in ('::1', '::') or e.startswith('127.') for e in pair):
        ends, pair = tuple(e.split()[1] for e in ends), tuple(e.split()[1] for e in pair)
    return tuple(pair) == ends or tuple(pair) == ends[::-1]


def from_packets(t):
    """The verdicts that the packets alone allow."""
    c, h = t.connection, t.handshake
    if h.seen and (h.hello is not None or h.server_hello is not None):
        auth = h.client_auth()
        name = session.names('tls.handshake.ciphersuite').get(h.cipher, '') if h.cipher is not None else ''
        if '_WITH_NULL_' in name and h.state == 'established':
            return {'plaintext'}, auth, 'NULL cipher suite'
        if h.state == 'established':
            return ({'mtls'} if auth == 'presented' else {'tls'} if auth in ('declined', 'not_requested') else {'tls', 'mtls'}), auth, 'established'
        if h.state == 'failed':
            return {'failed'}, auth, 'handshake ended early'
        return {'tls', 'mtls', 'unknown', 'failed'}, auth, 'the capture does not show how the handshake ended'
    if not sum(c.bytes):
        return set(), None, 'no payload'
    if h.seen:
        return {'tls', 'mtls', 'unknown', 'encrypted'}, None, 'TLS records without a hello'
    if c.transport == 'udp' and c.protocols & {'quic', 'dtls'}:
        return {'tls', 'mtls', 'unknown', 'failed'}, None, 'no hello was dissected'
    if 'ssh' in c.protocols:
        return {'encrypted', 'unknown'}, None, 'SSH'
    known = c.protocols & LISTED
    if known and all(c.bytes) and c.transport == 'tcp' and not sealed(c):
        return {'plaintext'}, None, ' '.join(sorted(known))
    return {'plaintext', 'unknown', 'encrypted'}, None, 'tshark: ' + (' '.join(sorted(c.protocols - FRAMES)) or 'no protocol') + (', sealed' if sealed(c) else '') + ('' if all(c.bytes) else ', one direction')


def sealed(c):
    """Reports whether the protocol encrypts by its own means after a negotiation (GSS-API, NTLM)."""
    return any(k == 'ldap' and session.first(m, 'ldap.gssapi_encrypted_payload') is not None or
               k == 'dcerpc' and session.first(m, 'dcerpc.auth_level') == '6' for _, k, m, *_ in c.events)     # packet privacy


def orient(t, entry):
    """Takes the client from the truth file."""
    port = int(entry['client'].split()[1])
    if t.connection.ends[0][1] != t.connection.ends[1][1]:
        t.connection.role = 0 if t.connection.ends[0][1] == port else 1


def corpus_truth(expected, truths):
    """Adds what the truth file of a capture of the corpus has to TRUTHS."""
    nth = {}
    for entry in expected['tls']:
        pair = (entry['client'], entry['server'])
        nth[pair] = nth.get(pair, 0) + 1
        same = [t for t in truths if is_pair(t.connection, pair)]
        same = [t for t in same if t.handshake.seen] or same
        if len(same) < nth[pair]:
            raise SystemExit(f"{expected['id']}: the connection {pair} of the truth file is not in the capture")
        t = same[nth[pair] - 1]
        orient(t, entry)
        facts = {**entry['single_source_or_derived'], **entry['must']}
        cert = facts.get('client_cert_present')
        if cert is True and t.verdicts & {'tls', 'mtls'}:
            t.verdicts, t.auth = t.verdicts - {'tls'}, 'presented'
        elif cert is False and t.verdicts & {'tls', 'mtls'}:
            t.verdicts -= {'mtls'}
        t.verdicts -= set(entry.get('never') or [])
    for entry in expected['non_tls_tcp']:
        for t in truths:
            if not is_pair(t.connection, (entry['client'], entry['server'])):
                continue
            orient(t, entry)
            if not entry['score'] or not sum(t.connection.bytes):
                continue
            if entry['app_protocol'] == 'ssh':
                t.verdicts, t.why = {'encrypted'}, 'ssh'
            elif entry['app_protocol'] in NAMED and not sealed(t.connection) or entry['app_protocol'] in GUESSED and not t.connection.protocols - FRAMES:
                t.verdicts, t.why = {'plaintext'}, entry['app_protocol']


def cases_truth(expected, truths):
    used = set()
    for entry in expected['connections']:
        for i, t in enumerate(truths):
            ends = {endpoint(t.connection.client), endpoint(t.connection.server)}
            if i in used or not {entry['client'], entry['server']} <= ends:
                continue
            used.add(i)
            want = entry['expect']
            t.verdicts, t.why = {want['verdict']}, 'truth file'
            t.continued = t.connection.client[1] in CONTINUED.get('cases/' + expected['file'].removesuffix('.pcap'), ())
            if want['verdict'] == 'failed' and t.handshake.late:
                t.verdicts, t.why = {'failed', 'tls', 'unknown'}, 'TLS 1.3 encrypts the alert of a refusal'
            t.auth = want.get('client_auth') or t.auth
            break
        else:
            raise SystemExit(f"{expected['file']}: the connection {entry['client']} > {entry['server']} of the truth file is not in the capture")


def stacks_truth(row, truths):
    wants = row['client_auth'].split(',')
    data = [t for t in truths if sum(t.connection.bytes)]
    refused, note = 'refused' in row['note'], row['note']
    for want, t in zip(wants, data):
        sure = row['judgeable'] == 'yes'
        t.why = f"manifest: {want}"
        if 'NULL cipher' in note:
            t.verdicts, t.auth = {'plaintext'}, want
        elif refused:
            t.verdicts, t.auth = {'failed'}, want
        elif want == 'presented':
            t.verdicts, t.auth = ({'mtls'}, want) if sure else ({'mtls', 'tls', 'unknown'}, want)
        else:
            t.verdicts, t.auth = ({'tls'}, want) if sure else ({'tls', 'unknown'}, 'unproven')
    if len(data) != len(wants):
        raise SystemExit(f"{row['file']}: {len(data)} connections, the manifest has {len(wants)}")


def apply_rules(truths):
    for t in truths:
        if on_wire(t.connection) and t.verdicts and not is_dns(t.connection):
            connection_rules(t)
    history_rules([t for t in truths if on_wire(t.connection) and not is_dns(t.connection)])


def is_dns(c):
    """Class dns: DNS and nothing else from both ends at its port."""
    return 'dns' in c.protocols and 53 in (c.client[1], c.server[1])


def add(t, rule, sure, why):
    (t.must if sure else t.may)(rule, why if sure else f'{why}; {t.why}')


def connection_rules(t):
    """The rules that one connection breaks whatever others did."""
    c, h = t.connection, t.handshake
    if 'plaintext' in t.verdicts:
        add(t, 'plaintext-edge', t.verdicts == {'plaintext'}, 'plaintext')
    if 'failed' in t.verdicts:
        add(t, 'handshake-failed', t.verdicts == {'failed'}, 'failed')
    kinds, maybe = session.credentials(c)
    if kinds:
        t.must('credentials-in-clear', ' '.join(sorted(kinds)))
    elif maybe:
        t.may('credentials-in-clear', 'beyond what is searched: ' + ' '.join(sorted(maybe)))
    if not t.verdicts & {'tls', 'mtls'}:
        return
    sure = t.verdicts <= {'tls', 'mtls'}
    for rule, why in tls_facts(t):
        add(t, rule, sure and not why.startswith('?'), why)
    if 'tls' in t.verdicts and t.auth in ('declined', 'not_requested'):
        add(t, 'tls-not-mutual', sure, t.auth)
    elif 'tls' in t.verdicts and t.auth in (None, 'unproven'):
        t.may('tls-not-mutual', 'the packets do not show whether the client has a certificate')


def tls_facts(t):
    """Yields (rule, reason) for each rule about a TLS session whose condition the handshake fulfills; a reason that begins with ? is not certain."""
    c, h = t.connection, t.handshake
    if h.server_hello is not None:
        # SSL 2.0, SSL 3.0, TLS 1.0 and 1.1, DTLS 1.0 (0x0100 is OpenSSL's older number of it)
        if h.version in (0x0002, 0x0200, 0x0300, 0x0301, 0x0302, 0xfeff, 0x0100):
            yield 'tls-version-weak', f'version {h.version:#06x}'
        name = session.names('tls.handshake.ciphersuite').get(h.cipher, '')
        if re.search(r'_EXPORT|_anon_|RC4|RC2|DES|IDEA', name):
            yield 'cipher-weak', name
        if not h.late:
            yield 'key-exchange-not-post-quantum', f'version {h.version:#06x}'
        elif h.group is not None and h.group not in session.POST_QUANTUM:
            yield 'key-exchange-not-post-quantum', f'group {h.group}'
    for side, certificate in h.certificates.items():
        who = 'client' if side == h.side else 'server'
        if not certificate.parsed:
            for rule in ('certificate-expired', 'certificate-expiring', 'certificate-weak', 'identity-mismatch'):
                yield rule, f'?tshark does not parse the certificate of the {who}'
            continue
        left, life = certificate.end - c.start, certificate.end - certificate.begin
        if max(c.times) - min(c.times) > 86400:
            yield 'certificate-expired', '?the times of the packets of this connection are a day or more apart'
        elif left < 0:
            yield 'certificate-expired', f'{who}: {-left / 86400:.1f} days ago'
        elif left < life / 10:
            yield 'certificate-expiring', f'{who}: {left / 86400:.1f} of {life / 86400:.0f} days left'
        if certificate.weakness():
            yield 'certificate-weak', f'{who}: {certificate.weakness()}'
        if who == 'server' and h.name and not h.encrypted_hello and 0 < len(certificate.names + certificate.uris) <= 64:
            if not any(fits(h.name, n) for n in certificate.names):
                if not any(spiffe_fits(h.name, u) for u in certificate.uris):
                    yield 'identity-mismatch', f'asked for {h.name}, certificate of {(certificate.names + certificate.uris)[0]}'


def fits(asked, name):
    asked, name = asked.lower().rstrip('.'), name.lower().rstrip('.')
    if name.startswith('*.'):
        return '.' in asked and asked.split('.', 1)[1] == name[2:]
    parts = name.split('.')
    if len(parts) == 4 and parts[2:] == ['cluster', 'local'] and in_namespace(asked, parts[1]):
        return True
    return asked == name


def in_namespace(asked, namespace):
    labels = re.split(r'[._]', asked)
    return namespace in labels[1:] or not ('svc' in labels or len(labels) > 1)


def spiffe_fits(asked, uri):
    match = re.search(r'^spiffe://[^/]+.*/ns/([^/]+)', uri)
    return bool(match) and in_namespace(asked, match[1])


def history_rules(truths):
    """The rules that compare connections: downgrades, accepted plaintext, unjudged edges."""
    edges = {}
    for t in truths:
        if t.verdicts:
            edges.setdefault(edge_of(t.connection), []).append(t)
    for group in edges.values():
        downgrades(sorted(group, key=lambda t: t.connection.start))
        if len([t for t in group if 'unknown' in t.verdicts]) >= 10 and all('unknown' in t.verdicts for t in group):
            for t in group:
                t.may('edge-unjudged', 'ten connections or more without a known protocol')
    proofs = {}
    for t in truths:
        if 'mtls' in t.verdicts:
            proofs.setdefault(t.connection.server, []).append(t)
    for t in truths:
        near = [p for p in proofs.get(t.connection.server, []) if p is not t and abs(p.connection.start - t.connection.start) <= 3600]
        if 'plaintext' in t.verdicts and near and t.connection.bytes[1] and 'mtls-downgrade' not in t.rules:
            add(t, 'plaintext-accepted', t.verdicts == {'plaintext'} and any(p.verdicts == {'mtls'} for p in near), 'the server spoke mutual TLS too')


def downgraded(t, why):
    """One cause raises one alert: the other rules about plaintext do not fire."""
    t.must('mtls-downgrade', why)
    for rule in ('plaintext-edge', 'tls-not-mutual', 'plaintext-accepted', 'credentials-in-clear'):
        t.rules.pop(rule, None)


def downgrades(group):
    proven = open_proof = fallen = False
    hybrid, classical = False, False
    for t in group:
        h = t.handshake
        sure = t.verdicts <= {'tls', 'mtls'}
        if t.continued:
            downgraded(t, 'was mutual TLS itself')
            continue
        less = t.verdicts == {'plaintext'} or t.verdicts == {'tls'} and t.auth in ('declined', 'not_requested')
        if proven and less and not fallen:
            downgraded(t, 'mutual TLS before')
        elif (proven or open_proof) and not fallen and t.verdicts & {'plaintext', 'tls'} and t.verdicts != {'mtls'}:
            t.may('mtls-downgrade', 'mutual TLS before; ' + (t.why or 'not certain'))
        if t.verdicts & {'plaintext', 'tls'} and less:
            fallen = fallen or not proven
        proven = proven or t.verdicts == {'mtls'}
        open_proof = open_proof or 'mtls' in t.verdicts
        if sure and h.server_hello is not None:
            post_quantum = h.late and h.group in session.POST_QUANTUM
            if hybrid and not classical and 'key-exchange-not-post-quantum' in t.rules:
                t.rules.pop('key-exchange-not-post-quantum')
                t.must('key-exchange-downgrade', 'a post-quantum group before')
            hybrid, classical = hybrid or post_quantum, classical or not post_quantum and not hybrid


def edge_of(c):
    return (c.client[0], c.server[0], c.server[1])


def edge_hash(edge):
    """A name for an edge without its addresses."""
    return hashlib.sha256('{} {} {}'.format(*edge).encode()).hexdigest()[:8]


def sources(folder):
    """Yields (name, path, function that adds its truth) for each capture with truth in FOLDER."""
    for entry in json.load(open(os.path.join(folder, 'corpus', 'index.json'))):
        expected = json.load(open(os.path.join(folder, 'corpus', 'expected', entry['id'] + '.json')))
        yield 'corpus/' + entry['id'], os.path.join(folder, 'corpus', entry['file']), lambda truths, e=expected: corpus_truth(e, truths)
    for path in sorted(glob.glob(os.path.join(folder, 'cases', '*.truth.json'))):
        expected = json.load(open(path))
        yield 'cases/' + os.path.basename(path).removesuffix('.truth.json'), os.path.join(folder, 'cases', expected['file']), lambda truths, e=expected: cases_truth(e, truths)
    for row in csv.DictReader(open(os.path.join(folder, 'stacks', 'MANIFEST.tsv')), delimiter='\t'):
        row['note'] = row['note'] or ''
        yield 'stacks/' + row['file'].split('.pcap')[0], os.path.join(folder, 'stacks', row['file']), lambda truths, r=row: stacks_truth(r, truths)


def derive(name, path, add_truth, scratch):
    """Returns the connections of a capture with the rules that each must or may break."""
    path, moved = packets.plain_file(path, scratch)
    truths = []
    for options in OPTIONS.get(name, ['']):
        words, source = options.split(), moved or path
        if words[:1] == ['without']:
            source = os.path.join(scratch, 'part-' + os.path.basename(path))
            subprocess.run(['editcap', path, source, words[1]], check=True, capture_output=True)
            words = words[2:]
        again = [Truth(c) for c in packets.read(source, words)]
        truths = [b if b.handshake.seen and not a.handshake.seen else a for a, b in zip(truths, again)] if truths else again
    for t in truths:
        t.verdicts, t.auth, t.why = from_packets(t)
    add_truth(truths)
    apply_rules(truths)
    return truths


def lines(name, truths):
    """The lines of expected.tsv for a capture."""
    table = {}
    for t in truths:
        for rule, (state, why) in t.rules.items():
            entry = table.setdefault((edge_hash(edge_of(t.connection)), rule), [0, 0, set()])
            entry[state == 'may'] += 1
            if state == 'may':
                entry[2].add(why)
    for (edge, rule), (must, may, why) in sorted(table.items(), key=lambda e: (e[0][0], RULES.index(e[0][1]))):
        yield '\t'.join((name, edge, rule, str(must), str(may), '; '.join(sorted(why))))


def main():
    explain = '--explain' in sys.argv
    arguments = [a for a in sys.argv[1:] if not a.startswith('-')]
    folder, only = arguments[0], arguments[1:]
    session.names('tls.handshake.ciphersuite')
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(2) as pool:
        chosen = [s for s in sources(folder) if not only or any(o in s[0] for o in only)]
        connections = 0
        if not explain:
            print('capture\tedge\trule\tmust\tmay\twhy it may')
        for (name, *_), truths in zip(chosen, pool.map(lambda s: derive(*s, scratch), chosen)):
            connections += len(truths)
            if not explain:
                print('\n'.join(lines(name, truths)) or f'{name}\t-\t-\t0\t0\t')
                continue
            print(name)
            for t in truths:
                print(f"  {t.connection} [{edge_hash(edge_of(t.connection))}] {t.handshake.state if t.handshake.seen else '-'} {'|'.join(sorted(t.verdicts)) or '-'} {t.auth} ({t.why})")
                for rule, (state, why) in t.rules.items():
                    print(f'      {state} {rule}: {why}')
    print(f'{len(chosen)} captures, {connections} connections', file=sys.stderr)


if __name__ == '__main__':
    main()

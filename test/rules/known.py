"""What the truth files of the folders corpus, cases and stacks say about each connection."""
import csv, glob, json, os
import session

# Connections that began as mutual TLS and continued as less, by the truth files' notes: the client's port
CONTINUED = {'cases/ftp_mtls_then_ccc': (47584, 47588), 'cases/two_handshakes12_cert_then_none': (40000,)}
# corpus: names of plaintext protocols in the truth files that score.py requires as plaintext; those that are guesses by the first bytes,
# and count only if tshark has no other name
NAMED, GUESSED = {'http1', 'http2', 'mysql', 'postgres', 'smtp'}, {'ftp', 'ldap?', 'socks', 'rdp'}
# tshark's names of plaintext protocols that schema/README.md lists
LISTED = {'http', 'http2', 'mysql', 'pgsql', 'smtp', 'ftp', 'ldap', 'dcerpc', 'smb', 'imap', 'pop', 'xmpp', 'socks', 'mqtt', 'resp', 'telnet', 'cql', 'thrift', 'nbd', 'tds'}
VERSIONS = {0x300: 'SSL3.0', 0x301: 'TLS1.0', 0x302: 'TLS1.1', 0x303: 'TLS1.2', 0x304: 'TLS1.3'}
FRAMES = {'eth', 'ethertype', 'vlan', 'null', 'sll', 'ppp', 'pppoes', 'ip', 'ipv6', 'tcp', 'udp', 'data', 'data-text-lines'}


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
        ended = {'failed'} if any(c.fin) or any(c.reset) or h.alerts else set()
        if auth == 'not_requested' and h.hello is not None and not c.gaps:
            return {'tls'} | ended, auth, 'the capture does not show how the handshake ended'
        return {'tls', 'mtls', 'unknown'} | ended, auth, 'the capture does not show how the handshake ended'
    if not sum(c.bytes):
        return set(), None, 'no payload'
    if h.seen:
        return {'tls', 'mtls', 'unknown', 'encrypted'}, None, 'TLS records without a hello'
    if c.transport == 'udp' and c.protocols & {'quic', 'dtls'}:
        return {'tls', 'mtls', 'unknown'}, None, 'no hello was dissected'
    if 'ssh' in c.protocols:
        return {'encrypted', 'unknown'}, None, 'SSH'
    known = c.protocols & LISTED
    if sealed(c):
        return {'encrypted'}, None, 'sealed'
    if known and all(c.bytes) and c.transport == 'tcp':
        return {'plaintext'}, None, ' '.join(sorted(known))
    return {'plaintext', 'unknown', 'encrypted'}, None, 'tshark: ' + (' '.join(sorted(c.protocols - FRAMES)) or 'no protocol') + ('' if all(c.bytes) else ', one direction')


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
    """Adds the contents of the truth file of a capture of the corpus to TRUTHS."""
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
        h, name = t.handshake, session.names('tls.handshake.ciphersuite')
        if h.server_hello is not None and entry['must'].get('cipher') not in (None, name.get(h.cipher)):
            raise SystemExit(f"{expected['id']}: {pair}: cipher suite {name.get(h.cipher)}, the truth file has {entry['must']['cipher']}")
        version = entry['must'].get('version')
        if h.server_hello is not None and version and VERSIONS.get(h.version, version) != version:
            raise SystemExit(f"{expected['id']}: {pair}: version {h.version:#x}, the truth file has {version}")
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
                t.verdicts, t.why, t.refused = {'failed', 'tls', 'unknown'}, 'TLS 1.3 encrypts the alert of a refusal', True
            t.verdicts -= set(want.get('must_not', ()))
            if not t.verdicts:
                raise SystemExit(f"{expected['file']}: {entry['client']}: the truth file requires {want['verdict']} and forbids it")
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
        if t.handshake.state == 'established':
            t.verdicts.discard('unknown')
    if len(data) != len(wants):
        raise SystemExit(f"{row['file']}: {len(data)} connections, the manifest has {len(wants)}")


def sources(folder):
    """Yields (name, path, function that adds its truth to the connections) for each capture with truth in FOLDER."""
    for entry in json.load(open(os.path.join(folder, 'corpus', 'index.json'))):
        expected = json.load(open(os.path.join(folder, 'corpus', 'expected', entry['id'] + '.json')))
        yield 'corpus/' + entry['id'], os.path.join(folder, 'corpus', entry['file']), lambda truths, e=expected: corpus_truth(e, truths)
    for path in sorted(glob.glob(os.path.join(folder, 'cases', '*.truth.json'))):
        expected = json.load(open(path))
        yield 'cases/' + os.path.basename(path).removesuffix('.truth.json'), os.path.join(folder, 'cases', expected['file']), lambda truths, e=expected: cases_truth(e, truths)
    for row in csv.DictReader(open(os.path.join(folder, 'stacks', 'MANIFEST.tsv')), delimiter='\t'):
        row['note'] = row['note'] or ''
        yield 'stacks/' + row['file'].split('.pcap')[0], os.path.join(folder, 'stacks', row['file']), lambda truths, r=row: stacks_truth(r, truths)

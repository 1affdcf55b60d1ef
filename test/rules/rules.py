"""Which rules connections must and may break: docs/rules/*.md and schema/README.md ("The rules") applied to what session.py reads."""
import hashlib, re
import session

RULES = ('plaintext-edge', 'tls-not-mutual', 'mtls-downgrade', 'tls-version-weak', 'cipher-weak', 'certificate-expired', 'certificate-expiring',
         'certificate-weak', 'handshake-failed', 'plaintext-accepted', 'credentials-in-clear', 'identity-mismatch', 'edge-unjudged',
         'key-exchange-downgrade', 'key-exchange-not-post-quantum', 'tap-blind')


class Truth:
    """What is known of one connection: verdicts that are possible, and the client's authentication."""

    def __init__(self, connection):
        self.connection, self.handshake = connection, session.Handshake(connection)
        self.verdicts, self.auth, self.why = set(), None, ''
        self.continued = False      # began as mutual TLS and went on as less
        self.refused = False        # the truth file says that an end refused the handshake, which TLS 1.3 hides
        self.resumable = False      # this client had a full handshake before, whose session it may have resumed
        self.rules = {}     # rule: ('must' | 'may', reason). What is absent must not fire

    def must(self, rule, why):
        self.rules[rule] = ('must', why)

    def may(self, rule, why):
        self.rules[rule] = ('may', why)


# Protocols beside which a connection is not DNS alone
OTHER = {'tls', 'dtls', 'quic', 'ssh', *session.UPGRADES, 'http2', 'mqtt', 'telnet', 'resp', 'dcerpc', 'smb'}


def on_wire(connection):
    a, b = connection.client[0], connection.server[0]
    return a != b and not connection.loopback and not any(x.startswith('127.') or x == '::1' for x in (a, b))


def apply_rules(truths):
    full = {}   # when each client's first full handshake began
    for t in sorted(truths, key=lambda t: t.connection.start):
        t.rules = {}
        client = t.connection.client[0]
        t.resumable = full.get(client, t.connection.start) < t.connection.start
        if t.handshake.server_hello is not None and not t.handshake.resumed:
            full.setdefault(client, t.connection.start)
    for t in truths:
        if on_wire(t.connection) and t.verdicts and not is_dns(t.connection):
            connection_rules(t)
    history_rules([t for t in truths if on_wire(t.connection) and not is_dns(t.connection)])


def is_dns(c):
    """Class dns: DNS and nothing else at one of its ports. One end is enough, because a capture does not show the addresses of the resolvers."""
    names = c.protocols & {'dns', 'mdns'}
    return bool(names) and not c.protocols & (OTHER - names) and bool({53, 853, 5353, 15053} & {c.client[1], c.server[1]})


def add(t, rule, sure, why):
    (t.must if sure else t.may)(rule, why if sure else f'{why}; {t.why}')


def connection_rules(t):
    """The rules that one connection breaks, regardless of other connections."""
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
    # A handshake of TLS 1.2 or older shows whether it was completed; the end of one of TLS 1.3 is encrypted.
    for rule, why in tls_facts(t) if h.state == 'established' or h.late and not t.refused else ():
        add(t, rule, sure and h.state == 'established' and not why.startswith('?'), why)
    if shown_one_way(t):
        add(t, 'tls-not-mutual', sure, t.auth)
    elif maybe_one_way(t):
        t.may('tls-not-mutual', 'the packets do not show whether the client has a certificate')


def shown_one_way(t):
    """TLS without a client certificate. That the server requested none shows it by itself; a client that declined may have been refused, so
    the handshake must have been completed."""
    completed = t.handshake.state == 'established' or t.handshake.late and 'failed' not in t.verdicts
    return 'tls' in t.verdicts and (t.auth == 'not_requested' or t.auth == 'declined' and completed)


def maybe_one_way(t):
    """TLS of which neither the truth files nor tshark show the client's authentication, but a tap may know it: by the sizes of the server's
    encrypted records, or by the session that was resumed. Nobody can know it before the server has answered."""
    h = t.handshake
    if 'tls' not in t.verdicts or t.auth not in (None, 'unproven'):
        return False
    if h.seen and h.hello is None and h.server_hello is None:
        return True
    if h.server_hello is None:
        return False
    if h.late:
        return h.data[1 - h.side] or 'quic' in t.connection.protocols
    return h.state == 'established' and (t.resumable or not h.resumed)


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
        elif h.group in session.CLASSICAL:
            yield 'key-exchange-not-post-quantum', f'group {h.group}'
    for side, certificate in h.certificates.items():
        who = 'client' if side == h.side else 'server'
        if not certificate.parsed:
            for rule in ('certificate-expired', 'certificate-expiring', 'certificate-weak', 'identity-mismatch'):
                yield rule, f'?tshark does not parse the certificate of the {who}'
            continue
        left, life = certificate.end - c.start, certificate.end - certificate.begin
        # After an hour of silence (docs/rules/certificate-expired.md) what follows counts as another connection
        resumed = next((b for a, b in zip(c.times, c.times[1:]) if b - a > 3600), c.start)
        if left >= 0 and certificate.end < resumed:
            yield 'certificate-expired', '?more than an hour lies between two packets of the connection'
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


def name_of(t):
    """The name by which an edge knows its peer: SNI or Host. Without one it is the address."""
    hosts = [session.first(m, f) for _, k, m, *_ in t.connection.events if k in ('http', 'http2') for f in ('http.host', 'http2.headers.authority')]
    name = t.handshake.name or next((h for h in hosts if h), None) or ''
    return '' if re.fullmatch(r'[0-9.]*|.*[:\]].*', name) else name.lower()


def history_rules(truths):
    """The rules that compare connections: downgrades, accepted plaintext, unjudged edges."""
    edges = {}
    for t in truths:
        if t.verdicts:
            edges.setdefault((edge_of(t.connection), name_of(t)), []).append(t)
    for group in edges.values():
        downgrades(sorted(group, key=lambda t: t.connection.start))
        for window in {window_of(t) for t in group}:
            unjudged([t for t in group if window_of(t) == window])
    for t in truths:
        accepted(t, [p for p in truths if p is not t and 'mtls' in p.verdicts and p.connection.server == t.connection.server])


def window_of(t):
    """The window of TAP_WINDOW (10 minutes) in which a connection began."""
    return int(t.connection.start) // 600


def unjudged(group):
    """Ten connections of an edge or more in one window, and none that was judged."""
    if len(group) >= 10 and all('unknown' in t.verdicts for t in group):
        for t in group:
            add(t, 'edge-unjudged', all(g.verdicts == {'unknown'} for g in group), 'ten connections or more of no known protocol')


def accepted(t, proofs):
    """Plaintext that a server answered, which spoke mutual TLS at most an hour before, or later in the same window."""
    c = t.connection
    answer = next((session.first(m, 'http.response.code') for _, k, m, *_ in c.events if k == 'http' and session.first(m, 'http.response.code')), None)
    said = next((m['bytes'] for side, k, m, *_ in c.events if k == 'payload' and side != c.role), b'')
    alert = len(said) == 7 and said[:2] == b'\x15\x03' and said[3:5] == b'\0\2'
    near = [p for p in proofs if 0 <= t.connection.start - p.connection.start <= 3600 or window_of(p) == window_of(t)]
    if 'plaintext' in t.verdicts and near and c.bytes[1 - c.role] and answer != '400' and not alert and 'mtls-downgrade' not in t.rules:
        add(t, 'plaintext-accepted', t.verdicts == {'plaintext'} and any(p.verdicts == {'mtls'} for p in near), 'the server spoke mutual TLS too')


def downgraded(t, why):
    """One cause raises one alert: the other rules about plaintext do not fire."""
    t.must('mtls-downgrade', why)
    for rule in ('plaintext-edge', 'tls-not-mutual', 'plaintext-accepted', 'credentials-in-clear'):
        t.rules.pop(rule, None)


def downgrades(group):
    """GROUP: the connections of one edge with one peer, by their starts."""
    proven = maybe = mixed = fallen = False
    groups = {}     # by TLS client: whether a post-quantum group was used, another one, and whether the client fell back
    for t in group:
        h = t.handshake
        if t.continued:
            downgraded(t, 'was mutual TLS itself')
            continue
        less = t.verdicts == {'plaintext'} or t.verdicts == {'tls'} and shown_one_way(t)
        if less and (fallen or proven and not mixed):
            downgraded(t, 'mutual TLS before')
            fallen = True
        elif (proven or maybe) and ('plaintext' in t.verdicts or shown_one_way(t) or maybe_one_way(t)) and not (mixed and not fallen):
            t.may('mtls-downgrade', 'mutual TLS before; ' + (t.why or 'not certain'))
        mixed = mixed or less
        proven = proven or t.verdicts == {'mtls'}
        maybe = maybe or 'mtls' in t.verdicts
        known = not h.late or h.group in session.POST_QUANTUM | session.CLASSICAL
        if t.verdicts and t.verdicts <= {'tls', 'mtls'} and h.server_hello is not None and h.client_kind and known:
            post_quantum = h.late and h.group in session.POST_QUANTUM
            hybrid, classical, fell = groups.get(h.client_kind, (False, False, False))
            if not post_quantum and 'key-exchange-not-post-quantum' in t.rules and (fell or hybrid and not classical):
                t.rules.pop('key-exchange-not-post-quantum')
                t.must('key-exchange-downgrade', 'a post-quantum group before')
                fell = True
            groups[h.client_kind] = hybrid or post_quantum, classical or not post_quantum, fell


def edge_of(c):
    return (c.client[0], c.server[0], c.server[1])


def edge_hash(edge):
    """A name for an edge without its addresses."""
    return hashlib.sha256('{} {} {}'.format(*edge).encode()).hexdigest()[:8]

"""What a connection is, by tshark's dissection: its TLS handshake, certificates and credentials. No rule is applied here."""
import functools, re, subprocess
from packets import each, find, first

# RFC 8446, section 4.1.3
RETRY = 'cf:21:ad:74:e5:9a:61:11:be:1d:8c:02:1e:65:b8:91:c2:a2:11:16:7a:bb:8c:5e:07:9e:09:e2:c8:a8:33:9c'
# IANA, TLS Supported Groups: ML-KEM alone, in hybrids, and the drafts with Kyber that have a number. Nothing is known of a number in neither set.
POST_QUANTUM = {512, 513, 514, 4587, 4588, 4589, 4590, 25497, 25498}
CLASSICAL = {*range(1, 42), *range(256, 261)}
MD2_MD5_SHA1 = {'1.2.840.113549.1.1.2', '1.2.840.113549.1.1.4', '1.2.840.113549.1.1.5', '1.3.14.3.2.29', '1.3.14.3.2.15', '1.2.840.10045.4.1', '1.2.840.10040.4.3'}
# Protocols in which TLS may follow plaintext of the client
UPGRADES = {'http', 'socks', 'smtp', 'imap', 'pop', 'ftp', 'ldap', 'pgsql', 'mysql', 'xmpp', 'tds', 'nbd'}
SMALL_CURVES = {'1.2.840.10045.3.1.1': 192, '1.3.132.0.8': 160, '1.3.132.0.9': 160, '1.3.132.0.30': 160, '1.3.132.0.31': 192, '1.3.132.0.28': 128, '1.3.132.0.6': 112}


@functools.cache
def names(field):
    """IANA's names of the values of FIELD, as tshark has them."""
    out = subprocess.run(['tshark', '-G', 'values'], capture_output=True, text=True).stdout
    return {int(p[2], 0): p[3] for p in (l.split('\t') for l in out.splitlines()) if len(p) > 3 and p[0] == 'V' and p[1] == field}


class Certificate:
    """One certificate of a chain, by the fields of tshark's x509 dissectors."""

    def __init__(self, tree):
        def moment(name):
            node = first(tree, 'x509af.' + name + '_tree') or {}
            text = first(node, 'x509af.utcTime') or first(node, 'x509af.generalizedTime')
            return instant(text) if text else None
        self.begin, self.end = moment('notBefore'), moment('notAfter')
        outer = first(tree, 'x509af.algorithmIdentifier_element') or {}
        self.signature = first(outer, 'x509af.algorithm.id')
        key = first(tree, 'x509af.subjectPublicKeyInfo_element') or {}
        modulus = first(key, 'pkcs1.modulus')
        self.rsa = int(modulus.replace(':', ''), 16).bit_length() if modulus else None
        self.curve = first(key, 'pkcs1.namedCurve') or first(key, 'x509af.namedCurve') or next(find(key, 'pkixalgs.namedCurve'), None)
        self.parsed = self.begin is not None and self.end is not None and self.signature is not None
        self.names, self.uris, self.addresses = [], [], 0
        for extension in find(tree, 'x509af.Extension_element'):
            if isinstance(extension, dict) and extension.get('x509af.extension.id') == '2.5.29.17':
                self.names = [str(n) for n in find(extension, 'x509ce.dNSName')]
                self.uris = [str(u) for u in find(extension, 'x509ce.uniformResourceIdentifier')]
                self.addresses = len(list(find(extension, 'x509ce.IPAddress.ipv4'))) + len(list(find(extension, 'x509ce.IPAddress.ipv6')))

    def weakness(self):
        if self.rsa and self.rsa < 2048:
            return f'RSA key of {self.rsa} bits'
        if self.curve in SMALL_CURVES:
            return f'key of {SMALL_CURVES[self.curve]} bits'
        return 'signature ' + self.signature if self.signature in MD2_MD5_SHA1 else None


def instant(text):
    """Seconds since the epoch of tshark's '2026-11-29 14:39:49 (UTC)'."""
    import calendar
    parts = re.match(r'(\d+)-(\d+)-(\d+) (\d+):(\d+)(?::(\d+))?', text)
    return calendar.timegm(tuple(int(p or 0) for p in parts.groups()) + (0, 0, 0)) if parts else None


class Handshake:
    """The TLS handshakes of a connection. Fields are None if the packets do not have them."""

    def __init__(self, connection):
        c, messages = connection, [e for e in connection.events if e[1] in ('handshake', 'cipher', 'encrypted', 'data', 'alert', 'quic')]
        typed = [(side, int(m['tls.handshake.type']), m, at) for at, (side, kind, m, *_) in enumerate(messages) if kind == 'handshake']
        hellos = [t for t in typed if t[1] == 1]
        servers = [t for t in typed if t[1] == 2 and t[2].get('tls.handshake.random', '') != RETRY]
        self.seen = bool(messages)
        self.hello, self.server_hello = (hellos[0][2] if hellos else None), (servers[-1][2] if servers else None)
        self.side = hellos[0][0] if hellos else 1 - servers[0][0] if servers else None
        self.count = len(servers)
        self.data = [any(k == 'data' and s == side for s, k, *_ in messages) for side in (0, 1)]
        self.name = first(self.hello, 'tls.handshake.extensions_server_name') if self.hello else None
        self.encrypted_hello = bool(hellos) and any(m.get('tls.handshake.extension.type') == '65037' for m in walk(self.hello))
        self.client_kind = kind_of(self.hello) if self.hello else None
        self.version = self.cipher = self.group = None
        self.resumed = self.full = False
        self.alerts = [(s, m['level'], m['description'], at) for at, (s, k, m, *_) in enumerate(messages) if k == 'alert']
        self.certificates, self.empty, self.requested = {}, False, any(t[1] == 13 for t in typed)
        self.hello_done = any(t[1] in (14,) for t in typed)
        if self.server_hello is not None:
            chosen = first(self.server_hello, 'tls.handshake.extensions.supported_version')
            self.version = int(chosen or self.server_hello.get('tls.handshake.version', '0'), 16)
            self.cipher = int(first(self.server_hello, 'tls.handshake.ciphersuite') or first(self.server_hello, 'tls.handshake.cipherspec') or '0', 16)
            group = first(self.server_hello, 'tls.handshake.extensions_key_share_group')
            self.group = int(group) if group else None
        for side, kind, message, at in typed:
            if kind == 11:
                trees = [t for t in find(message, 'tls.handshake.certificate_tree') if isinstance(t, dict)]
                if trees:
                    self.certificates[side] = Certificate(trees[0])
                elif side == self.side and not first(message, 'tls.handshake.certificate'):
                    self.empty = True
        self.late = self.version is not None and (self.version == 0x304 or self.version >> 8 in (0x7f, 0x7e) or self.version in (0xfb1a, 0xfefc))
        self.full = any(k == 11 and s != self.side for s, k, *_ in typed) or any(k == 16 for _, k, *_ in typed) or any(k == 12 for _, k, *_ in typed)
        self.resumed = not self.late and self.server_hello is not None and not self.full and any(k == 'cipher' for _, k, *_ in messages)
        self.early = self.preceded(c, hellos) if hellos else None
        done = self.finished(c, messages, servers[-1][3] if servers else None)
        self.state = 'established' if done else self.broken(c)

    def finished(self, c, messages, after):
        """Reports whether both ends completed the handshake."""
        if after is None or self.side is None:
            return False
        rest = messages[after:]
        if c.transport == 'udp' and 'quic' in c.protocols:
            short = [s for s, k, m, *_ in rest if k == 'quic' and not m['long']]
            return 0 in short and 1 in short
        if self.late:
            answers, flight = False, 0
            for side, kind, message, *_ in rest:
                size = int(first(message, 'tls.record.length') or first(message, 'dtls.record.length') or 0) if kind == 'data' else 0
                if side == self.side and kind == 'data':
                    flight += 1
                elif kind == 'data' and flight and size > 24:
                    answers = True      # more than an alert: a ticket or data
            return flight > 0 and answers
        ends = {side for side, kind, *_ in rest if kind == 'cipher'}
        return ends == {0, 1} or all(self.data)

    def preceded(self, c, hellos):
        """Reports whether the client sent bytes of no protocol that tshark knows before its hello."""
        sent = next(e[3] for e in c.events if e[1] == 'handshake' and e[2] is hellos[0][2])
        return sent > 0 and not c.protocols & UPGRADES

    def broken(self, c):
        """'failed' if an end rejected or left the handshake, 'open' if the capture does not show how it ended."""
        if any(level == 2 for _, level, *_ in self.alerts):
            return 'failed'
        flight = self.late and self.side is not None and self.data[self.side]
        if flight or c.transport == 'udp' or c.gaps or not c.syn or self.early:
            return 'open'
        return 'failed' if any(c.fin) or any(c.reset) else 'open'

    def client_auth(self):
        """'presented', 'declined' or 'not_requested' if the handshake shows it in plaintext."""
        if self.server_hello is None or self.late or self.resumed or self.side is None:
            return None
        if self.side in self.certificates:
            return 'presented'
        if self.empty:
            return 'declined'
        return 'not_requested' if self.hello_done and not self.requested else None


def kind_of(hello):
    """The parts of two ClientHellos that docs/rules/key-exchange-downgrade.md compares: all but the groups and the parts that a resumption changes."""
    types = sorted({str(t) for t in find(hello, 'tls.handshake.extension.type')} - {'21', '35', '41', '42', '44', '45'})
    offered = [f'tls.handshake.{f}' for f in ('version', 'extensions.supported_version', 'ciphersuite', 'sig_hash_alg')]
    return tuple(tuple(map(str, find(hello, f))) for f in offered) + (first(hello, 'tls.handshake.extensions_alpn_str'), *types)


def walk(node):
    """All JSON objects below NODE."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for item in node:
            yield from walk(item)


def text(values):
    return ' '.join(str(v) for v in values)


SESSION = re.compile(r'session|sessid|token|jwt', re.I)


def session_cookie(name):
    words = re.split(r'[^A-Za-z0-9]+', re.sub(r'([a-z0-9])([A-Z])', r'\1 \2', name).lower())
    if 'csrf' in name.lower() or 'xsrf' in name.lower():
        return False
    return bool(SESSION.search(name)) or any(w in ('sid', 'sess') or w.endswith('auth') for w in words)


def http_kinds(request):
    """Kinds of credentials in the fields of one HTTP request."""
    for value in [*find(request, 'http.authorization'), *find(request, 'http.proxy_authorization'), *find(request, 'http2.headers.authorization'), *find(request, 'http2.headers.proxy_authorization')]:
        scheme, _, rest = str(value).strip().partition(' ')
        if scheme.lower() in ('basic', 'bearer', 'digest') and rest.strip():
            yield 'http_' + scheme.lower()
    for value in [*find(request, 'http.cookie'), *find(request, 'http2.headers.cookie')]:
        if any(session_cookie(pair.partition('=')[0].strip()) and pair.partition('=')[2].strip() for pair in str(value).split(';')):
            yield 'http_cookie'


def credentials(c):
    """Returns (kinds of credentials that tshark sees in plaintext before 4 KiB, kinds that may count)."""
    sure, maybe, requests, asked, user, plain_asked, prompt = set(), set(), 0, False, '', False, b''
    total = 0
    for side, kind, message, sent, _ in c.events:
        if kind == 'payload':
            total += len(message['bytes'])
        if kind == 'payload' and 'telnet' in c.protocols and total <= 4096:
            if side == 1:
                prompt = (prompt + message['bytes'])[-64:]
            elif prompt.rstrip().endswith(b'assword:') and message['bytes'].strip():
                sure.add('telnet_password')
                prompt = b''
        elif kind == 'http':
            code = first(message, 'http.response.code')
            if code:
                asked = code in ('401', '407')
            elif first(message, 'http.request.method'):
                requests += 1
                kinds = set(http_kinds(message))
                if requests == 1 or asked and not first(message, 'http.content_length_header'):
                    sure |= kinds
                else:
                    maybe |= kinds
        elif kind == 'http2':
            kinds = set(http_kinds(message))
            (sure if requests == 0 else maybe).update(kinds)
            requests += 1 if any(True for _ in find(message, 'http2.headers.method')) else 0
        elif kind in ('ftp', 'pop', 'imap', 'smtp', 'ldap', 'pgsql', 'mysql', 'mqtt', 'resp', 'xmpp'):
            found = set()
            if kind == 'ftp':
                if first(message, 'ftp.request.command') == 'USER':
                    user = str(first(message, 'ftp.request.arg') or '')
                if first(message, 'ftp.request.command') == 'PASS' and first(message, 'ftp.request.arg') and user.lower() != 'anonymous':
                    found.add('ftp_password')
            elif kind == 'pop' and str(first(message, 'pop.request.command')).upper() == 'PASS':
                found.add('pop3_password')
            elif kind == 'imap' and str(first(message, 'imap.request.command')).upper() == 'LOGIN':
                found.add('imap_password')
            elif kind == 'smtp' and (first(message, 'smtp.auth.password') or first(message, 'smtp.auth.username_password')):
                found.add('sasl')
            elif kind == 'ldap' and first(message, 'ldap.simple') and first(message, 'ldap.name'):
                found.add('ldap_simple_bind')
            elif kind == 'pgsql':
                if first(message, 'pgsql.authtype') == '3':
                    plain_asked = True
                elif first(message, 'pgsql.password') and plain_asked:
                    found.add('postgresql_password')
            elif kind == 'mysql' and 'mysql_clear_password' in text(find(message, 'mysql.client_auth_plugin')):
                maybe.add('mysql_password')
            elif kind == 'mqtt' and first(message, 'mqtt.passwd'):
                found.add('mqtt_password')
            elif kind == 'resp' and side == 0 and text(find(message, 'resp.bulk_string.value')).upper().startswith('AUTH'):
                found.add('redis_password')
            elif kind == 'xmpp' and 'PLAIN' in text(find(message, 'xmpp.auth.mechanism')):
                found.add('sasl_plain')
            (sure if total <= 4096 else maybe).update(found)
    return sure, maybe - sure

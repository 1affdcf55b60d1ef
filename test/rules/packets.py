"""Reads a capture with tshark: its connections, and what each of them says in plaintext."""
import json, subprocess

LAYERS = 'frame eth vxlan dcerpc ip ipv6 icmp icmpv6 tcp udp tls dtls quic http http2 ftp smtp imap pop ldap pgsql mysql mqtt telnet resp socks tds xmpp dns mdns'


def each(value):
    """The elements of a JSON value that tshark writes as a list only if there are several."""
    return [] if value is None else value if isinstance(value, list) else [value]


def find(node, name):
    """All values of the field NAME below NODE, in the order of the packet."""
    if isinstance(node, list):
        for item in node:
            yield from find(item, name)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == name:
                yield from each(value)
            if isinstance(value, (dict, list)):
                yield from find(value, name)


def first(node, name):
    return next(find(node, name), None)


class Connection:
    """What tshark shows of one TCP or UDP conversation. Side 0 is the end that sent the first packet."""

    def __init__(self, transport, ends, start):
        self.transport, self.ends, self.start, self.times = transport, ends, start, []
        self.role = 0       # side of the client
        self.syn, self.protocols = False, set()
        self.bytes, self.fin, self.reset = [0, 0], [False, False], [False, False]
        self.segments = [set(), set()]  # sequence numbers of the segments with payload
        self.gaps = False       # tshark misses a segment
        self.loopback = False   # Ethernet with two zero addresses: captured on lo
        self.events = []        # (side, kind, JSON, bytes that the side had sent before, time): TLS messages and those of plaintext protocols

    client = property(lambda self: self.ends[self.role])
    server = property(lambda self: self.ends[1 - self.role])

    def messages(self, kind=None, side=None):
        return [e for e in self.events if (kind is None or e[1] == kind) and (side is None or e[0] == side)]

    def __str__(self):
        return f'{self.client[0]} {self.client[1]} > {self.server[0]} {self.server[1]}'


def tls_events(layers):
    """Yields (kind, JSON) for each TLS message of a packet, in order: hello, certificate, alert, data ..."""
    for name in ('tls', 'dtls', 'quic', 'http', 'socks', 'tds'):
        for layer in each(layers.get(name)):
            for record in [r for n in ('tls.record', 'dtls.record') for r in find(layer, n)]:
                if not isinstance(record, dict):
                    continue
                prefix = 'dtls' if any(k.startswith('dtls.') for k in record) else 'tls'
                for message in each(record.get(prefix + '.handshake')):
                    if isinstance(message, dict) and prefix + '.handshake.type' in message:
                        yield 'handshake', {k.replace('dtls.', 'tls.', 1): v for k, v in message.items()}
                    else:
                        yield 'encrypted', record
                kind = record.get(prefix + '.record.content_type') or record.get(prefix + '.record.opaque_type')
                if prefix + '.handshake' not in record and 'tls.handshake.type' in record:      # SSL 2.0
                    yield 'handshake', record
                if prefix + '.change_cipher_spec' in record:
                    yield 'cipher', record
                alert = record.get(prefix + '.alert_message')
                if alert is not None:
                    level = first(record, prefix + '.alert_message.level')
                    yield ('alert', {'level': int(level), 'description': int(first(record, prefix + '.alert_message.desc'))}) if level else ('encrypted', record)
                if prefix + '.app_data' in record or kind == '23' and prefix + '.handshake' not in record:
                    yield 'data', record
            # QUIC carries handshake messages without TLS records
            if name == 'quic':
                for tls in find(layer, 'tls'):
                    for message in find(tls, 'tls.handshake'):
                        if isinstance(message, dict) and 'tls.handshake.type' in message:
                            yield 'handshake', message
                for packet in find(layer, 'quic.header_form'):
                    yield 'quic', {'long': packet == '1'}


PLAIN = ('http', 'http2', 'ftp', 'smtp', 'imap', 'pop', 'ldap', 'pgsql', 'mysql', 'mqtt', 'telnet', 'resp', 'xmpp', 'dcerpc')


def read(path, options=()):
    """Returns the connections of the capture at PATH, in the order of their first packets. OPTIONS are further ones of tshark."""
    command = ['tshark', '-n', '-r', path, '-T', 'json', '--no-duplicate-keys', '-o', 'tcp.reassemble_out_of_order:TRUE', '-J', LAYERS, *options]
    done = subprocess.run(command, capture_output=True)
    text = done.stdout.decode('utf8', 'replace').strip()
    if not text:
        return []
    if not text.endswith(']'):
        text += ']'
    table = {}
    for packet in json.loads(text):
        layers = packet['_source']['layers']
        transport = 'tcp' if 'tcp' in layers else 'udp' if 'udp' in layers else None
        if not transport or 'icmp' in layers or 'icmpv6' in layers:
            continue
        tunnel = [first(layer, 'vxlan.vni') for layer in each(layers.get('vxlan'))]
        if tunnel and transport == 'udp' and len(each(layers['udp'])) == 1:
            continue    # the tunnel's own packet: it carries no connection
        head = each(layers[transport])[-1]
        network = each(layers.get('ip') or layers.get('ipv6'))[-1]
        if 'ipv6' in layers and str(layers['frame']['frame.protocols']).rfind(':ipv6:') > str(layers['frame']['frame.protocols']).rfind(':ip:'):
            network = each(layers['ipv6'])[-1]
        version = 'ip' if 'ip.src' in network else 'ipv6'
        source = (network[version + '.src'], int(head[transport + '.srcport']))
        target = (network[version + '.dst'], int(head[transport + '.dstport']))
        when = float(layers['frame']['frame.time_epoch'])
        if tunnel:
            tunnel += sorted(first(each(layers['ip'])[0], f) for f in ('ip.src', 'ip.dst'))
        key = (transport, head[transport + '.stream'], *tunnel)
        connection = table.get(key)
        if connection is None:
            connection = table[key] = Connection(transport, (source, target), when)
        side = 0 if source == connection.ends[0] else 1
        ethernet = layers.get('eth')
        connection.loopback |= isinstance(ethernet, dict) and ethernet.get('eth.src') == ethernet.get('eth.dst') == '00:00:00:00:00:00'
        connection.times.append(when)
        sent = connection.bytes[side]
        if transport == 'tcp':
            flags = int(head['tcp.flags'], 16)
            if flags & 2:
                connection.syn = True
                if flags & 16 and not connection.bytes[0] + connection.bytes[1] and side == 0:
                    connection.ends, side = (target, source), 1
            connection.fin[side] |= bool(flags & 1)
            connection.reset[side] |= bool(flags & 4)
            analysis = json.dumps(head.get('tcp.analysis', ''))
            connection.gaps |= 'lost_segment' in analysis or 'ack_lost' in analysis
            if head['tcp.seq_raw'] not in connection.segments[side]:     # tshark takes the same bytes in another tunnel for retransmissions
                connection.bytes[side] += int(head['tcp.len'])
            if int(head['tcp.len']):
                connection.segments[side].add(head['tcp.seq_raw'])
        else:
            connection.bytes[side] += int(head['udp.length']) - 8
        connection.protocols |= set(str(layers['frame']['frame.protocols']).split(':'))
        for kind, message in tls_events(layers):
            connection.events.append((side, kind, message, sent, when))
        for name in PLAIN:
            for layer in each(layers.get(name)):
                if isinstance(layer, dict):
                    connection.events.append((side, name, layer, sent, when))
        if transport == 'tcp' and 'tcp.payload' in head:
            connection.events.append((side, 'payload', {'bytes': bytes.fromhex(head['tcp.payload'].replace(':', ''))}, sent, when))
    return list(table.values())

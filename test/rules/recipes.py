"""Captures made of captures: other addresses, ports and times, one after another.

A recipe is the name of a capture with truth, or several joined by " + ", each with options after "?" that are joined by "&":
  at=SECONDS      its first packet is at this time since the epoch (with times: that of the first copy)
  after=SECONDS   its first packet is so long after the last one of the capture before it (60 without the option)
  client=N        the last byte of the address 10.99.0.1
  port=A:B        B in the place of port A
  times=N         N copies, one after another, each with other ports of the clients
  without=A,B     without the packets from or to these ports
Connections over loopback get addresses at which the rules apply, in each recipe.
"""
import gzip, os, struct

LINKS = {0: 4, 1: 14, 12: 0, 101: 0, 113: 16, 276: 20}     # bytes of the link-layer header


def add(checksum, old, new):
    """The checksum of RFC 1071 after the bytes OLD were replaced by NEW (RFC 1624)."""
    total = ~checksum & 0xffff
    for at in range(0, len(old), 2):
        total += (~int.from_bytes(old[at:at + 2], 'big') & 0xffff) + int.from_bytes(new[at:at + 2], 'big')
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def records(raw):
    """Yields (seconds, fraction, packet without its link-layer header, bytes on the wire) of a pcap file; nothing if its format is another one."""
    if raw[:4] not in (b'\xd4\xc3\xb2\xa1', b'\x4d\x3c\xb2\xa1', b'\xa1\xb2\xc3\xd4', b'\xa1\xb2\x3c\x4d'):
        return
    order = '<' if raw[0] in (0xd4, 0x4d) else '>'
    skip, at = LINKS.get(struct.unpack(order + 'I', raw[20:24])[0]), 24
    while skip is not None and at + 16 <= len(raw):
        seconds, part, size, full = struct.unpack(order + 'IIII', raw[at:at + 16])
        packet = bytearray(raw[at + 16 + skip:at + 16 + size])
        at += 16 + size
        if packet and packet[0] >> 4 in (4, 6):
            yield seconds, part, packet, max(full - skip, len(packet))


def body(packet):
    """Returns (protocol, offset of its header) of an IP packet with TCP or UDP, or None."""
    if len(packet) < 40:
        return None
    protocol, at = (packet[9], (packet[0] & 15) * 4) if packet[0] >> 4 == 4 else (packet[6], 40)
    return (protocol, at) if protocol in (6, 17) and at + 18 <= len(packet) else None


def ports(packet):
    """The two ports of an IP packet; none if it has no TCP or UDP."""
    found = body(packet)
    return {int.from_bytes(packet[found[1] + n:found[1] + n + 2], 'big') for n in (0, 2)} if found else set()


def excluded(options):
    """The ports of the option without."""
    return {int(p) for p in options.get('without', '').split(',') if p}


def replace(packet, at, new, *checksums):
    old = bytes(packet[at:at + len(new)])
    packet[at:at + len(new)] = new
    for check in checksums:
        packet[check:check + 2] = add(int.from_bytes(packet[check:check + 2], 'big'), old, new).to_bytes(2, 'big')


def off_loopback(packet, senders):
    """Replaces the addresses of an IP packet over loopback: 10.99.0.1 or fd99::1 is the first sender of a pair of ports, 10.99.0.2 or fd99::2
    the other end. Reports whether the packet is one over loopback. SENDERS has the first port of each pair."""
    found = body(packet)
    four = packet[0] >> 4 == 4
    if not found or not (packet[12] == packet[16] == 127 if four else packet[8:24] == packet[24:40] == bytes(15) + b'\1'):
        return False
    protocol, at = found
    ports = bytes(packet[at:at + 2]), bytes(packet[at + 2:at + 4])
    ends = [bytes([10, 99, 0, n]) if four else b'\xfd\x99' + bytes(13) + bytes([n]) for n in (1, 2)]
    if senders.setdefault(frozenset(ports), ports[0]) != ports[0]:
        ends.reverse()
    replace(packet, 12 if four else 8, ends[0] + ends[1], at + (16 if protocol == 6 else 6), *([10] if four else []))
    return True


def change(packet, options, copy):
    """Applies the options client, port and times to a packet. COPY is the number of the copy, from 0."""
    found = body(packet)
    if not found:
        return
    protocol, at = found
    check = at + (16 if protocol == 6 else 6)
    if 'client' in options and packet[0] >> 4 == 4:
        for offset in (12, 16):
            if packet[offset:offset + 4] == bytes([10, 99, 0, 1]):
                replace(packet, offset, bytes([10, 99, 0, int(options['client'])]), check, 10)
    changed = {}
    if 'port' in options:
        old, new = options['port'].split(':')
        changed[int(old)] = int(new)
    for offset in (at, at + 2):
        port = int.from_bytes(packet[offset:offset + 2], 'big')
        if copy and port >= 32768:
            changed[port] = port + copy
        if port in changed:
            replace(packet, offset, changed[port].to_bytes(2, 'big'), check)


def parts(recipe):
    """Returns (name of a capture, options) for each part of a recipe."""
    return [(name, dict(o.split('=', 1) for o in options.split('&') if o)) for name, _, options in (p.partition('?') for p in recipe.split(' + '))]


def content(path):
    return (gzip.open if path.endswith('.gz') else open)(path, 'rb').read()


def unpacked(path, scratch):
    """Returns PATH, or a copy of the file without gzip: tshark does not read each such file."""
    if not path.endswith('.gz'):
        return path
    copy = os.path.join(scratch, os.path.basename(path).removesuffix('.gz'))
    with open(copy, 'wb') as f:
        f.write(content(path))
    return copy


def build(recipe, captures, scratch):
    """Returns (path of the capture that RECIPE names, whether it differs from the original). CAPTURES has the path of each capture."""
    pieces = parts(recipe)
    simple = len(pieces) == 1 and not pieces[0][1]
    out, clock, senders, moved = bytearray(struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 262144, 101)), None, {}, not simple
    for name, options in pieces:
        raw = content(captures[name])
        scale = 1000 if raw[:4] in (b'\x4d\x3c\xb2\xa1', b'\xa1\xb2\x3c\x4d') else 1
        for copy in range(int(options.get('times', 1))):
            shift = None
            for seconds, part, packet, full in records(raw):
                if shift is None:
                    wanted = int(options['at']) if 'at' in options and not copy else None if clock is None else clock + int(options.get('after', 60))
                    shift = 0 if wanted is None else wanted - seconds
                if ports(packet) & excluded(options):
                    continue
                moved |= off_loopback(packet, senders)
                change(packet, options, copy)
                clock = seconds + shift
                out += struct.pack('<IIII', clock, part // scale, len(packet), full) + packet
    if not moved:
        return unpacked(captures[pieces[0][0]], scratch), False
    path = os.path.join(scratch, recipe.replace('/', '-').replace(' ', '') + '.pcap')
    with open(path, 'wb') as f:
        f.write(out)
    return path, True

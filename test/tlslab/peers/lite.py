"""A peer program of the lab (see gopeer.go) that uses tlslite-ng. It can do what others cannot: records of 64 bytes, any padding.

It does not verify certificates: a client's certificate is presented, but not proved.
Options: limit=N (record size limit), pad=random|finished|N, pha, keyupdate, half (0.5-RTT data), fragment=N (the client
offers max_fragment_length N), context=N (the server requests a certificate with a context of N bytes, although RFC 8446,
section 4.3.2 requires an empty one). For each deception it prints a line that begins with "played".
"""
import random
import socket
import sys

from tlslite import messages, tlsconnection
from tlslite.api import HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey
from tlslite.extensions import TLSExtension

NAME = 'httpbin.lab.test'
REQUEST = b'GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\nConnection: close\r\n\r\n'
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nlab-pong'


def settings(version, options):
    s = HandshakeSettings()
    s.minVersion = s.maxVersion = (3, 3) if version == '1.2' else (3, 4)
    s.ticketKeys = [bytearray(range(32))]
    for o in options:
        if o.startswith('limit='):
            s.record_size_limit = int(o[6:])
        if o.startswith('context='):  # otherwise the empty Certificate is compressed
            s.certificate_compression_send = s.certificate_compression_receive = ()
    return s


def padding(word):
    """What tlslite-ng calls for each record of TLS 1.3: the bytes of padding that it gets."""
    def pad(length, kind, limit):
        n = random.randrange(1, 300)
        if word != 'random':
            n = (580 if word == 'finished' else int(word)) if kind == 22 else 0  # the size of a flight with a certificate
        if n:
            print('played padding', kind, length, n, flush=True)
        return n
    return pad


def connection(sock, options):
    c = TLSConnection(sock)
    for o in options:
        if o.startswith('pad='):
            c._recordLayer.padding_cb = padding(o[4:])  # the one in the settings is set on another object
    return c


def lie(options):
    """Changes what tlslite-ng says in its messages."""
    for o in options:
        if o.startswith('fragment='):
            offer(int(o[9:]))
        if o.startswith('context='):
            ask(int(o[8:]))


def offer(code):
    create = messages.ClientHello.create

    def lying(self, *a, **k):
        out = create(self, *a, **k)
        self.extensions.append(TLSExtension(extType=1).create(bytearray([code])))
        print('played max_fragment_length', code, flush=True)
        return out
    messages.ClientHello.create = lying


def ask(size):
    create = messages.CertificateRequest.create

    def lying(self, *a, **k):
        if k.get('context') == b'':
            k['context'] = b'A' * size
            k['extensions'] = [x for x in k['extensions'] if x.extType != 27]  # without an empty list of compression algorithms
            print('played context', size, flush=True)
        return create(self, *a, **k)
    tlsconnection.TLS_1_3_FORBIDDEN_GROUPS = frozenset()  # wolfSSL offers some of them
    messages.CertificateRequest.create = tlsconnection.CertificateRequest.create = lying


def load(cert, key):
    if cert == '-':
        return None, None
    chain = X509CertChain()
    chain.parsePemList(open(cert).read())
    return chain, parsePEMKey(open(key).read(), private=True)


def serve(c, cert, key, auth, s, options):
    certs, resumed, error = -1, 0, ''
    try:
        c.handshakeServer(certChain=cert, privateKey=key, reqCert=auth != 'none', settings=s)
        c.read(min=1, max=4096)
        if 'pha' in options:
            for _ in c.request_post_handshake_auth(s):
                pass
            c.write(b'more')
            c.read(min=1, max=4096)
        chain = c.session.clientCertChain
        certs = chain.getNumCerts() if chain else 0
        resumed = int(c.resumed)
        if auth == 'required' and not certs:
            raise ValueError('client did not provide a certificate')
        c.write(ANSWER)
        c.close()
    except Exception as e:  # any error ends only this connection
        certs, error = -1, f'{type(e).__name__} {e}'
    print(f'truth certs={certs} resumed={resumed} early=0 error={error}', flush=True)


def main():
    role, address, cert, key, _, auth, version, n, options = sys.argv[1:]
    host, port = address.split(':')
    options = options.split(',')
    cert, key = load(cert, key)
    s = settings(version, options)
    lie(options)
    if role == 'server':
        listener = socket.create_server((host, int(port)))
        for _ in range(int(n)):
            sock, _ = listener.accept()
            sock.settimeout(5)
            serve(connection(sock, options), cert, key, auth, s, options)
            sock.close()
        return
    session = None
    for _ in range(int(n)):
        sock = socket.create_connection((host, int(port)), timeout=5)
        c = connection(sock, options)
        if 'pha' in options:
            c.client_cert_required = True
        try:
            c.handshakeClientCert(certChain=cert, privateKey=key, session=session, settings=s, serverName=NAME)
            if 'keyupdate' in options:
                for _ in c.send_keyupdate_request(1):
                    pass
            c.write(REQUEST)
            b = c.read(min=1, max=4096)
            if 'pha' in options:
                c.write(REQUEST)
                b = c.read(min=1, max=4096)
            print('client read', len(b))
            session = c.session
            c.close()
        except Exception as e:
            print('client', type(e).__name__, e)
        sock.close()


main()

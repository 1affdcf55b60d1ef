"""A peer program of the lab (see gopeer.go) that uses pyOpenSSL and the OpenSSL in PyPI's package cryptography.

Options: noticket.
"""
import socket
import sys

from OpenSSL import SSL

role, address, cert, key, ca, auth, version, n, options = sys.argv[1:]
options = options.split(',')

NAME = b'httpbin.lab.test'
REQUEST = b'GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\nConnection: close\r\n\r\n'
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nlab-pong'


def context():
    c = SSL.Context(SSL.TLS_SERVER_METHOD if role == 'server' else SSL.TLS_CLIENT_METHOD)
    v = SSL.TLS1_2_VERSION if version == '1.2' else SSL.TLS1_3_VERSION
    c.set_min_proto_version(v)
    c.set_max_proto_version(v)
    c.load_verify_locations(ca)
    if cert != '-':
        c.use_certificate_chain_file(cert)
        c.use_privatekey_file(key)
    verify = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if auth == 'required' else 0)
    if role == 'client' or auth != 'none':
        c.set_verify(verify, lambda conn, x, err, depth, ok: bool(ok))
    if role == 'server':
        c.set_session_id(b'lab')
        if 'noticket' in options:
            c.set_options(SSL.OP_NO_TICKET)
    return c


def serve(c, sock):
    try:
        c.do_handshake()
        c.recv(4096)
        chain = c.get_peer_cert_chain()
        print('truth certs=%d resumed=%d early=0 error=' % (1 if c.get_peer_certificate() else 0, c.session_reused() if hasattr(c, 'session_reused') else 0), flush=True)
        del chain
        c.send(ANSWER)
        c.shutdown()
    except SSL.Error as e:
        print('truth certs=-1 resumed=0 early=0 error=%s' % (e,), flush=True)
    sock.close()


def main():
    print('openssl', SSL.SSLeay_version(0).decode(), flush=True)
    host, port = address.split(':')
    c = context()
    if role == 'server':
        listener = socket.create_server((host, int(port)))
        for _ in range(int(n)):
            sock, _ = listener.accept()
            conn = SSL.Connection(c, sock)
            conn.set_accept_state()
            serve(conn, sock)
        return
    session = None
    for _ in range(int(n)):
        sock = socket.create_connection((host, int(port)), timeout=5)
        sock.setblocking(True)
        conn = SSL.Connection(c, sock)
        conn.set_tlsext_host_name(NAME)
        if session:
            conn.set_session(session)
        conn.set_connect_state()
        try:
            conn.do_handshake()
            conn.send(REQUEST)
            print('client read', len(conn.recv(4096)), flush=True)
            session = conn.get_session()
            conn.shutdown()
        except SSL.Error as e:
            print('client', type(e).__name__, e, flush=True)
        sock.close()


main()

"""A client program of the lab (see gopeer.go) that uses Mbed TLS 2.28, which speaks TLS 1.2."""
import base64
import socket
import sys

from mbedtls import pk, tls, x509

NAME = 'httpbin.lab.test'
REQUEST = b'GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\nConnection: close\r\n\r\n'


def again(step):
    while True:
        try:
            return step()
        except (tls.WantReadError, tls.WantWriteError):
            pass


def private(path):
    lines = open(path).read().splitlines()
    return pk.ECC.from_buffer(base64.b64decode(''.join(line for line in lines if '---' not in line)))


def main():
    _, address, cert, key, ca, _, _, n, _ = sys.argv[1:]
    host, port = address.split(':')
    conf = tls.TLSConfiguration(
        trust_store=tls.TrustStore([x509.CRT.from_file(ca)]),
        certificate_chain=None if cert == '-' else ((x509.CRT.from_file(cert),), private(key)),
        lowest_supported_version=tls.TLSVersion.TLSv1_2, highest_supported_version=tls.TLSVersion.TLSv1_2)
    for _ in range(int(n)):
        s = tls.ClientContext(conf).wrap_socket(socket.create_connection((host, int(port)), timeout=5), server_hostname=NAME)
        try:
            again(s.do_handshake)
            s.send(REQUEST)
            print('client read', len(again(lambda: s.recv(4096))))
        except Exception as e:
            print('client', type(e).__name__, e)
        s.close()


main()

"""A client program of the lab (see gopeer.go) that uses curl-impersonate: BoringSSL with a browser's hello."""
import sys

from curl_cffi import CurlOpt, requests

_, address, cert, key, ca, _, version, n, options = sys.argv[1:]
host, port = address.split(':')
session = requests.Session(curl_options={CurlOpt.RESOLVE: [f'httpbin.lab.test:{port}:{host}']})
for _ in range(int(n)):
    try:
        r = session.get(f'https://httpbin.lab.test:{port}/ping', impersonate=options.split(',')[0] or 'chrome', verify=ca, timeout=5, http_version='v1',
                        cert=None if cert == '-' else (cert, key), headers={'Connection': 'close'})
        print('client HTTP/1.1', r.status_code)
    except Exception as e:
        print('client', e)

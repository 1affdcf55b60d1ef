// A peer program of the lab (see gopeer.go) that uses Node.js and the OpenSSL linked into it.
// Options: padding=APPLICATION:HANDSHAKE (RecordPadding in the configuration of OpenSSL 3.4 and later).
'use strict';
const tls = require('tls');
const fs = require('fs');
const os = require('os');
const path = require('path');
const child = require('child_process');

const NAME = 'httpbin.lab.test';
const REQUEST = 'GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\nConnection: close\r\n\r\n';
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nlab-pong';

const [role, address, cert, key, ca, auth, version, n, options] = process.argv.slice(2);
const padding = options.split(',').filter((o) => o.startsWith('padding=')).map((o) => o.slice(8).replace(':', ','))[0];

if (padding && !process.env.OPENSSL_CONF) { // OpenSSL reads it when the process starts
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'lab'));
  const conf = path.join(dir, 'openssl.cnf');
  fs.writeFileSync(conf, `nodejs_conf = a\nopenssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nRecordPadding = ${padding}\n`);
  console.log(`played padding ${padding}, OpenSSL ${process.versions.openssl}`);
  const r = child.spawnSync(process.execPath, ['--openssl-shared-config', ...process.argv.slice(1)], { stdio: 'inherit', env: { ...process.env, OPENSSL_CONF: conf } });
  fs.rmSync(dir, { recursive: true });
  process.exit(r.status);
}

const [host, port] = address.split(':');
const common = { minVersion: `TLSv${version}`, maxVersion: `TLSv${version}`, ca: fs.readFileSync(ca) };
if (cert !== '-') Object.assign(common, { cert: fs.readFileSync(cert), key: fs.readFileSync(key) });

function truth(certs, resumed, error) {
  console.log(`truth certs=${certs} resumed=${resumed ? 1 : 0} early=0 error=${error}`);
}

function serve() {
  let left = Number(n);
  const server = tls.createServer({ ...common, requestCert: auth !== 'none', rejectUnauthorized: auth === 'required' }, (s) => {
    s.on('error', () => {});
    s.once('data', () => {
      let certs = 0;
      let x = s.getPeerCertificate(true);
      while (x && x.raw) {
        certs++;
        if (!x.issuerCertificate || x.issuerCertificate === x) break;
        x = x.issuerCertificate;
      }
      truth(certs && 1, s.isSessionReused(), '');
      s.end(ANSWER);
      if (--left === 0) server.close();
    });
  });
  server.on('tlsClientError', (e, s) => {
    truth(-1, false, `${e.code || ''} ${e.message}`.replace(/\s+/g, ' '));
    s.destroy();
    if (--left === 0) server.close();
  });
  server.listen(Number(port), host);
}

function call(i, session) {
  if (i === 0) return;
  let last;
  const s = tls.connect({ ...common, host, port: Number(port), servername: NAME, session }, () => s.write(REQUEST));
  s.on('session', (x) => { last = x; });
  s.on('data', (b) => console.log('client read', b.length));
  s.on('error', (e) => console.log('client', e.code, e.message));
  s.on('close', () => call(i - 1, last));
}

if (role === 'server') serve();
else call(Number(n));

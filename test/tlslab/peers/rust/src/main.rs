//! A peer program of the lab (see gopeer.go) that uses rustls, with ring or, with the feature awslc, AWS-LC.
//! Options: TLS_... (a suite), hrr-client, hrr-server, early, frag=N, noticket.
#[cfg(feature = "awslc")]
use rustls::crypto::aws_lc_rs as library;
#[cfg(not(feature = "awslc"))]
use rustls::crypto::ring as library;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::{env, fs::File};

const NAME: &str = "httpbin.lab.test";
const REQUEST: &[u8] = b"GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\nConnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nlab-pong";

fn certs(path: &str) -> Vec<CertificateDer<'static>> {
    rustls_pemfile::certs(&mut BufReader::new(File::open(path).unwrap())).map(|c| c.unwrap()).collect()
}

fn key(path: &str) -> PrivateKeyDer<'static> {
    rustls_pemfile::private_key(&mut BufReader::new(File::open(path).unwrap())).unwrap().unwrap()
}

fn provider(options: &[String]) -> Arc<CryptoProvider> {
    let mut p = library::default_provider();
    let has = |o: &str| options.iter().any(|x| x == o);
    if options.iter().any(|o| o.starts_with("TLS_")) {
        p.cipher_suites.retain(|s| has(&format!("{:?}", s.suite()).replace("TLS13_", "TLS_")));
    }
    if has("hrr-client") {
        p.kx_groups = vec![library::kx_group::X25519, library::kx_group::SECP384R1];
    }
    if has("hrr-server") {
        p.kx_groups = vec![library::kx_group::SECP384R1];
    }
    Arc::new(p)
}

fn serve(cfg: Arc<ServerConfig>, s: TcpStream) {
    let mut t = StreamOwned::new(ServerConnection::new(cfg).unwrap(), s);
    let mut early = 0;
    let mut b = [0u8; 4096];
    while t.conn.is_handshaking() {
        if let Err(e) = t.conn.complete_io(&mut t.sock) {
            println!("truth certs=-1 resumed=0 early=0 error={e}");
            return;
        }
    }
    if let Some(mut e) = t.conn.early_data() {
        early = e.read(&mut b).unwrap_or(0).min(1);
    }
    if early == 0 {
        if let Err(e) = t.read(&mut b) {
            println!("truth certs=-1 resumed=0 early=0 error={e}");
            return;
        }
    }
    let n = t.conn.peer_certificates().map_or(0, |c| c.len());
    let resumed = (t.conn.handshake_kind() == Some(HandshakeKind::Resumed)) as u8;
    println!("truth certs={n} resumed={resumed} early={early} error=");
    let _ = t.write_all(ANSWER);
    t.conn.send_close_notify();
    let _ = t.flush();
}

fn call(cfg: Arc<ClientConfig>, addr: &str) {
    let s = TcpStream::connect(addr).unwrap();
    let mut t = StreamOwned::new(ClientConnection::new(cfg, ServerName::try_from(NAME).unwrap()).unwrap(), s);
    let mut sent = false;
    if let Some(mut e) = t.conn.early_data() {
        sent = e.write(REQUEST).is_ok();
    }
    if sent {
        let _ = t.flush();
        while t.conn.is_handshaking() {
            if t.conn.complete_io(&mut t.sock).is_err() {
                break;
            }
        }
        sent = t.conn.is_early_data_accepted();
    }
    if !sent {
        if let Err(e) = t.write_all(REQUEST) {
            println!("client {e}");
        }
    }
    let mut out = Vec::new();
    let end = t.read_to_end(&mut out);
    println!("client read {} {:?}", out.len(), end.err());
}

fn main() {
    let a: Vec<String> = env::args().skip(1).collect();
    let (role, addr, cert, k, ca, auth, version) = (&a[0], &a[1], &a[2], &a[3], &a[4], &a[5], &a[6]);
    let n: usize = a[7].parse().unwrap();
    let options: Vec<String> = a[8].split(',').map(String::from).collect();
    let frag = options.iter().find_map(|o| o.strip_prefix("frag=").map(|v| v.parse().unwrap()));
    let early = options.iter().any(|o| o == "early");
    let mut roots = RootCertStore::empty();
    for c in certs(ca) {
        roots.add(c).unwrap();
    }
    let v = if version == "1.2" { vec![&rustls::version::TLS12] } else { vec![&rustls::version::TLS13] };
    let p = provider(&options);
    if role == "server" {
        let b = ServerConfig::builder_with_provider(p.clone()).with_protocol_versions(&v).unwrap();
        let b = if auth == "none" {
            b.with_no_client_auth()
        } else {
            let w = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), p);
            let w = if auth == "optional" { w.allow_unauthenticated() } else { w };
            b.with_client_cert_verifier(w.build().unwrap())
        };
        let mut cfg = b.with_single_cert(certs(cert), key(k)).unwrap();
        if !options.iter().any(|o| o == "noticket" || o == "early") {
            cfg.ticketer = library::Ticketer::new().unwrap();
        }
        if early {
            cfg.max_early_data_size = 4096;
        }
        cfg.max_fragment_size = frag;
        let cfg = Arc::new(cfg);
        let l = TcpListener::bind(addr).unwrap();
        for _ in 0..n {
            serve(cfg.clone(), l.accept().unwrap().0);
        }
        return;
    }
    let b = ClientConfig::builder_with_provider(p).with_protocol_versions(&v).unwrap().with_root_certificates(roots);
    let mut cfg = if cert == "-" { b.with_no_client_auth() } else { b.with_client_auth_cert(certs(cert), key(k)).unwrap() };
    cfg.enable_early_data = early;
    cfg.max_fragment_size = frag;
    let cfg = Arc::new(cfg);
    for _ in 0..n {
        call(cfg.clone(), addr);
    }
}

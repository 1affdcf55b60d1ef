//! HBONE with ztunnel's libraries (rustls, h2, tokio) and settings: only h2 as ALPN, no server
//! name, no resumption. It runs in a pod's network namespace: hbone PEER POD IDENTITY LOG.
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};
use socket2::{Domain, SockRef, Socket, Type};
use std::error::Error;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{ring, verify_tls12_signature, verify_tls13_signature, CryptoProvider};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{version, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const MARK: u32 = 0x539;

/// Accepts any server: its identity is in the log, and the test verifies it.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(&self, _: &CertificateDer, _: &[CertificateDer], _: &ServerName, _: &[u8], _: UnixTime) -> std::result::Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(&self, m: &[u8], c: &CertificateDer, d: &DigitallySignedStruct) -> std::result::Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        verify_tls12_signature(m, c, d, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(&self, m: &[u8], c: &CertificateDer, d: &DigitallySignedStruct) -> std::result::Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        verify_tls13_signature(m, c, d, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

struct Proxy {
    peer: SocketAddr,
    pod: Ipv4Addr,
    client: TlsConnector,
    server: TlsAcceptor,
    log: Mutex<std::fs::File>,
}

impl Proxy {
    fn note(&self, kind: &str, client: SocketAddr, server: SocketAddr, peer: &str) {
        let line = format!("{kind} {client} {server} {peer}\n");
        self.log.lock().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// Connects from an address, which may be a peer's.
    async fn dial(&self, from: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
        let s = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        s.set_mark(MARK)?;
        s.set_ip_transparent_v4(true)?;
        s.set_nonblocking(true)?;
        s.bind(&SocketAddr::from((from, 0)).into())?;
        Ok(TcpSocket::from_std_stream(s.into()).connect(to).await?)
    }

    async fn outbound(self: Arc<Self>, app: TcpStream) -> Result<()> {
        let meant = SockRef::from(&app).original_dst_v4()?.as_socket().ok_or("no address")?;
        self.note("redirected", app.peer_addr()?, meant, "-");
        let tcp = self.dial(self.pod, self.peer).await?;
        tcp.set_nodelay(true)?;
        let (local, remote) = (tcp.local_addr()?, tcp.peer_addr()?);
        let tls = self.client.connect(ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into()), tcp).await?;
        self.note("hbone-out", local, remote, &spiffe(tls.get_ref().1.peer_certificates()));
        let (send, conn) = h2::client::handshake(tls).await?;
        let conn = tokio::spawn(conn);
        let req = Request::builder().method(Method::CONNECT).uri(meant.to_string()).body(())?;
        let (response, stream) = send.ready().await?.send_request(req, false)?;
        let response = response.await?;
        carry(app, stream, response.into_body()).await?;
        conn.await??;
        Ok(())
    }

    async fn inbound(self: Arc<Self>, tcp: TcpStream) -> Result<()> {
        tcp.set_nodelay(true)?;
        let (client, server) = (tcp.peer_addr()?, tcp.local_addr()?);
        let tls = self.server.accept(tcp).await?;
        self.note("hbone-in", client, server, &spiffe(tls.get_ref().1.peer_certificates()));
        let mut h2 = h2::server::handshake(tls).await?;
        while let Some(request) = h2.accept().await {
            let (request, mut respond) = request?;
            let to: SocketAddr = request.uri().to_string().parse()?;
            let SocketAddr::V4(from) = client else { return Err("IPv6".into()) };
            let this = self.clone();
            tokio::spawn(async move {
                let app = this.dial(*from.ip(), to).await?;
                this.note("delivered", app.local_addr()?, to, "-");
                let stream = respond.send_response(Response::new(()), false)?;
                carry(app, stream, request.into_body()).await
            });
        }
        Ok(())
    }
}

async fn carry(tcp: TcpStream, mut send: SendStream<bytes::Bytes>, mut recv: RecvStream) -> Result<()> {
    let (mut read, mut write) = tcp.into_split();
    let up = async move {
        let mut b = vec![0; 16 << 10];
        loop {
            let n = read.read(&mut b).await?;
            send.send_data(bytes::Bytes::copy_from_slice(&b[..n]), n == 0)?;
            if n == 0 {
                return Result::Ok(());
            }
        }
    };
    let down = async move {
        while let Some(data) = recv.data().await {
            let data = data?;
            recv.flow_control().release_capacity(data.len())?;
            write.write_all(&data).await?;
        }
        write.shutdown().await?;
        Result::Ok(())
    };
    let (a, b) = tokio::join!(up, down);
    a.and(b)
}

/// The SPIFFE ID in a leaf: a URI (context tag 6) whose length is in the byte before it.
fn spiffe(chain: Option<&[CertificateDer]>) -> String {
    let Some(leaf) = chain.and_then(|c| c.first()) else { return "-".into() };
    let Some(at) = leaf.windows(9).position(|w| w == b"spiffe://") else { return "-".into() };
    String::from_utf8_lossy(&leaf[at..at + leaf[at - 1] as usize]).into()
}

async fn serve<F: std::future::Future<Output = Result<()>> + Send + 'static>(port: u16, f: impl Fn(TcpStream) -> F) -> Result<()> {
    let s = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    s.set_mark(MARK)?;
    s.set_ip_transparent_v4(true)?;
    s.set_reuse_address(true)?;
    s.set_nonblocking(true)?;
    s.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    s.listen(128)?;
    let l = TcpListener::from_std(s.into())?;
    loop {
        let (c, _) = l.accept().await?;
        let one = f(c);
        tokio::spawn(async move {
            if let Err(e) = one.await {
                eprintln!("{e}");
            }
        });
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let pem = |suffix: &str| std::fs::read(format!("{}{suffix}", args[3]));
    let certs = |b: Vec<u8>| rustls_pemfile::certs(&mut &b[..]).collect::<std::result::Result<Vec<_>, _>>();
    let key = || -> Result<PrivateKeyDer<'static>> { Ok(rustls_pemfile::private_key(&mut &pem(".key")?[..])?.ok_or("no key")?) };
    let mut roots = RootCertStore::empty();
    for c in certs(pem(".ca")?)? {
        roots.add(c)?;
    }
    let provider = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(certs(pem(".pem")?)?, key()?)?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_client_auth_cert(certs(pem(".pem")?)?, key()?)?;
    client.alpn_protocols = vec![b"h2".to_vec()];
    client.resumption = Resumption::disabled();
    client.enable_sni = false;
    let proxy = Arc::new(Proxy {
        peer: SocketAddr::new(args[1].parse()?, 15008),
        pod: args[2].parse()?,
        client: TlsConnector::from(Arc::new(client)),
        server: TlsAcceptor::from(Arc::new(server)),
        log: Mutex::new(std::fs::File::create(&args[4])?),
    });
    let (a, b) = (proxy.clone(), proxy);
    tokio::try_join!(serve(15001, move |c| a.clone().outbound(c)), serve(15008, move |c| b.clone().inbound(c)))?;
    Ok(())
}

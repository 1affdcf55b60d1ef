package scenarios_test

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/test/ambient/standin"
)

var discard = log.New(io.Discard, "", 0)

// identity returns the certificate of a service account in the lab's namespace.
func (l *lab) identity(t *testing.T, account string) *standin.Identity {
	t.Helper()
	id, err := l.authority.Identity("lab", account)
	must(t, err)
	return id
}

// server returns the settings of a server that requires a client certificate of the lab's authority.
func (l *lab) server(t *testing.T, account string) *tls.Config {
	t.Helper()
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: l.identity(t, account).Certificates(),
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: l.authority.Pool,
	}
}

// client returns the settings of a client with a certificate. It verifies no name, because the certificates of a mesh have none.
func (l *lab) client(t *testing.T, account string) *tls.Config {
	t.Helper()
	return &tls.Config{InsecureSkipVerify: true, Certificates: l.identity(t, account).Certificates()} //nolint:gosec // see above
}

// version returns cfg for this version of TLS only.
func version(cfg *tls.Config, v uint16) *tls.Config {
	cfg = cfg.Clone()
	cfg.MinVersion, cfg.MaxVersion = v, v
	return cfg
}

// expired returns a server's certificate that ended yesterday.
func (l *lab) expired(t *testing.T, account string) []tls.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	cert, err := l.authority.Sign(&x509.Certificate{
		SerialNumber: serial, URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/lab/sa/" + account}},
		NotBefore: time.Now().Add(-72 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	must(t, err)
	return []tls.Certificate{cert}
}

// openssl requests a path over HTTP with the command of OpenSSL as the client, n times.
func (p *pod) openssl(t *testing.T, to, account string, n int, flags ...string) {
	t.Helper()
	must(t, p.lab.identity(t, account).Files(p.lab.authority, p.lab.folder, account))
	file := filepath.Join(p.lab.folder, account)
	for range n {
		cmd := p.command(t, append([]string{"openssl", "s_client", "-quiet", "-connect", to, "-cert", file + ".pem", "-key", file + ".key"}, flags...)...)
		in, err := cmd.StdinPipe()
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		io.WriteString(in, "GET / HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n")
		b, err := io.ReadAll(out)
		in.Close()
		cmd.Wait() // s_client's status tells about the certificate, which it does not verify
		if err != nil || !strings.HasSuffix(string(b), answer) {
			t.Fatalf("OpenSSL as %s received %.80q, %v", p.name, b, err)
		}
	}
}

// either is a listener that accepts TLS and plaintext on one port, as a proxy in permissive mode does.
type either struct {
	net.Listener
	cfg *tls.Config
}

func (l *either) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &undecided{Conn: c, cfg: l.cfg}, nil
}

// undecided is a connection that is TLS if its first byte is that of a handshake record.
type undecided struct {
	net.Conn
	cfg     *tls.Config
	decided net.Conn
}

func (c *undecided) Read(b []byte) (int, error) {
	if c.decided == nil {
		in := bufio.NewReader(c.Conn)
		first, err := in.Peek(1)
		if err != nil {
			return 0, err
		}
		if c.decided = (&buffered{c.Conn, in}); first[0] == 22 {
			c.decided = tls.Server(c.decided, c.cfg)
		}
	}
	return c.decided.Read(b)
}

func (c *undecided) Write(b []byte) (int, error) {
	if c.decided == nil {
		return 0, errors.New("the server does not speak first")
	}
	return c.decided.Write(b)
}

func (c *undecided) Close() error {
	if c.decided == nil {
		return c.Conn.Close()
	}
	return c.decided.Close()
}

// buffered is a connection whose first bytes were read ahead.
type buffered struct {
	net.Conn
	in *bufio.Reader
}

func (c *buffered) Read(b []byte) (int, error) { return c.in.Read(b) }

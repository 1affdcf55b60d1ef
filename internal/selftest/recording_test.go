package selftest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "record the handshakes again")

// recorder records what both ends of a connection write, in turns.
type recorder struct {
	mu    sync.Mutex
	turns []turn
}

func (r *recorder) add(fromServer bool, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := len(r.turns) - 1; last >= 0 && r.turns[last].fromServer == fromServer {
		r.turns[last].bytes = append(r.turns[last].bytes, b...)
		return
	}
	r.turns = append(r.turns, turn{fromServer, bytes.Clone(b)})
}

// recorded is an end of a connection that is recorded.
type recorded struct {
	net.Conn
	recorder   *recorder
	fromServer bool
}

func (c *recorded) Write(b []byte) (int, error) {
	c.recorder.add(c.fromServer, b)
	return c.Conn.Write(b)
}

// record makes a real handshake of crypto/tls in which the server requests a certificate, followed by a request and a response.
func record(t *testing.T, withCertificate bool) []turn {
	t.Helper()
	certificate, trusted := newCertificate(t)
	var r recorder
	a, b := net.Pipe()
	client := tls.Client(&recorded{a, &r, false}, clientConfig(certificate, trusted, withCertificate))
	server := tls.Server(&recorded{b, &r, true}, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, SessionTicketsDisabled: true,
	})
	failed := make(chan error, 1)
	go func() { failed <- answer(server) }()
	if _, err := io.WriteString(client, "meshtls-tap self-test: request"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return r.turns
}

// answer reads a request and sends a response.
func answer(server *tls.Conn) error {
	if _, err := server.Read(make([]byte, 100)); err != nil {
		return err
	}
	_, err := io.WriteString(server, "meshtls-tap self-test: response")
	return err
}

func clientConfig(certificate tls.Certificate, trusted *x509.CertPool, withCertificate bool) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: trusted, ServerName: certificate.Leaf.DNSNames[0]}
	if withCertificate {
		c.Certificates = []tls.Certificate{certificate}
	}
	return c
}

func newCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"self-test.invalid"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &x, &x, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, trusted
}

// TestRecordings: the recordings have the same turns, and the same types of TLS records in them, as handshakes of crypto/tls have
// today. With -update it records them again.
func TestRecordings(t *testing.T) {
	for name, withCertificate := range map[string]bool{"mtls": true, "tls": false} {
		path, fresh := "recordings/"+name+".txt", record(t, withCertificate)
		if *update {
			if err := os.WriteFile(path, []byte(format(fresh)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		old, err := parseRecording(string(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := outline(old), outline(fresh); got != want {
			t.Errorf("%s has\n%s\ninstead of\n%s", path, got, want)
		}
	}
}

func format(turns []turn) string {
	var b strings.Builder
	for _, t := range turns {
		fmt.Fprintf(&b, "%s %x\n", map[bool]string{true: "server", false: "client"}[t.fromServer], t.bytes)
	}
	return b.String()
}

// outline lists the types of the TLS records in each turn.
func outline(turns []turn) string {
	var b strings.Builder
	for _, t := range turns {
		fmt.Fprint(&b, t.fromServer)
		for rest := t.bytes; len(rest) >= 5; {
			fmt.Fprint(&b, " ", rest[0])
			rest = rest[min(len(rest), 5+int(binary.BigEndian.Uint16(rest[3:]))):]
		}
		b.WriteString("\n")
	}
	return b.String()
}

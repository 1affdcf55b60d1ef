package sink

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// clientPair creates a client certificate that the broker's authority has signed. It writes the certificate and its key to files in the
// same way as a projected Secret.
func clientPair(t *testing.T, b *broker, cert, key string) {
	t.Helper()
	dir := filepath.Dir(b.CA)
	ca, err := tls.LoadX509KeyPair(b.CA, filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "tap"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.Leaf, own.Public(), ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// TestKafkaCertificatesRotated: a cluster changes its authority. So the brokers' certificates change, and also the client
// certificates that the cluster accepts. At each step the sink reports the file that must change, and uses the new file without a
// restart.
func TestKafkaCertificatesRotated(t *testing.T) {
	b := &broker{Broker: kafkatest.Start(t, "tls", []string{"CLIENT_AUTH=required"}, nil)}
	cfg := b.topics(t, "certificates")
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	copyCA := func() {
		t.Helper()
		text, err := os.ReadFile(b.CA)
		if err != nil {
			t.Fatal(err)
		}
		write(t, ca, string(text))
	}
	copyCA()
	clientPair(t, b, cert, key)
	cfg.Brokers = []string{b.TLS}
	cfg.TLS = &TLSConfig{CAFile: ca, CertFile: cert, KeyFile: key}
	cfg.SASL = &SASLConfig{Mechanism: "scram-sha-256", Username: "tap", Password: kafkatest.Password}
	cfg.SlowBackoff = time.Hour // only a changed file causes another attempt
	k := newKafka(t, cfg)
	put := func(from int) {
		for n := from; n < from+40; n++ {
			k.Put(sample(datasets[n%4], n))
		}
	}
	put(0)
	eventually.True(t, "delivered", func() bool { return sum(k.Status().Delivered) == 40 }, k.Status, b.Log)
	b.Stop()
	if err := os.RemoveAll(filepath.Dir(b.CA)); err != nil {
		t.Fatal(err)
	}
	b.Start() // the broker starts with a new authority
	put(40)
	says := func(want string) {
		t.Helper()
		eventually.True(t, want, func() bool { s := k.Status(); return s.ErrorClass == classTLS && strings.Contains(s.Reason, want) }, k.Status, b.Log)
		t.Log(k.Status().Reason)
	}
	says("see TAP_KAFKA_TLS_CA_FILE")
	copyCA()
	says("see TAP_KAFKA_TLS_CERT_FILE and TAP_KAFKA_TLS_KEY_FILE")
	clientPair(t, b, cert, key)
	eventually.True(t, "delivered", func() bool { s := k.Status(); return s.OK && sum(s.Delivered) == 80 }, k.Status, b.Log)
	flush(t, k)
	if ids, duplicates := distinct(b.readAll(cfg)); len(ids) != 80 || duplicates != 0 {
		t.Errorf("arrived %d, duplicates %d", len(ids), duplicates)
	}
}

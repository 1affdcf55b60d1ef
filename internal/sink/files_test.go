package sink

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckFiles: each file that cannot be used has an error with its setting.
func TestCheckFiles(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		tls  *TLSConfig
		sasl *SASLConfig
		want []string // the ends of the errors
	}{
		{"no files", &TLSConfig{}, &SASLConfig{Mechanism: "plain", Username: "tap", Password: "x"}, nil},
		{"a password file", nil, &SASLConfig{Mechanism: "plain", Username: "tap", PasswordFile: text}, nil},
		{"missing", &TLSConfig{CAFile: "/nowhere"}, &SASLConfig{Mechanism: "plain", Username: "tap", PasswordFile: "/nowhere/p"},
			[]string{"open /nowhere: no such file or directory: see TAP_KAFKA_TLS_CA_FILE", "open /nowhere/p: no such file or directory: see TAP_KAFKA_SASL_PASSWORD_FILE"}},
		{"no certificate", &TLSConfig{CAFile: text}, nil, []string{text + " contains no PEM certificate: see TAP_KAFKA_TLS_CA_FILE"}},
		{"no token", nil, &SASLConfig{Mechanism: "oauthbearer", TokenFile: "/nowhere"}, []string{"see TAP_KAFKA_SASL_TOKEN_FILE"}},
	} {
		errs := (&KafkaConfig{TLS: c.tls, SASL: c.sasl}).CheckFiles()
		if len(errs) != len(c.want) {
			t.Errorf("%s: %v", c.name, errs)
			continue
		}
		for i, err := range errs {
			if err == nil || !strings.HasSuffix(err.Error(), c.want[i]) {
				t.Errorf("%s: %v, want %s", c.name, err, c.want[i])
			}
		}
	}
}

// TestAddressOnce: a reason for a failed connection has the address once, and the IP address too if the broker has a name.
func TestAddressOnce(t *testing.T) {
	refused := func(address string) error {
		return &errConnect{address, false, &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, Err: errors.New("connect: connection refused")}}
	}
	for _, c := range []struct {
		brokers []string
		err     error
		want    string
	}{
		{[]string{"127.0.0.1:1"}, refused("127.0.0.1:1"), "kafka 127.0.0.1:1: no connection: connect: connection refused: see TAP_KAFKA_BROKERS"},
		{[]string{"kafka:1"}, refused("kafka:1"), "kafka kafka:1: no connection: 127.0.0.1:1: connect: connection refused: see TAP_KAFKA_BROKERS"},
		{[]string{"a:1", "127.0.0.1:1"}, refused("127.0.0.1:1"), "kafka a:1,127.0.0.1:1: no connection to 127.0.0.1:1: connect: connection refused: see TAP_KAFKA_BROKERS"},
		{[]string{"a:1"}, &errConnect{"a:1", false, errSilent}, "kafka a:1: no connection: it did not respond a moment ago: see TAP_KAFKA_BROKERS"},
	} {
		k := &client{cfg: KafkaConfig{Brokers: c.brokers}}
		if got := k.diagnose(c.err, "t").reason; got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

package kafka_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// buildFIPS builds the tap with the newest validated version of Go's cryptographic module, as `make fips` does.
func buildFIPS(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tap")
	cmd := exec.Command("go", "build", "-o", file, "../../cmd/tap")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFIPS140=certified")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return file
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, args[0], err, &stderr)
	}
	return string(out)
}

// TestFIPSReads: `tap read` prints the same in FIPS 140-3 mode as without it. JA3 is an MD5 hash and the Community ID
// a SHA-1 hash. Both identify a connection and protect nothing, so the mode permits them. GODEBUG=fips140=only does
// not permit them and is not supported.
func TestFIPSReads(t *testing.T) {
	plain, err := buildTap()
	if err != nil {
		t.Fatal(err)
	}
	fips := buildFIPS(t)
	if line := output(t, fips, "version"); !strings.Contains(line, " fips140 v1.") {
		t.Errorf("it is not in FIPS mode: %q", line)
	}
	captures, err := filepath.Glob("../tlslab/testdata/*/*.pcap.gz")
	if err != nil || len(captures) < 100 {
		t.Fatalf("%d captures, %v", len(captures), err)
	}
	args := append([]string{"read", "--output=json", "--emit=flows"}, captures...)
	want, got := output(t, plain, args...), output(t, fips, args...)
	if want != got {
		t.Errorf("%d bytes in FIPS mode, %d without: they differ", len(got), len(want))
	}
	if !strings.Contains(got, `"ja3"`) || !strings.Contains(got, `"community_id"`) {
		t.Error("no JA3 or no Community ID")
	}
}

// TestFIPS: in FIPS 140-3 mode a tap logs in with SCRAM to a real broker and delivers records to it over TLS.
func TestFIPS(t *testing.T) {
	kafkatest.Require(t)
	p := pod(t)
	fips := buildFIPS(t)
	b := kafkatest.Start(t, "tls", []string{"ADDRESS=" + hostAddress}, nil)
	password := filepath.Join(t.TempDir(), "password")
	replace(t, password, []byte(kafkatest.Password))
	s := &secured{b.CA, password}
	for _, mechanism := range []string{"scram-sha-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			topics := "FIPS." + mechanism
			b.Create(topics+".findings", topics+".posture", topics+".flows")
			x := startProgram(t, fips, p, topics, append(s.environ(), "TAP_KAFKA_BROKERS="+b.TLS, "TAP_KAFKA_SASL_MECHANISM="+mechanism)...)
			eventually.True(t, "records are delivered", func() bool { return x.metric(`sink_delivered_records_total\{dataset="meshtls.flow"\}`) >= 10 }, x.state)
			x.end()
			if seen, _ := x.seen(b); seen < 10 {
				t.Errorf("%d connections arrived, want 10 at least", seen)
			}
		})
	}
}

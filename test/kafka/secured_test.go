package kafka_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// secured names the files with which drivers and tap log in. In a pod they would be mounted.
type secured struct{ ca, password string }

func (s *secured) config() (*sink.TLSConfig, *sink.SASLConfig) {
	return &sink.TLSConfig{CAFile: s.ca}, &sink.SASLConfig{Mechanism: "scram-sha-512", Username: "tap", PasswordFile: s.password}
}

func (s *secured) environ() []string {
	return []string{
		"TAP_KAFKA_TLS_CA_FILE=" + s.ca, "TAP_KAFKA_SASL_MECHANISM=scram-sha-512", "TAP_KAFKA_SASL_USERNAME=tap", "TAP_KAFKA_SASL_PASSWORD_FILE=" + s.password,
	}
}

// replace replaces a file atomically, as the kubelet does with a mounted Secret.
func replace(t *testing.T, file string, text []byte) {
	t.Helper()
	err := os.WriteFile(file+".new", text, 0o600)
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSecured revokes certificates, passwords and rights of drivers and tap, and restores them. Drivers and tap must
// then recover without a restart.
func TestSecured(t *testing.T) {
	skipUnlessFull(t)
	kafkatest.Require(t)
	p := pod(t)
	b := kafkatest.Start(t, "tls", []string{"ADDRESS=" + hostAddress, "AUTHORIZE=1"}, nil)
	s := &secured{filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "password")}
	trust := func() {
		t.Helper()
		text, err := os.ReadFile(b.CA)
		if err != nil {
			t.Fatal(err)
		}
		replace(t, s.ca, text)
	}
	trust()
	replace(t, s.password, []byte(kafkatest.Password))
	set := func(args ...string) {
		t.Helper()
		b.Tool("kafka.admin.ConfigCommand", append([]string{"--bootstrap-server", b.Plain, "--alter"}, args...)...)
	}
	scenario := func(name string, may expected, f func(w *world)) {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, broker: b, pod: p, secure: s, brokers: []string{b.TLS}}
			w.start(name)
			f(w)
			w.waitDelivered()
			w.conclude(may)
		})
	}
	scenario("ACL", expected{dropped: true}, func(w *world) { // up to 12,000 records may be put before the next attempt
		b.Allow("ACL.")
		w.waitForClass("authorization", "topic")
		w.pollFor(5 * time.Second)
		b.Allow("ACL.", "User:tap")
	})
	scenario("quota", expected{}, func(w *world) {
		set("--entity-type", "clients", "--entity-default", "--add-config", "producer_byte_rate=3000")
		for _, d := range w.drivers {
			eventually.True(w.t, d.Name+" is slowed down", func() bool { r, _ := d.now(); return r.Status.Throttled > 5*time.Second }, w.state)
		}
		w.pollFor(10 * time.Second)
		set("--entity-type", "clients", "--entity-default", "--delete-config", "producer_byte_rate")
	})
	scenario("password", expected{}, func(w *world) {
		set("--entity-type", "users", "--entity-name", "tap", "--add-config", "SCRAM-SHA-512=[iterations=4096,password=another]")
		b.Stop()
		b.Start()
		w.waitForClass("login")
		w.pollFor(5 * time.Second)
		replace(t, s.password, []byte("another\n"))
	})
	scenario("authority", expected{}, func(w *world) {
		b.Stop()
		if err := os.RemoveAll(filepath.Dir(b.CA)); err != nil {
			w.t.Fatal(err)
		}
		b.Start()
		w.waitForClass("tls")
		w.pollFor(5 * time.Second)
		trust()
	})
}

// waitForClass waits until drivers and tap report an error of one of these classes.
func (w *world) waitForClass(classes ...string) {
	w.t.Helper()
	for _, d := range w.drivers {
		eventually.True(w.t, d.Name+" reports "+strings.Join(classes, " or "), func() bool {
			r, _ := d.now()
			return !r.Status.OK && strings.Contains(strings.Join(classes, " "), r.Status.ErrorClass) && r.Status.ErrorClass != ""
		}, w.state)
	}
	eventually.True(w.t, "the tap reports "+strings.Join(classes, " or "), func() bool {
		for _, c := range classes {
			if w.tap.metric(`sink_fault\{class="`+c+`"\}`) == 1 {
				return true
			}
		}
		return false
	}, w.state)
	w.t.Log(w.tap.get("/readyz"))
}

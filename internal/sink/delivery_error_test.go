package sink

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/ownsockets"
)

// noLeak fails the test if goroutines that the test has started are still running at its end. Call
// it first.
func noLeak(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		if !eventually.Holds(func() bool { return runtime.NumGoroutine() <= before }) {
			buf := make([]byte, 1<<16)
			t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	})
}

func newKafka(t *testing.T, cfg KafkaConfig) *Kafka {
	t.Helper()
	k, err := NewKafka(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		k.Close(ctx)
	})
	return k
}

// server accepts connections until the end of the test, and calls handle for each.
func server(t *testing.T, handle func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// TestFaults: each error that can be caused without a broker is reported with the setting to check.
func TestFaults(t *testing.T) {
	noLeak(t)
	serveNames(t, "kafka.test") // a real resolver's response for a name that does not exist is not predictable
	https := httptest.NewTLSServer(nil)
	t.Cleanup(https.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: https.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	secure := https.Listener.Addr().String()
	refused, hangup := "127.0.0.1:1", server(t, func(c net.Conn) { c.Close() })
	chatter := server(t, func(c net.Conn) { c.Write([]byte("220 smtp.example.org\r\n")); c.Close() })

	for _, c := range []struct {
		name, broker string
		tls          *TLSConfig
		want, class  string
	}{
		{"refused", refused, nil, "connection refused: see TAP_KAFKA_BROKERS", classConnection},
		{"no such name", "kafka.invalid:9092", nil, `"kafka.invalid" cannot be resolved`, className},
		{"hangs up", hangup, nil, "TAP_KAFKA_SASL_MECHANISM", classClosed},
		{"hangs up in TLS", hangup, &TLSConfig{}, "does not speak TLS on this port (", classTLS},
		{"not TLS", chatter, &TLSConfig{}, "unset TAP_KAFKA_TLS", classTLS},
		{"unknown CA", secure, &TLSConfig{}, "see TAP_KAFKA_TLS_CA_FILE", classTLS},
		{"wrong name", secure, &TLSConfig{CAFile: ca, ServerName: "kafka.test"}, "see TAP_KAFKA_TLS_SERVER_NAME", classTLS},
		{"no CA file", secure, &TLSConfig{CAFile: "/nonexistent/ca.pem"}, "open /nonexistent/ca.pem: no such file or directory: see TAP_KAFKA_TLS_CA_FILE", classFile},
		{"no key file", secure, &TLSConfig{CertFile: ca, KeyFile: "/nonexistent/key.pem"}, "see TAP_KAFKA_TLS_KEY_FILE", classFile},
		{"not a certificate", secure, &TLSConfig{CAFile: os.Args[0]}, "contains no PEM certificate: see TAP_KAFKA_TLS_CA_FILE", classFile},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newKafka(t, KafkaConfig{Brokers: []string{c.broker}, TLS: c.tls})
			eventually.True(t, c.want, func() bool { return strings.Contains(k.Status().Reason, c.want) }, k.Status)
			s := k.Status()
			if s.OK || s.ErrorClass != c.class || strings.Contains(s.Reason, "\n") || !strings.Contains(s.Reason, c.broker) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestCloseWithoutBroker: in every state of the connection, Close returns in time, with the number of records
// left.
func TestCloseWithoutBroker(t *testing.T) {
	silent := func(t *testing.T) string {
		var held []net.Conn
		t.Cleanup(func() {
			for _, c := range held {
				c.Close()
			}
		})
		return server(t, func(c net.Conn) { held = append(held, c) })
	}
	for _, c := range []struct {
		name   string
		broker func(*testing.T) string
		tls    *TLSConfig
	}{
		{"refused", func(*testing.T) string { return "127.0.0.1:1" }, nil},
		{"never answers", silent, nil},
		{"never answers in TLS", silent, &TLSConfig{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeak(t)
			const attempts = 3
			for n := 1; ; n++ {
				took := closeWithoutBroker(t, KafkaConfig{Brokers: []string{c.broker(t)}, TLS: c.tls, MinBackoff: time.Hour, MaxBackoff: time.Hour, IOTimeout: time.Hour})
				if took < transportPatience/2 {
					break
				}
				if t.Logf("attempt %d of %d: Close took %v", n, attempts, took); n == attempts {
					t.Error("Close waits for the transport's timeouts")
					break
				}
			}
		})
	}
	t.Run("nothing queued", func(t *testing.T) {
		noLeak(t)
		k := newKafka(t, KafkaConfig{Brokers: []string{"127.0.0.1:1"}})
		if left, err := closeIn(t, eventually.Limit, k); left != 0 || err != nil {
			t.Errorf("left %d, %v", left, err)
		}
	})
}

// transportPatience is DialTimeout in newClient, the only timeout that no setting changes.
const transportPatience = 20 * time.Second

// closeWithoutBroker closes a sink that has ten records. It returns by how much Close exceeded its
// deadline.
func closeWithoutBroker(t *testing.T, cfg KafkaConfig) time.Duration {
	t.Helper()
	k := newKafka(t, cfg)
	for n := range 10 {
		k.Put(line(buffer.Finding, n))
	}
	const deadline = 300 * time.Millisecond
	begun := time.Now()
	left, err := closeIn(t, deadline, k)
	took := time.Since(begun) - deadline
	if left != 10 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("left %d, %v", left, err)
	}
	if k.Put(line(buffer.Finding, 11)) {
		t.Error("Put after Close")
	}
	return took
}

// TestSlowly counts the attempts after an error that only a person can fix.
func TestSlowly(t *testing.T) {
	https := httptest.NewTLSServer(nil)
	defer https.Close()
	k := newKafka(t, KafkaConfig{
		Brokers: []string{https.Listener.Addr().String()}, TLS: &TLSConfig{},
		MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond, SlowBackoff: time.Hour,
	})
	k.Put(line(buffer.Finding, 1))
	eventually.True(t, "one attempt", func() bool { return k.Status().Retries > 0 }, k.Status)
	for n := range 100 {
		k.Put(line(buffer.Finding, n))
		eventually.True(t, "the sink wakes", func() bool { return len(k.buffer.Ready()) == 0 }, k.Status)
	}
	if s := k.Status(); s.Retries != 1 {
		t.Errorf("%d attempts", s.Retries)
	}
}

// TestFileChangesMeanwhile: a secret is replaced while an attempt uses the old one. The new secret is used soon
// after that attempt.
func TestFileChangesMeanwhile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	https := httptest.NewTLSServer(nil)
	t.Cleanup(https.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: https.Certificate().Raw})
	write(t, file, string(ca))
	var attempts atomic.Int32
	broker := server(t, func(c net.Conn) {
		attempts.Add(1)
		write(t, file, string(ca)+strings.Repeat("\n", int(attempts.Load())))
		c.Write([]byte("220 smtp.example.org\r\n"))
		c.Close()
	})
	k := newKafka(t, KafkaConfig{Brokers: []string{broker}, TLS: &TLSConfig{CAFile: file}, SlowBackoff: time.Hour}) // only a changed file causes another attempt
	eventually.True(t, "a second attempt", func() bool { return k.Status().Retries >= 2 }, k.Status)
	if s := k.Status(); s.ErrorClass != classTLS {
		t.Errorf("%+v", s)
	}
}

// TestSilentBroker: a broker that accepts connections and never responds is avoided while there is another broker. Otherwise it
// is tried again.
func TestSilentBroker(t *testing.T) {
	var asked [2]int
	silent := make([]string, 2)
	var mu sync.Mutex
	for i := range silent {
		silent[i] = server(t, func(c net.Conn) {
			mu.Lock()
			asked[i]++
			mu.Unlock()
			t.Cleanup(func() { c.Close() })
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return asked[0] + asked[1] }
	d := &dialer{sockets: &ownsockets.Sockets{}, limit: 20 * time.Millisecond, life: t.Context(), brokers: silent}
	dial := func(address string) error {
		c, err := d.dial(t.Context(), "tcp", address)
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			c.Close()
		}
		return err
	}
	if err := dial(silent[0]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the first time: %v", err)
	}
	if err := dial(silent[0]); !errors.Is(err, errSilent) || !strings.Contains(err.Error(), silent[0]) {
		t.Errorf("the second time: %v", err)
	}
	if err := dial(silent[1]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the other: %v", err)
	}
	if err := dial(silent[0]); !errors.Is(err, os.ErrDeadlineExceeded) { // all are silent now
		t.Errorf("when there is no other: %v", err)
	}
	eventually.True(t, "three connections", func() bool { return count() == 3 }, count)
}

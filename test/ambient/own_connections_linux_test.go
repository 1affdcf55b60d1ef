package ambient_test

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/ambient/standin"
)

// TestOwnConnections checks a tap in an enrolled pod that publishes to a broker outside of the mesh. The proxy
// intercepts the tap's connections and forwards them from its own sockets, which the tap captures. If they use TLS,
// the tap recognizes them as its own, and there is no finding. If they are in plaintext, there is a finding, because
// they are plaintext on the wire; its text says that they may be the tap's own. An application's TLS to the same
// broker counts as the application's.
func TestOwnConnections(t *testing.T) {
	tap := buildTap(t)
	for _, c := range []struct {
		name string
		tls  bool
		want []string // the expected records; each must occur at least once, and no others may occur
	}{
		{"over TLS", true, []string{
			"forwarded: tap",
			"application: workload in the pod", "application: workload on the wire", "application: tls-not-mutual",
		}},
		{"in plaintext", false, []string{"forwarded: workload, claims tap", "forwarded: plaintext-edge, so this may be one of them"}},
	} {
		t.Run(c.name, func(t *testing.T) { ownConnections(t, tap, c.tls, c.want) })
	}
}

func ownConnections(t *testing.T, tap string, secure bool, want []string) {
	l := newLab(t, t.TempDir())
	a, broker := l.add(t, "a"), l.add(t, "c")
	authority, err := standin.NewAuthority()
	must(t, err)
	id, err := authority.Identity("lab", "client", "broker.lab")
	must(t, err)
	a.proxy = &standin.Proxy{Pod: a.ns, Address: a.address, Identity: id, Log: a.log}
	must(t, a.ns.Redirect())
	must(t, a.proxy.Start())
	t.Cleanup(func() { a.proxy.Close() })
	answered := standInBroker(t, broker, id, secure)
	spool := t.TempDir()
	env := []string{
		"TAP_AMBIENT=istio", "TAP_EMIT=findings,flows", "TAP_SINK=kafka", "TAP_KAFKA_BROKERS=" + at(broker, 9092).String(), "TAP_SPOOL_DIR=" + spool, "TAP_GRACE=1s",
		"POD_IPS=" + a.address.String(), "POD_NAME=a", "POD_NAMESPACE=lab", "POD_UID=a",
	}
	if secure {
		ca := filepath.Join(t.TempDir(), "ca.pem")
		must(t, os.WriteFile(ca, authority.PEM(), 0o600))
		env = append(env, "TAP_KAFKA_TLS_CA_FILE="+ca, "TAP_KAFKA_TLS_SERVER_NAME=broker.lab")
	}
	var stderr eventually.Output
	cmd := a.start(t, io.Discard, &stderr, env, tap, "run")
	eventually.True(t, "the broker gets two requests", func() bool { return answered() >= 2 }, &stderr)
	application := uint16(0)
	if secure { // an application connects to the same broker
		application = askBroker(t, a, at(broker, 9092).String())
	}
	said := func() map[string]int { return countByOwner(t, spooled(t, spool), application, a.log) }

	eventually.True(t, "all expected records are published", func() bool {
		got := said()
		return !slices.ContainsFunc(want, func(s string) bool { return got[s] == 0 })
	}, said, &stderr)
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, &stderr)
	}
	if got := slices.Sorted(maps.Keys(said())); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("records %q, want %q", got, want)
	}
}

// askBroker sends a request to a broker over TLS, like an application in the pod. It returns the connection's local
// port.
func askBroker(t *testing.T, p *host, broker string) uint16 {
	t.Helper()
	x, err := p.dial(t.Context(), broker)
	must(t, err)
	secure := tls.Client(x, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) //nolint:gosec // the test does not depend on the broker's name
	must(t, secure.HandshakeContext(t.Context()))
	_, err = secure.Write(request)
	must(t, err)
	_, err = io.Copy(io.Discard, secure)
	must(t, err)
	secure.Close()
	return addrPort(x.LocalAddr()).Port()
}

// countByOwner counts the records of connections to the broker. The key combines the owner of the connection, which
// the proxy's log shows, and the content of the record.
func countByOwner(t *testing.T, list []record, application uint16, log *standin.Log) map[string]int {
	t.Helper()
	whose := map[uint16]string{application: "application"}
	for _, e := range log.Events() {
		if e.Kind == standin.PlainOut {
			whose[e.Client.Port()] = cmp.Or(whose[e.For.Port()], "forwarded")
		}
	}
	said := map[string]int{}
	for _, r := range list {
		who := whose[r.Source.Port]
		switch m := &r.Meshtls; {
		case r.Destination.Port != 9092:
		case r.Event.Dataset == "meshtls.flow" && m.Verdict != "plaintext" && m.Verdict != "tls": // the tap ended before enough bytes for a verdict were sent
		case r.Event.Dataset == "meshtls.finding" && strings.Contains(r.Message, "so this may be one of them"):
			said[who+": "+r.Rule.ID+", so this may be one of them"]++
		case r.Event.Dataset == "meshtls.finding":
			said[who+": "+r.Rule.ID]++
		case m.Claimed != "":
			said[who+": "+m.Class+", claims "+m.Claimed]++
		case who == "application":
			said[who+": "+m.Class+map[string]string{"pod": " in the pod", "wire": " on the wire"}[m.Scope]]++
		default:
			said[who+": "+m.Class]++
		}
	}
	return said
}

// request is an application's ApiVersions request, version 0.
var request = append([]byte{0, 0, 0, 14, 0, 18, 0, 0, 0, 0, 0, 7, 0, 4}, "apps"...)

// standInBroker responds to one request of each connection with a Kafka error, and closes the connection. answered
// returns the number of its responses so far.
func standInBroker(t *testing.T, p *host, id *standin.Identity, secure bool) (answered func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	l := p.listen(t, 9092)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if secure {
					cfg := id.OneWay()
					cfg.MinVersion = tls.VersionTLS12
					c = tls.Server(c, cfg)
				}
				if respond(c) == nil {
					mu.Lock()
					n++
					mu.Unlock()
				}
				c.Close()
			}()
		}
	}()
	return func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// respond reads one request and responds with UNSUPPORTED_VERSION in the form of ApiVersions 0.
func respond(c net.Conn) error {
	var head [12]byte // a request's size, API key and version, and correlation id
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[:]))-8); err != nil {
		return err
	}
	_, err := c.Write(append(append([]byte{0, 0, 0, 10}, head[8:12]...), 0, 35, 0, 0, 0, 0))
	return err
}

// spooled returns the records that are in a spool and were not delivered yet.
func spooled(t *testing.T, folder string) (list []record) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	must(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil { // the record was delivered meanwhile
			continue
		}
		const begin = `{"@timestamp"`
		for _, part := range bytes.Split(b, []byte(begin))[1:] {
			var r record
			if json.NewDecoder(bytes.NewReader(append([]byte(begin), part...))).Decode(&r) == nil { // an incomplete record is ignored
				list = append(list, r)
			}
		}
	}
	return list
}

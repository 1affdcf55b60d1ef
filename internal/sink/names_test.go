package sink

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// names is a DNS server that knows one name. It responds with the address that was set last.
type names struct {
	name    string
	address atomic.Pointer[netip.Addr] // nil: there is no such name
}

// serveNames makes this process resolve all names by a new DNS server until the end of the test.
func serveNames(t *testing.T, name string) *names {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n, done := &names{name: name}, make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			size, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := n.answer(buf[:size]); answer != nil {
				c.WriteTo(answer, from)
			}
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", c.LocalAddr().String())
	}}
	t.Cleanup(func() { net.DefaultResolver = before; c.Close(); <-done })
	return n
}

func (n *names) is(address string) { a := netip.MustParseAddr(address); n.address.Store(&a) }

func (n *names) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q, a := m.Questions[0], n.address.Load()
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}
	switch known := a != nil && q.Name.String() == n.name+"."; {
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA && a.Is4():
		m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: a.As4()}}}
	case q.Type == dnsmessage.TypeAAAA && a.Is6():
		m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}}}
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}

// TestKafkaNames: the sink knows its broker only by a name. At first the name does not exist. Then it has an address without a
// broker, and then the broker's address on IPv6 loopback. At last the broker moves to another address. The sink is not notified
// of any change.
func TestKafkaNames(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 here: %v", err)
	} else {
		l.Close()
	}
	const name = "kafka.test"
	b := &broker{Broker: kafkatest.Start(t, "plain", []string{"ADDRESS=::1", "ALIASES=" + name}, nil)}
	cfg := b.topics(t, "names")
	put := func(k *Kafka, from int) {
		for n := from; n < from+40; n++ {
			k.Put(sample(datasets[n%4], n))
		}
	}
	literal := newKafka(t, cfg) // its broker is an address: [::1]:port
	put(literal, 0)
	flush(t, literal)

	_, port, _ := net.SplitHostPort(b.Aliases[0])
	dns := serveNames(t, name)
	cfg.Brokers = []string{name + ":" + port}
	k := newKafka(t, cfg)
	put(k, 40)
	says := func(class, want string) {
		t.Helper()
		eventually.True(t, want, func() bool { s := k.Status(); return s.ErrorClass == class && strings.Contains(s.Reason, want) }, k.Status, b.Log)
	}
	says(className, `the name "kafka.test" cannot be resolved (no such host): see TAP_KAFKA_BROKERS`)
	dns.is("127.0.0.9")
	says(classConnection, "127.0.0.9:"+port+": connect: connection refused: see TAP_KAFKA_BROKERS")
	dns.is("::1")
	delivered := func(n uint64) {
		t.Helper()
		eventually.True(t, "delivered", func() bool { s := k.Status(); return s.OK && s.ErrorClass == "" && sum(s.Delivered) == n }, k.Status, b.Log)
	}
	delivered(40)
	b.Stop()
	dns.is("127.0.0.2")
	b.Env[0] = "ADDRESS=127.0.0.2"
	b.Start()
	put(k, 80)
	delivered(80)
	flush(t, k)
	if ids, duplicates := distinct(b.readAll(cfg)); len(ids) != 120 || duplicates != 0 {
		t.Errorf("arrived %d, duplicates %d", len(ids), duplicates)
	}
}

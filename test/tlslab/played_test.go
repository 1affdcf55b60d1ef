package tlslab_test

import (
	"regexp"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// sizesOf collects the sizes of both ends' protected TLS records.
type sizesOf struct{ all []lengths }

// lengths are the lengths of the protected TLS records of one connection, in bytes.
type lengths struct {
	hello          *tlsmsg.ClientHello
	suite          uint16
	client, server []int
}

func (r *sizesOf) Data(c *flow.Conn, s *flow.Segment) {
	x, ok := c.User.(*dissect.Session)
	if !ok {
		x = dissect.New()
		c.User = x
	}
	x.Data(dissect.Side(s.Side), s.Offset, s.Data, s.Ack, s.Gap)
}

func (r *sizesOf) Changed(*flow.Conn) {}

func (r *sizesOf) End(c *flow.Conn, _ flow.EndReason) {
	x, ok := c.User.(*dissect.Session)
	if !ok || x.TLS() == nil || x.TLS().Server == nil {
		return
	}
	t := x.TLS()
	l := lengths{hello: t.Hello, suite: t.Server.CipherSuite}
	for side, out := range map[dissect.Side]*[]int{t.Client: &l.client, t.Client.Other(): &l.server} {
		list, _ := t.Records(side)
		for _, x := range list {
			*out = append(*out, x.Length)
		}
	}
	r.all = append(r.all, l)
}

// finished returns the size of a record that has only a Finished.
func (l *lengths) finished() int {
	if l.suite == 0x1302 {
		return 69
	}
	return 53
}

func (l *lengths) first() int {
	if len(l.client) == 0 {
		return 0
	}
	return l.client[0]
}

func (l *lengths) blocks(n int) bool { return l.first() > 16 && (l.first()-16)%n == 0 }

// TestPlayed checks that the records of each case show that it was played. Otherwise its capture would prove nothing.
// The lab itself checks the logs: a server's log has the certificates that it requested and received, and the log of
// a deceiving client has what it did.
func TestPlayed(t *testing.T) {
	context := func(n int) func(*lengths) bool {
		return func(l *lengths) bool {
			ignored := len(l.client) > 1 && l.client[0] == 32 && l.client[1] == l.finished()+11
			return l.first() == 25+n || l.first() == 25+n+16 || l.first() == 19 || len(l.client) == 0 || ignored
		} // some clients echo the context, some refuse, and Mbed TLS sends none
	}
	rules := []struct {
		file   string // a pattern
		played func(*lengths) bool
	}{
		{`/pad-finished-oneway`, func(l *lengths) bool { return l.first() == l.finished()+580 }},
		{`/pad-random-oneway`, func(l *lengths) bool { return l.first() > l.finished() && l.first() < l.finished()+300 }},
		{`/pad-random-mutual`, func(l *lengths) bool {
			return len(l.client) > 2 && l.client[2] > l.finished() && l.client[2] < l.finished()+300
		}},
		{`/fragment-pad-oneway`, func(l *lengths) bool {
			asked := l.hello.Has(1) || l.hello.RecordSizeLimit == 512
			largest := 0
			for _, n := range l.server[:min(6, len(l.server))] {
				largest = max(largest, n)
			}
			return l.first() == l.finished()+400 && asked && largest >= 511 && largest <= 529
		}},
		{`/context28\.`, context(28)}, {`/context44\.`, context(44)}, {`/context150\.`, context(150)}, {`/context250\.`, context(250)}, {`/context255\.`, context(255)},
		{`/padding-(0|512)-512-`, func(l *lengths) bool { return l.blocks(512) }},
		{`/padding-0-333-`, func(l *lengths) bool { return l.blocks(333) }},
		{`/padding-512-0-`, func(l *lengths) bool {
			return len(l.client) > 1 && !l.blocks(512) && (l.client[len(l.client)-2]-16)%512 == 0
		}},
		{`/pad512-(both|client)-`, func(l *lengths) bool { return l.blocks(512) }},
		{`/pad300-client-`, func(l *lengths) bool { return l.blocks(300) }},
		{`/sink-`, func(l *lengths) bool { return len(l.server) <= 6 && len(l.client) > 1 }},
		{`/sink-upload-`, func(l *lengths) bool {
			sum := 0
			for _, n := range l.client {
				sum += n
			}
			return sum > 80000
		}},
	}

	files, _ := manifest(t)
	seen := make([]int, len(rules))
	for _, file := range files {
		r := &sizesOf{}
		table := flow.NewTable(flow.Config{}, r)
		frames := load(t, capturePath(file))
		for i := range frames {
			table.Add(&flow.Packet{Time: frames[i].time, Data: frames[i].data, Length: len(frames[i].data), Link: wire.LinkEthernet})
		}
		table.Flush()
		for i, rule := range rules {
			if !regexp.MustCompile(rule.file).MatchString(file) {
				continue
			}
			for _, l := range r.all {
				seen[i]++
				if !rule.played(&l) {
					t.Errorf("%s: not played: client %v, server %v", file, l.client, l.server)
				}
			}
		}
	}
	for i, n := range seen {
		if n == 0 {
			t.Errorf("no capture of %s", rules[i].file)
		}
	}
}

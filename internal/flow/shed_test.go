package flow_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// marksDone is a Handler that is done with a connection once it has sent "!".
type marksDone struct {
	nothing
	table *flow.Table
	ended []uint16 // originator ports of connections that ended
}

func newMarksDone(cfg flow.Config) *marksDone {
	s := &marksDone{}
	s.table = flow.NewTable(cfg, s)
	return s
}

func (s *marksDone) Data(c *flow.Conn, x *flow.Segment) {
	if string(x.Data) == "!" {
		s.table.Done(c, false)
	}
}

func (s *marksDone) End(c *flow.Conn, _ flow.EndReason) { s.ended = append(s.ended, c.Orig.Port) }

// speak creates a connection with the given originator's port, and sends payload.
func speak(table *flow.Table, second, port int, payload string) {
	at := run(table, 0, start.Add(time.Duration(second)*time.Second), withPort(client, uint16(port)), server, handshake...)
	run(table, 0, at, withPort(client, uint16(port)), server, step{flags: "PA", seq: 1, ack: 1, data: payload})
}

// TestDoneIsEvictedFirst: a full table evicts done connections first. If connections that are not done fill more
// than a quarter of the table, these are evicted instead.
func TestDoneIsEvictedFirst(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload string // sent by connections a second apart, with ports from 1
		want    uint16
	}{
		{"the done one that was idle longest", "??!!!!!!", 3},
		{"one that is not done, if those fill more than a quarter", "!????!!!", 2},
		{"if none is done, the one that was idle longest", "????????", 1},
	} {
		s := newMarksDone(flow.Config{MaxConns: 8})
		table := s.table
		for i := range c.payload {
			speak(table, i, i+1, c.payload[i:i+1])
		}
		speak(table, 20, 99, "!")
		if len(s.ended) != 1 || s.ended[0] != c.want || table.Len() != 8 {
			t.Errorf("%s: %v of %d left", c.name, s.ended, table.Len())
		}
	}
}

// Shed(false) ends connections that are not done, whether they are closed or not. Shed(true) ends connections that are
// done. Neither ends a connection without payload.
func TestShed(t *testing.T) {
	s := newMarksDone(flow.Config{})
	table := s.table
	for i, payload := range []string{"!", "?", "!", "?", "?"} {
		speak(table, i, i+1, payload)
	}
	run(table, 0, start.Add(4500*time.Millisecond), withPort(client, 2), server, step{flags: "RA", seq: 2, ack: 1})
	run(table, 0, start.Add(4600*time.Millisecond), withPort(client, 50), server, handshake...)
	p := packetOf(wire.LinkEthernet, headers{src: netip.AddrPortFrom(client.Addr(), 60), dst: server, udp: true, payload: []byte("?")})
	p.Time = start.Add(5 * time.Second).UnixNano()
	table.Add(&p)
	for table.Shed(false) {
	}
	for table.Shed(true) {
	}
	want := []uint16{4, 5, 2, 60, 1, 3}
	if sprint(s.ended) != sprint(want) || table.Len() != 1 || table.Stats().Shed != uint64(len(want)) || table.Stats().Evicted != uint64(len(want)) {
		t.Errorf("%v ended, %d in the table, %+v", s.ended, table.Len(), table.Stats())
	}
}

// Closed connections leave the table after the linger time, whether they are done or not.
func TestDoneCloses(t *testing.T) {
	s := newMarksDone(flow.Config{})
	table := s.table
	speak(table, 0, 1, "!")
	speak(table, 0, 2, "?")
	for _, port := range []uint16{1, 2} {
		run(table, 0, start.Add(time.Second), withPort(client, port), server, step{flags: "RA", seq: 2, ack: 1})
	}
	table.Tick(start.Add(10 * time.Second).UnixNano())
	if sprint(s.ended) != "[1 2]" {
		t.Errorf("%v left", s.ended)
	}
}

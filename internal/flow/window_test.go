package flow_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// live adds steps as the server's host captures them, a millisecond apart.
func live(table *flow.Table, at time.Time, steps ...step) time.Time {
	for _, s := range steps {
		at = at.Add(s.wait)
		p := s.packet(client, server)
		p.Time, p.Origin = at.UnixNano(), flow.OriginArrived
		if s.server {
			p.Origin = flow.OriginSent
		}
		table.Add(&p)
		at = at.Add(time.Millisecond)
	}
	return at
}

// TestForgedNumbers: a segment that the receiver drops because of its numbers has no effect. Its bytes are neither
// delivered nor a gap, and it neither hides nor ends anything.
func TestForgedNumbers(t *testing.T) {
	const text = "text of another"
	signed := []byte{1, 1, 19, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for name, c := range map[string]struct {
		forged step
		live   bool // only a capture at the receiver's host shows that the segment is forged
	}{
		"far ahead":                        {step{flags: "PA", seq: 500_000, ack: 4, data: text}, false},
		"far ahead, 512 MiB":               {step{flags: "PA", seq: 1 << 29, ack: 4, data: text}, false},
		"far back":                         {step{flags: "PA", seq: ^uint32(5 << 20), ack: 4, data: text}, false},
		"half of all numbers ahead":        {step{flags: "PA", seq: 1 << 31, ack: 1 << 31, data: text}, false},
		"without an ACK bit":               {step{flags: "P", seq: 7, data: text}, false},
		"acknowledging far ahead":          {step{flags: "PA", seq: 7, ack: 100_000_000, data: text}, false},
		"acknowledging far back":           {step{flags: "PA", seq: 7, ack: ^uint32(100_000_000), data: text}, false},
		"acknowledging a little ahead":     {step{flags: "PA", seq: 7, ack: 500, data: text}, true},
		"an acknowledgement far ahead":     {step{flags: "A", seq: 7, ack: 100_000_000}, false},
		"an acknowledgement ahead":         {step{flags: "A", seq: 7, ack: 500}, true},
		"an acknowledgement at far number": {step{flags: "A", seq: 100_000_000, ack: 4}, false},
		"a FIN far ahead":                  {step{flags: "FA", seq: 500_000, ack: 4}, false},
		"a FIN without an ACK bit":         {step{flags: "F", seq: 7}, false},
		"a RST far ahead":                  {step{flags: "R", seq: 500_000}, false},
		"a RST in the window":              {step{flags: "R", seq: 100}, true},
		"an old RST":                       {step{flags: "R", seq: 2}, false},
		"a SYN":                            {step{flags: "S", seq: 500_000}, false},
		"a SYN in the window":              {step{flags: "S", seq: 100}, false},
		"signed":                           {step{flags: "PA", seq: 7, ack: 4, data: text, options: signed}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, atHost := range []bool{true, false} {
				if c.live && !atHost {
					continue
				}
				g := newGather(t)
				table := flow.NewTable(flow.Config{}, g)
				feed := live
				if !atHost {
					feed = func(table *flow.Table, at time.Time, steps ...step) time.Time {
						return run(table, 0, at, client, server, steps...)
					}
				}
				at := feed(table, start, after(step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "200"}, step{flags: "PA", seq: 4, ack: 4, data: "GET"})...)
				at = feed(table, at, c.forged)
				for i := range uint32(4) {
					at = feed(table, at, step{server: true, flags: "PA", seq: 4 + 3*i, ack: 7 + 3*i, data: "200"}, step{flags: "PA", seq: 7 + 3*i, ack: 7 + 3*i, data: "GET"})
				}
				table.Tick(at.Add(5 * time.Second).UnixNano())
				feed(table, at.Add(5*time.Second), step{flags: "PA", seq: 19, ack: 16, data: "end"})
				var behind bool
				table.Each(func(c *flow.Conn) { behind = behind || c.Undelivered(flow.Originator) || c.Undelivered(flow.Responder) })
				table.Flush()
				if got := strings.Join(g.log, " "); got != "c0 GET s0 200 c3 GET s3 200 c6 GET s6 200 c9 GET s9 200 c12 GET s12 200 c15 GET c18 end end S1" || behind || len(g.ended) != 1 || g.ended[0].Doubtful() {
					t.Errorf("at the host %t: %s, undelivered %t, %d connections", atHost, got, behind, len(g.ended))
				}
				if s := table.Stats(); s.Gaps > 0 || s.Buffered > 0 || s.Unacceptable == 0 && c.forged.flags != "S" {
					t.Errorf("%+v", s)
				}
			}
		})
	}
}

// TestOneFarSegment: one segment far ahead does not prevent the delivery of the other data of its direction, for
// segments of any size.
func TestOneFarSegment(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	at := live(table, start, after(step{flags: "PA", seq: 1 << 29, ack: 1, data: "junk"})...)
	for i := range uint32(10) {
		at = live(table, at, step{flags: "PA", seq: 1 + 5*i, ack: 1, data: "line\n"}, step{server: true, flags: "A", seq: 1, ack: 6 + 5*i})
	}
	table.Each(func(c *flow.Conn) {
		if c.Undelivered(flow.Originator) || c.Undelivered(flow.Responder) {
			t.Error("a refuted segment keeps a gap open")
		}
	})
	if len(g.log) != 10 || table.Stats().Unacceptable != 1 {
		t.Errorf("%v, %+v", g.log, table.Stats())
	}
}

// TestHonestNumbers: the data of an honest sender are delivered after any losses of the capture, and for any order of
// the segments.
func TestHonestNumbers(t *testing.T) {
	ask, answer := step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "200"}
	const mb = 1 << 20
	for name, c := range map[string]struct {
		steps []step
		want  string
	}{
		"both directions were lost, data first": {
			after(ask, answer, step{flags: "PA", seq: 5 * mb, ack: 3 * mb, data: "one"}, step{server: true, flags: "A", seq: 3 * mb, ack: 5*mb + 3}, step{flags: "PA", seq: 5*mb + 3, ack: 3 * mb, data: "two"}),
			"c0 GET s0 200 c5242879 gap 5242876 one c5242882 two s3145727 gap 3145724 end S1",
		},
		"both directions were lost, an acknowledgement first": {
			after(ask, answer, step{server: true, flags: "A", seq: 4, ack: 5 * mb}, step{flags: "PA", seq: 5 * mb, ack: 4, data: "one"}, step{server: true, flags: "A", seq: 4, ack: 5*mb + 3}),
			"c0 GET s0 200 c5242879 gap 5242876 one end S1",
		},
		"many segments before the next acknowledgement": {
			after(ask, answer, step{flags: "PA", seq: 5 * mb, ack: 4, data: "one"}, step{flags: "PA", seq: 5*mb + 3, ack: 4, data: "two"}, step{flags: "PA", seq: 5*mb + 6, ack: 4, data: "three"}, step{server: true, flags: "A", seq: 4, ack: 5*mb + 3}, step{server: true, flags: "A", seq: 4, ack: 5*mb + 11}),
			"c0 GET s0 200 c5242879 gap 5242876 one c5242882 two c5242885 three end S1",
		},
		"the server's packet was lost": {
			after(ask, step{flags: "PA", seq: 4, ack: 4, data: "two"}, step{server: true, flags: "PA", seq: 4, ack: 7, data: "201"}),
			"c0 GET c3 two s3 gap 3 201 end S1",
		},
		"the server's packet was lost, and nothing follows": {
			after(ask, step{flags: "PA", seq: 4, ack: 4, data: "two"}),
			"c0 GET c3 two s3 gap 3 end S1",
		},
		"a full window in order": {
			after(step{flags: "PA", seq: 1, ack: 1, data: strings.Repeat("x", 40000)}, step{flags: "PA", seq: 40001, ack: 1, data: strings.Repeat("y", 40000)}, step{flags: "PA", seq: 80001, ack: 1, data: "z"}),
			"c0 " + strings.Repeat("x", 40000) + " c40000 " + strings.Repeat("y", 40000) + " c80000 z end S1",
		},
		"a large window in another order": {
			afterWide(step{flags: "PA", seq: 3 * mb, ack: 1, data: "b"}, step{flags: "PA", seq: 1, ack: 1, data: "a"}, step{server: true, flags: "A", seq: 1, ack: 3*mb + 1}),
			"c0 a c3145727 gap 3145726 b end S1",
		},
		"the SYN was sent again, without options": {
			slices.Insert(afterWide(step{flags: "PA", seq: 1, ack: 1, data: "a"}, step{flags: "PA", seq: 3 * mb, ack: 1, data: "b"}), 1, step{flags: "S"}),
			"c0 a c3145727 gap 3145726 b end S1",
		},
		"no handshake, so the scale is unknown": {
			[]step{{flags: "PA", seq: 1, ack: 1, data: "a"}, {server: true, flags: "A", seq: 1, ack: 2}, {flags: "PA", seq: 3 * mb, ack: 1, data: "b"}, {server: true, flags: "A", seq: 1, ack: 3*mb + 1}},
			"c0 a c3145727 gap 3145726 b end OTH",
		},
		"no acknowledgement after a gap": {
			after(ask, answer, step{flags: "PA", seq: 1004, ack: 4, data: strings.Repeat("x", 40000)}, step{flags: "PA", seq: 41004, ack: 4, data: strings.Repeat("y", 40000)}, step{flags: "PA", seq: 81004, ack: 4, data: "z"}),
			"c0 GET s0 200 c1003 gap 1000 " + strings.Repeat("x", 40000) + " c41003 " + strings.Repeat("y", 40000) + " c81003 z end S1",
		},
		"both directions were lost, and a segment is large": {
			after(ask, answer, step{flags: "PA", seq: 5 * mb, ack: 4, data: strings.Repeat("x", 60000)}, step{server: true, flags: "A", seq: 4, ack: 5*mb + 60000}),
			"c0 GET s0 200 c5242879 gap 5242876 " + strings.Repeat("x", 60000) + " end S1",
		},
		"one direction only": {
			[]step{{flags: "S"}, {flags: "A", seq: 1, ack: 1}, ask, {flags: "PA", seq: 5 * mb, ack: 3 * mb, data: "b"}},
			"c0 GET c5242879 gap 5242876 b end S0",
		},
		"probes": {
			after(ask, answer, step{flags: "A", seq: 3, ack: 4, wait: time.Minute}, step{server: true, flags: "A", seq: 4, ack: 4}, step{flags: "PA", seq: 4, ack: 4, data: "!"}),
			"c0 GET s0 200 c3 ! end S1",
		},
		"an old copy": {
			after(ask, answer, ask, step{server: true, flags: "A", seq: 4, ack: 4}, step{flags: "PA", seq: 4, ack: 1, data: "!"}),
			"c0 GET s0 200 c3 ! end S1",
		},
		"closed and reset": {
			after(ask, answer, step{flags: "FA", seq: 4, ack: 4}, step{server: true, flags: "A", seq: 4, ack: 5}, step{flags: "R", seq: 5}),
			"c0 GET s0 200 changed cFIN changed cFIN cRST end RSTO",
		},
	} {
		for _, atHost := range []bool{true, false} {
			g := newGather(t)
			table := flow.NewTable(flow.Config{}, g)
			if atHost {
				live(table, start, c.steps...)
			} else {
				run(table, 0, start, client, server, c.steps...)
			}
			table.Flush()
			if got := strings.Join(g.log, " "); got != c.want {
				t.Errorf("%s, at the host %t: %.200s, want %.200s", name, atHost, got, c.want)
			}
			if s := table.Stats(); s.Buffered != 0 || s.Unacceptable != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		}
	}
}

// TestSuspectsAreBounded: any number of segments that the receiver drops takes bounded memory, and the stream is
// delivered.
func TestSuspectsAreBounded(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	at := live(table, start, handshake...)
	far := make([]step, 0, 2000)
	for i := range uint32(2000) {
		far = append(far, step{flags: "PA", seq: 1<<20 + i<<14, ack: 1, data: strings.Repeat("x", 1400)})
	}
	at = live(table, at, far...)
	if s := table.Stats(); s.MaxBuffered > 64<<10 {
		t.Errorf("%+v", s)
	}
	live(table, at, slices.Concat(slices.Repeat([]step{{flags: "PA", seq: 1, ack: 1, data: "GET"}, {server: true, flags: "A", seq: 1, ack: 4}}, 3))...)
	if s := table.Stats(); s.Unacceptable != 2000 || s.Buffered != 0 || sprint(g.log) != "[c0 GET]" {
		t.Errorf("%+v, %v", s, g.log)
	}
}

// atEnd is a Handler that records Conn.Undelivered of the originator when its connection ends.
type atEnd struct {
	nothing
	behind bool
}

func (e *atEnd) End(c *flow.Conn, _ flow.EndReason) { e.behind = c.Undelivered(flow.Originator) }

// TestUndecidedIsNotAbsent: a connection ends with a segment outside of the window that no packet of the receiver
// has refuted. The receiver may have accepted the segment's data, so Undelivered is true.
func TestUndecidedIsNotAbsent(t *testing.T) {
	far, ack := step{flags: "PA", seq: 3 << 20, ack: 1, data: "text"}, step{server: true, flags: "A", seq: 1, ack: 1}
	for _, c := range []struct {
		steps []step
		want  bool
	}{
		{after(), false},
		{after(far), true},
		{after(far, ack), true},
		{after(far, ack, ack, ack), false}, // refuted
	} {
		h := &atEnd{}
		table := flow.NewTable(flow.Config{}, h)
		live(table, start, c.steps...)
		table.Flush()
		if h.behind != c.want {
			t.Errorf("%d packets: behind %t, want %t", len(c.steps), h.behind, c.want)
		}
	}
}

// TestSuspectCost: the memory that is counted for a suspended segment is at least its real size.
func TestSuspectCost(t *testing.T) {
	if size, cost := flow.SuspectSize(); cost < size || cost > 2*size {
		t.Errorf("a cost of %d for %d bytes", cost, size)
	}
}

// TestUnheardReceiver: data far past a window are delivered if the receiver is no longer captured. They are not
// delivered if the receiver answers, or if it is the host of a live capture.
func TestUnheardReceiver(t *testing.T) {
	const far = 5 << 20
	text := func(n int) (all []step) {
		for i := range uint32(n) {
			all = append(all, step{flags: "PA", seq: far + 4*i, ack: 4, data: "text"})
		}
		return all
	}

	head := after(step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "200"})
	const none, seen = "c0 GET s0 200 end S1", "c0 GET s0 200 c5242879 gap 5242876 text c5242883 text c5242887 text c5242891 text"
	last := text(5)[4:]
	for name, c := range map[string]struct {
		steps, later []step // later steps start a second after the first step
		feed         func(*flow.Table, time.Time, ...step) time.Time
		want         string
	}{
		"three":             {text(3), nil, offline, none},
		"four":              {text(4), nil, offline, seen + " end S1"},
		"a burst":           {text(9), slices.Repeat([]step{{server: true, flags: "A", seq: 4, ack: 4}}, 3), offline, none},
		"five":              {text(4), last, offline, seen + " c5242895 text end S1"},
		"three and a FIN":   {append(text(3), step{flags: "FA", seq: far + 12, ack: 4}), nil, offline, strings.TrimSuffix(seen, " c5242891 text") + " changed cFIN end S2"},
		"acknowledgements":  {slices.Repeat([]step{{flags: "A", seq: far, ack: 4}}, 9), nil, offline, none},
		"answered":          {append(text(4), step{server: true, flags: "A", seq: 4, ack: 4}), last, offline, none},
		"refused by a RST":  {append(text(4), step{server: true, flags: "R", seq: 4 << 20}), last, offline, none},
		"at the receiver's": {text(9), last, live, none},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		at := c.feed(table, c.feed(table, start, head...), c.steps...).Add(time.Second)
		if c.later == nil {
			table.Tick(at.UnixNano())
		}
		c.feed(table, at, c.later...)
		table.Flush()
		if got := strings.Join(g.log, " "); got != c.want || table.Stats().Buffered != 0 {
			t.Errorf("%s: %s, %+v", name, got, table.Stats())
		}
	}
}

// offline adds steps as packets of a capture file.
func offline(table *flow.Table, at time.Time, steps ...step) time.Time {
	return run(table, 0, at, client, server, steps...)
}

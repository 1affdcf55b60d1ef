package pipeline_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// stray is a segment with forged addresses and numbers.
type stray struct {
	fromPod  bool
	flags    byte
	seq, ack uint32
	text     string
	wait     time.Duration // time between the previous segment and this one
}

// TCP flags.
const (
	flagSYN, flagRST, flagPSH, flagACK = 2, 4, 8, 16
)

func (s stray) packet(at time.Time) flow.Packet {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, byte(40 + len(s.text)), 0, 0, 0, 0, 64, 6, 0, 0}
	ends, ports := []byte{10, 2, 0, 9, 10, 2, 0, 1}, []uint16{45678, 8443}
	p := flow.Packet{Time: at.UnixNano(), Link: wire.LinkEthernet, Origin: flow.OriginArrived}
	if s.fromPod {
		ends, p.Origin = []byte{10, 2, 0, 1, 10, 2, 0, 9}, flow.OriginSent
		slices.Reverse(ports)
	}
	b = append(b, ends...)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, ports[0]), ports[1])
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, s.seq), s.ack)
	p.Data = append(append(b, 0x50, s.flags, 0xff, 0xff, 0, 0, 0, 0), s.text...)
	p.Length = len(p.Data)
	return p
}

// TestTurnedAway: text in segments that belong to no connection is not plaintext if the only answer to each is an
// RST, and no finding is opened before the RST. Text that is acknowledged, or that continues while the other end
// is not seen, is soon judged plaintext. Text that the pod sent is judged plaintext too if a third host forged the
// RST.
func TestTurnedAway(t *testing.T) {
	const text = "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 4\r\n\r\n"
	here := uint32(len(text))
	said := stray{flags: flagPSH | flagACK, seq: 7000, ack: 90, text: text}
	rst := stray{fromPod: true, flags: flagRST, seq: 90}
	taken := stray{fromPod: true, flags: flagACK, seq: 90, ack: 7000 + here}
	mine := stray{fromPod: true, flags: flagPSH | flagACK, seq: 7000, ack: 90, text: text}
	on := func(n int, wait time.Duration) (all []stray) {
		for k := range n {
			all = append(all, stray{flags: flagPSH | flagACK, seq: 7000 + uint32(k)*here, ack: 90, text: text, wait: wait})
		}
		return all
	}
	for name, c := range map[string]struct {
		steps   []stray
		verdict string
		at      int // number of packets after which the finding is open; 0: never, -1: at the end
	}{
		"a RST":                            {[]stray{said, rst}, "unknown", 0},
		"late":                             {[]stray{said, {fromPod: true, flags: flagRST, seq: 90, wait: 500 * time.Millisecond}}, "unknown", 0},
		"no ACK bit":                       {[]stray{{flags: flagPSH, seq: 7000, text: text}, {fromPod: true, flags: flagRST | flagACK, ack: 7000 + here}}, "unknown", 0},
		"eight, then their RSTs":           {slices.Concat(on(8, 0), slices.Repeat([]stray{rst}, 8)), "unknown", 0},
		"a RST for each":                   {slices.Concat(on(1, 0), []stray{rst}, on(2, 0)[1:], []stray{rst}), "unknown", 0},
		"a SYN with text to a closed port": {[]stray{{flags: flagSYN, seq: 6999, text: text}, {fromPod: true, flags: flagRST | flagACK, ack: 7000 + here}}, "unknown", 0},
		"a SYN, a RST, text and a RST":     {[]stray{{flags: flagSYN, seq: 6999}, {fromPod: true, flags: flagRST | flagACK, ack: 7000}, said, rst}, "unknown", 0},
		"TLS without encryption":           {[]stray{{flags: flagPSH | flagACK, seq: 7000, ack: 90, text: sealedText(strings.Repeat(text, 2))}, rst}, "unknown", 0},
		"acknowledged":                     {[]stray{said, taken}, "plaintext", 2},
		"acknowledged, then a RST":         {[]stray{said, taken, rst}, "plaintext", 2},
		"answered":                         {[]stray{said, {fromPod: true, flags: flagPSH | flagACK, seq: 90, ack: 7000 + here, text: "GET / HTTP/1.1\r\n\r\n"}}, "plaintext", 2},
		"one direction, once":              {[]stray{said}, "plaintext", -1},
		"one direction, on and on":         {on(20, 0), "plaintext", 16},
		"one direction, slowly":            {on(3, 600*time.Millisecond), "plaintext", 3},
		"of the pod, a RST":                {[]stray{mine, {flags: flagRST, seq: 90}}, "unknown", 0},
		"of the pod, a RST with an ACK":    {[]stray{{fromPod: true, flags: flagPSH, seq: 7000, text: text}, {flags: flagRST | flagACK, ack: 7000 + here}}, "unknown", 0},
		"of the pod, a made-up RST":        {[]stray{mine, {flags: flagRST, seq: 5555}, {flags: flagACK, seq: 90, ack: 7000 + here}}, "plaintext", 2},
		"of the pod, made up with an ACK":  {[]stray{mine, {flags: flagRST | flagACK, seq: 90, ack: 5555}}, "plaintext", 2},
	} {
		got, found := playStrays(t, pipeline.Config{}, c.steps)
		if got != "["+c.verdict+"]" || found != c.at {
			t.Errorf("%s: %s, found after %d packets", name, got, found)
		}
	}
}

// playStrays plays segments. It returns the verdicts, and the number of packets after which a finding was open: 0: never, -1: at the
// end.
func playStrays(t *testing.T, cfg pipeline.Config, steps []stray) (verdicts string, found int) {
	t.Helper()
	var all []string
	opened := false
	cfg.Judge.Local = []netip.Prefix{netip.MustParsePrefix("10.2.0.1/32")}
	cfg.Engine = finding.Config{
		Tap: "pod", Window: time.Hour, Flows: true, Findings: true,
		Expect: []finding.Expectation{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Want: finding.ExpectMTLS}},
		Emit: func(r finding.Record) {
			schematest.Check(t, r.Value)
			if r.Dataset == finding.DatasetFlow {
				all = append(all, unmarshal(t, r.Value).Meshtls.Verdict)
			}
			opened = opened || r.Dataset == finding.DatasetFinding
		},
	}
	p := pipeline.New(cfg)
	at := captureStart
	for k, s := range steps {
		at = at.Add(s.wait)
		packet := s.packet(at)
		p.Add(packet)
		if opened && found == 0 {
			found = k + 1
		}
		at = at.Add(50 * time.Microsecond)
	}
	p.Flush()
	if opened && found == 0 {
		found = -1
	}
	return fmt.Sprint(all), found
}

// TestNeverAnswered: in a live capture, which contains the pod's own packets, text that arrives in segments to which the pod sends
// nothing is not plaintext, however much of it there is: the kernel has dropped the segments. The text counts as soon as the pod
// acknowledges it, and always if the pod sends it.
func TestNeverAnswered(t *testing.T) {
	const text = "GET /cart HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n"
	arrives := func(n int, wait time.Duration) (all []stray) {
		for k := range n {
			all = append(all, stray{flags: flagPSH | flagACK, seq: 7000 + uint32(k*len(text)), ack: 90, text: text, wait: wait})
		}
		return all
	}
	taken := func(n int) stray {
		return stray{fromPod: true, flags: flagACK, seq: 90, ack: 7000 + uint32(n*len(text))}
	}
	mine := stray{fromPod: true, flags: flagPSH | flagACK, seq: 7000, ack: 90, text: text}
	for name, c := range map[string]struct {
		steps   []stray
		verdict string
		at      int
	}{
		"one segment":                      {arrives(1, 0), "unknown", 0},
		"many segments":                    {arrives(40, 0), "unknown", 0},
		"segments for a long time":         {arrives(4, time.Hour/8), "unknown", 0},
		"a SYN and text":                   {slices.Concat([]stray{{flags: flagSYN, seq: 6999}}, arrives(2, 0)), "unknown", 0},
		"as a response":                    {[]stray{{flags: flagPSH | flagACK, seq: 7000, ack: 90, text: "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 4\r\n\r\nabcd"}}, "unknown", 0},
		"acknowledged at once":             {slices.Concat(arrives(1, 0), []stray{taken(1)}), "plaintext", 2},
		"acknowledged after many":          {slices.Concat(arrives(40, 0), []stray{taken(40)}), "plaintext", 41},
		"acknowledged after a long time":   {slices.Concat(arrives(3, time.Minute), []stray{taken(3)}), "plaintext", 4},
		"of the pod":                       {[]stray{mine}, "plaintext", -1},
		"of the pod, and more for a while": {[]stray{mine, {fromPod: true, flags: flagPSH | flagACK, seq: 7000 + uint32(len(text)), ack: 90, text: text, wait: 2 * time.Second}}, "plaintext", 2},
	} {
		pod := netip.MustParseAddr("10.2.0.1")
		cfg := pipeline.Config{Judge: verdict.Config{Replies: true}, Local: func(a netip.Addr, _ int64) bool { return a == pod }}
		if got, found := playStrays(t, cfg, c.steps); got != "["+c.verdict+"]" || found != c.at {
			t.Errorf("%s: %s, found after %d packets", name, got, found)
		}
	}
}

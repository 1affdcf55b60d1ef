package verdict_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// flight12 is a flight of TLS 1.2: the bytes that one end sends at once.
type flight12 struct {
	side int
	sent string
}

// certNames returns n names for a certificate, each with its tag and length.
func certNames(n int) (b string) {
	for i := range n {
		b += "\x82" + sized(1, fmt.Sprintf("service-%d.shop.svc.cluster.local", i))
	}
	return b
}

// handshakes returns the records of a handshake message of any size.
func handshakes(b string) (all string) {
	for part := range slices.Chunk([]byte(b), 1<<14) {
		all += record(22, string(part))
	}
	return all
}

// flights12 returns the flights of mutual TLS 1.2, a request and its response. The server's message of type typ and
// the client's Certificate have n names.
func flights12(typ byte, n int) []flight12 {
	chain := func(b string) string { return handshakes(message(11, sized(3, sized(3, b)))) }
	server := hello{old: true, suite: 0xc02b}.bytes(false)
	if typ == 11 {
		server += chain(certNames(n))
	} else {
		server += chain("certificate") + handshakes(message(typ, certNames(n)))
	}
	server += record(22, message(13, "\x01\x40"+sized(2, "\x04\x03")+sized(2, ""))) + record(22, message(14, ""))
	done := record(20, "\x01") + record(22, strings.Repeat("\xa7", 40))
	data := record(23, strings.Repeat("\xc3", 300))
	return []flight12{
		{0, hello{old: true}.bytes(true)},
		{1, server},
		{0, chain(certNames(n)) + record(22, message(16, strings.Repeat("\x91", 66))) + record(22, message(15, strings.Repeat("\x93", 70))) + done},
		{1, done},
		{0, data},
		{1, data},
		{0, data},
		{1, data},
	}
}

// fly plays flights in segments. lost reports whether the capture lacks a segment, by the index of its flight and its
// index in the flight.
func fly(flights []flight12, midstream bool, lost func(flight, segment int) bool) *dissect.Session {
	const mss = 1400
	s := dissect.New()
	if midstream {
		s.Midstream()
	}
	var at, gap, skipped [2]int64
	seen := [2]bool{}
	for i, f := range flights {
		n := 0
		for b := range slices.Chunk([]byte(f.sent), mss) {
			switch {
			case !lost(i, n):
				s.Data(dissect.Side(f.side), at[f.side]-skipped[f.side], b, at[1-f.side]-skipped[1-f.side], gap[f.side])
				gap[f.side], seen[f.side] = 0, true
			case midstream && !seen[f.side]:
				skipped[f.side] += int64(len(b))
			default:
				gap[f.side] += int64(len(b))
			}
			at[f.side] += int64(len(b))
			n++
		}
	}
	return s
}

// TestRestOfAFlight checks plaintext handshake messages after lost bytes. They are not mistaken for the plaintext
// of an application, or of a protocol that negotiated TLS.
func TestRestOfAFlight(t *testing.T) {
	for what, flights := range map[string][]flight12{
		"names":                flights12(11, 100),
		"very many names":      flights12(11, 900),
		"certificate requests": flights12(13, 100),
		"an OCSP response":     flights12(22, 100),
		"a few names":          flights12(11, 12),
	} {
		for from := range 4 {
			for n := 1; n <= 3; n++ {
				for _, midstream := range []bool{false, true} {
					s := fly(flights, midstream, func(flight, segment int) bool {
						return flight == from && segment < n || midstream && flight < from
					})
					c := conn(1, "10.0.0.1")
					c.MissedStart = midstream
					got := verdict.New(verdict.Config{}).Judge(c, s, "eth0", true)
					if got.Verdict != verdict.TLS && got.Verdict != verdict.MTLS || slices.Contains(got.Reasons, "starttls") {
						t.Errorf("%s, %d segments of flight %d lost (%v): %s %v", what, n, from, midstream, got.Verdict, got.Reasons)
					}
				}
			}
		}
	}
}

// TestPlaintextBehindAWithheldSegment checks plaintext after a hello and a missing segment. Plaintext that continues is
// found, whether it is text or not. So is a single response of a recognized protocol.
func TestPlaintextBehindAWithheldSegment(t *testing.T) {
	line := func(side, i int) string { return fmt.Sprintf("word %d of %d\n", i, side) }
	text := func(side, i int) string { return strings.Repeat(line(side, i), 40) }
	modbus := func(_, i int) string {
		return "\x00" + string([]byte{byte(i)}) + "\x00\x00\x00\x17\x01\x03\x14" + strings.Repeat("\x00\x07", 10)
	}
	client := hello{old: true}.bytes(true)
	for what, say := range map[string]func(side, i int) string{"lines": line, "text": text, "modbus": modbus} {
		for withheld, names := range map[string]string{"server": "S", "client": "C", "both": "CS"} {
			s := dissect.New()
			s.Data(0, 0, []byte(client), 0, 0)
			at, gap := [2]int64{int64(len(client)), 0}, [2]int64{}
			for side := range 2 {
				if strings.IndexByte(names, "CS"[side]) >= 0 {
					at[side], gap[side] = at[side]+1400, 1400
				}
			}
			for i := range 60 {
				for side := range 2 {
					b := say(side, i)
					s.Data(dissect.Side(side), at[side], []byte(b), at[1-side], gap[side])
					at[side], gap[side] = at[side]+int64(len(b)), 0
				}
			}
			if got := verdict.New(verdict.Config{}).Judge(conn(1, "10.0.0.1"), s, "eth0", true); got.Verdict != verdict.Plaintext && (what != "modbus" || got.Verdict != verdict.Unknown || withheld == "server") {
				t.Errorf("%s, withheld by %s: %s %v", what, withheld, got.Verdict, got.Reasons)
			}
		}
	}
	s := dissect.New()
	s.Data(0, 0, []byte(client), 0, 0)
	s.Data(1, 1400, []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), int64(len(client)), 1400)
	if got := verdict.New(verdict.Config{}).Judge(conn(1, "10.0.0.1"), s, "eth0", true); got.Verdict != verdict.Plaintext {
		t.Errorf("an answer of HTTP: %s %v", got.Verdict, got.Reasons)
	}
}

// TestRestOfAHello checks that the padding of a ClientHello is not taken for plaintext if its first packet was lost
// or preceded the capture.
func TestRestOfAHello(t *testing.T) {
	padded := hello{extensions: map[uint16]string{21: strings.Repeat("\x00", 48<<10)}}.bytes(true)
	client := handshakes(padded[5:])
	for _, answer := range []string{"", hello{}.bytes(false) + record(23, strings.Repeat("\xa7", 900))} {
		for _, midstream := range []bool{false, true} {
			s := fly([]flight12{{0, client}, {1, answer}}, midstream, func(flight, segment int) bool { return flight == 0 && segment == 0 })
			c := conn(1, "10.0.0.1")
			c.MissedStart = midstream
			got := verdict.New(verdict.Config{}).Judge(c, s, "eth0", true)
			if want := map[bool]verdict.Verdict{true: verdict.Unknown, false: verdict.TLS}[answer == ""]; got.Verdict != want {
				t.Errorf("answered %v, in mid-stream %v: %s %v", answer != "", midstream, got.Verdict, got.Reasons)
			}
		}
	}
}

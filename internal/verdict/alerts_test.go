package verdict_test

import (
	"crypto/tls"
	"fmt"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// shows returns a judgement's verdict, outcome, client authentication and reasons.
func shows(j verdict.Judged) string {
	if j.TLS == nil {
		return fmt.Sprint(j.Verdict, j.Reasons)
	}
	return fmt.Sprint(j.Verdict, " ", j.TLS.Outcome, " ", j.TLS.ClientAuth, j.Reasons)
}

// interrupted plays chunks, and calls does before the chunk with the index at, or never if at is -1. It judges after
// each chunk, and finishes the session once the verdict is settled.
func interrupted(chunks []capturetest.Chunk, at int, does func(s *dissect.Session, seen *[2]int64)) verdict.Judged {
	j, c, s := verdict.New(verdict.Config{}), conn(1, "10.0.0.1"), dissect.New()
	var seen [2]int64
	for i, x := range chunks {
		if i == at {
			does(s, &seen)
		}
		side := dissect.Originator
		if x.FromServer {
			side = dissect.Responder
		}
		s.Data(side, seen[side], x.Data, seen[side.Other()], 0)
		seen[side] += int64(len(x.Data))
		if j.Judge(c, s, "eth0", false).Settled && s.Complete() {
			s.Finish()
		}
	}
	return j.Judge(c, s, "eth0", true)
}

// TestConnectionOutlivesAnEnd checks that a FIN or RST of one end does not count if both ends continue after it.
func TestConnectionOutlivesAnEnd(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, auth := range []capturetest.ClientAuth{capturetest.NotRequested, capturetest.Declined, capturetest.Presented} {
			chunks := talk(t, version, auth).Chunks
			want := shows(interrupted(chunks, -1, nil))
			for at := 1; at <= 3; at++ {
				for side := range dissect.Side(2) {
					for _, reset := range []bool{false, true} {
						got := shows(interrupted(chunks, at, func(s *dissect.Session, _ *[2]int64) { s.Closed(side, reset) }))
						if got != want {
							t.Errorf("%s, %d, side %d ends (%v) before %d: %s, want %s", tls.VersionName(version), auth, side, reset, at, got, want)
						}
					}
				}
			}
		}
	}
}

// TestBehindAnEndAndAGap checks bytes after a RST and a gap. They may belong to another connection on the same ports,
// so they do not complete a handshake that was incomplete before.
func TestBehindAnEndAndAGap(t *testing.T) {
	flights := flights12(11, 4)
	for _, reset := range []bool{false, true} {
		s := dissect.New()
		var at [2]int64
		for _, f := range flights[:3] {
			s.Data(dissect.Side(f.side), at[f.side], []byte(f.sent), at[1-f.side], 0)
			at[f.side] += int64(len(f.sent))
		}
		s.Closed(dissect.Responder, reset)
		for _, f := range flights[4:] {
			gap := int64(0)
			if f.side == 1 || at[0] < 100000 {
				gap = 100000
			}
			at[f.side] += gap
			s.Data(dissect.Side(f.side), at[f.side], []byte(f.sent), at[1-f.side], gap)
			at[f.side] += int64(len(f.sent))
		}
		if got := verdict.New(verdict.Config{}).Judge(conn(1, "10.0.0.1"), s, "eth0", true); got.Verdict == verdict.MTLS || got.TLS.Established {
			t.Errorf("reset %v: %s %s %v", reset, got.Verdict, got.TLS.Outcome, got.Reasons)
		}
	}
}

// TestPassedOverAlert checks alerts that both ends ignore: the client's flight after such an alert counts. A TLS
// 1.3 server ignores user_canceled, which is not an error (RFC 8446, section 6.1).
func TestPassedOverAlert(t *testing.T) {
	for _, alert := range []string{"\x02\x5a", "\x01\x5a", "\x02\x28"} {
		for _, auth := range []capturetest.ClientAuth{capturetest.NotRequested, capturetest.Declined, capturetest.Presented} {
			chunks := talk(t, tls.VersionTLS13, auth).Chunks
			want := shows(interrupted(chunks, -1, nil))
			at := slices.IndexFunc(chunks[1:], func(c capturetest.Chunk) bool { return !c.FromServer }) + 1
			got := shows(interrupted(chunks, at, func(s *dissect.Session, seen *[2]int64) {
				s.Data(dissect.Originator, seen[0], []byte(record(21, alert)), seen[1], 0)
				seen[0] += 7
			}))
			if got != want {
				t.Errorf("%x, %d: %s, want %s", alert, auth, got, want)
			}
		}
	}
}

// TestAlertThatEnds checks that an alert counts as a failure once the connection is over, if neither end has
// continued after the alert.
func TestAlertThatEnds(t *testing.T) {
	for _, alert := range []string{"\x02\x28", "\x02\x5a"} {
		w := newPlayer(t, hello{}, hello{})
		w.send(0, record(21, alert), -1)
		if got := w.judge(verdict.New(verdict.Config{}), 1, false); got.Settled {
			t.Errorf("%x: settled before the end: %s", alert, said(got))
		}
		w.play("C fin|S fin")
		if got := w.judge(verdict.New(verdict.Config{}), 1, false); got.Verdict != verdict.Failed || !got.Settled {
			t.Errorf("%x: %s, settled %v", alert, said(got), got.Settled)
		}
	}
}

// watchedUDP is like overUDP, but judges after each datagram, and finishes the session as soon as possible.
func watchedUDP(chunks []capturetest.Chunk) verdict.Judged {
	j, s := verdict.New(verdict.Config{}), dissect.New()
	for _, c := range chunks {
		side := dissect.Originator
		if c.FromServer {
			side = dissect.Responder
		}
		s.Datagram(side, c.Data)
		if j.Judge(udp(), s, "eth0", false).Settled && s.Complete() {
			s.Finish()
		}
	}
	return j.Judge(udp(), s, "eth0", true)
}

// TestAlertOverUDP checks that a plaintext DTLS alert, which anybody can forge, changes nothing if the handshake
// continues (RFC 6347, section 4.1.2.7).
func TestAlertOverUDP(t *testing.T) {
	for _, auth := range []capturetest.ClientAuth{capturetest.NotRequested, capturetest.Declined, capturetest.Presented} {
		all := capturetest.Datagrams(capturetest.DTLS(talk(t, tls.VersionTLS12, auth)), 1200)
		want := shows(watchedUDP(all))
		for at := 1; at <= len(all); at++ {
			for _, fromServer := range []bool{false, true} {
				alert := capturetest.Chunk{FromServer: fromServer, Data: capturetest.DTLSRecord(21, 0, []byte{2, 40})}
				if got := shows(watchedUDP(slices.Insert(slices.Clone(all), at, alert))); got != want {
					t.Errorf("%d, of the server %v before %d: %s, want %s", auth, fromServer, at, got, want)
				}
			}
		}
	}
}

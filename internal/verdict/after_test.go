package verdict_test

import (
	"crypto/tls"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// resumed plays datagrams as the tap does: once a verdict is settled its session is replaced by a Rest, and by a session again
// where that is not quiet.
func resumed(t *testing.T, chunks []capturetest.Chunk) verdict.Judged {
	t.Helper()
	j, c, memory := verdict.New(verdict.Config{}), udp(), dissect.Memory{}
	s := memory.New()
	var rest *verdict.Rest
	for _, x := range chunks {
		side := dissect.Originator
		if x.FromServer {
			side = dissect.Responder
		}
		if rest != nil {
			if !rest.Followed() || rest.Tail.QuietDatagram(side, x.Data) {
				continue
			}
			s = memory.New()
			j.Resume(c, rest, s)
			rest = nil
		}
		s.Datagram(side, x.Data)
		if j.Settled(c, s) && j.Judge(c, s, "eth0", false).Settled && s.Complete() {
			s.Finish()
			if rest = j.Rest(c, s); rest == nil {
				t.Fatal("no rest of a finished session")
			}
			s.Drop()
		}
	}
	if rest != nil {
		return j.JudgeRest(c, rest, "eth0", true)
	}
	return j.Judge(c, s, "eth0", true)
}

// What follows DTLS on the same ports counts: text, and another handshake that the server answers. Neither does what other
// protocols put beside DTLS (RFC 7983), nor an old copy of a ClientHello.
func TestWhatFollowsDTLS(t *testing.T) {
	datagrams := func(auth capturetest.ClientAuth) []capturetest.Chunk {
		return capturetest.Datagrams(capturetest.DTLS(talk(t, tls.VersionTLS12, auth)), 1200)
	}
	mutual, oneWay := datagrams(capturetest.Presented), datagrams(capturetest.NotRequested)
	text := capturetest.Chunk{Data: []byte("GET coap://cart/items?key=hunter2 and so on, in the clear")}
	rtp := capturetest.Chunk{Data: append([]byte{0x80, 0x60}, make([]byte, 100)...)}
	for name, c := range map[string]struct {
		then   []capturetest.Chunk
		want   verdict.Verdict
		reason string
	}{
		"nothing":                     {nil, verdict.MTLS, ""},
		"text":                        {[]capturetest.Chunk{text, {FromServer: true, Data: text.Data}}, verdict.Plaintext, "plaintext_after_tls"},
		"media":                       {[]capturetest.Chunk{rtp, {FromServer: true, Data: rtp.Data}}, verdict.MTLS, ""},
		"a copy of the ClientHello":   {mutual[:1], verdict.MTLS, ""},
		"another handshake":           {oneWay, verdict.TLS, "second_handshake"},
		"another handshake, and text": {slices.Concat(oneWay, []capturetest.Chunk{text}), verdict.Plaintext, "plaintext_after_tls"},
	} {
		got := resumed(t, slices.Concat(mutual, c.then))
		if got.Verdict != c.want || c.reason != "" && !slices.Contains(got.Reasons, c.reason) || got.TLS == nil {
			t.Errorf("%s: %s %v, want %s", name, got.Verdict, got.Reasons, c.want)
		}
	}
}

// A resumption inherits nothing from a client that made two handshakes in one connection.
func TestSecondHandshakeIsNotInheritedFrom(t *testing.T) {
	talks, err := capturetest.TLSTalk(tls.VersionTLS13, capturetest.Presented, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, twice := range []bool{false, true} {
		j := verdict.New(verdict.Config{})
		first := talks[0].Chunks
		if twice {
			first = slices.Concat(first, after(first, talk(t, tls.VersionTLS13, capturetest.NotRequested).Chunks))
		}
		one, _ := watchedBy(j, first, true)
		two, _ := watchedBy(j, talks[1].Chunks, true)
		if (one.Verdict == verdict.MTLS) == twice || two.TLS == nil || !two.TLS.Resumed || (two.Verdict == verdict.MTLS) == twice {
			t.Errorf("twice %v: %s %v, then %s %v", twice, one.Verdict, one.Reasons, two.Verdict, two.Reasons)
		}
	}
}

// after shifts what was read by each end by what was sent before.
func after(before, chunks []capturetest.Chunk) (out []capturetest.Chunk) {
	sent := map[bool]int{}
	for _, c := range before {
		sent[c.FromServer] += len(c.Data)
	}
	for _, c := range chunks {
		c.Read += sent[!c.FromServer]
		out = append(out, c)
	}
	return out
}

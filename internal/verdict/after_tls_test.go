package verdict_test

import (
	"crypto/tls"
	"net/netip"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// resumed plays datagrams as the tap does: it replaces a settled session by a Conclusion, and turns the Conclusion back
// into a session when a datagram arrives that is not quiet.
func resumed(t *testing.T, chunks []capturetest.Chunk) verdict.Judged {
	t.Helper()
	j, c, memory := verdict.New(verdict.Config{}), udp(), dissect.Pool{}
	s := memory.New()
	var conclusion *verdict.Conclusion
	for _, x := range chunks {
		side := dissect.Originator
		if x.FromServer {
			side = dissect.Responder
		}
		if conclusion != nil {
			if !conclusion.TailCounts() || conclusion.Tail.QuietDatagram(side, x.Data) {
				continue
			}
			s = memory.New()
			j.Resume(c, conclusion, s)
			conclusion = nil
		}
		s.Datagram(side, x.Data)
		if j.Settled(c, s) && j.Judge(c, s, "eth0", false).Settled && s.Complete() {
			s.Finish()
			if conclusion = j.Conclude(c, s); conclusion == nil {
				t.Fatal("no conclusion of a finished session")
			}
			s.Drop()
		}
	}
	if conclusion != nil {
		return j.JudgeConclusion(c, conclusion, "eth0", true)
	}
	return j.Judge(c, s, "eth0", true)
}

// TestWhatFollowsDTLS checks which datagrams after DTLS on the same ports change the verdict. Plaintext does,
// whatever precedes it. Another handshake that the server answers does, even if parts of it are lost. More than a
// few datagrams of unknown bytes do. Packets of protocols that share ports with DTLS (RFC 7983) do not, and an old
// copy of a ClientHello does not.
func TestWhatFollowsDTLS(t *testing.T) {
	datagrams := func(auth capturetest.ClientAuth) []capturetest.Chunk {
		return capturetest.Datagrams(capturetest.DTLS(talk(t, tls.VersionTLS12, auth)), 1200)
	}
	mutual, oneWay := datagrams(capturetest.Presented), datagrams(capturetest.NotRequested)
	media := capturetest.Datagrams(offersMedia(capturetest.DTLS(talk(t, tls.VersionTLS12, capturetest.Presented))), 1200)
	both := func(n int, data []byte) []capturetest.Chunk {
		return slices.Concat(repeated(n, false, func(int) []byte { return data }), repeated(n, true, func(int) []byte { return data }))
	}
	text := []byte("GET coap://cart/items?key=hunter2 and so on, in the clear")
	record := capturetest.DTLSRecord(23, 1, opaque()(0))
	rtp := append([]byte{0x80, 0x60}, make([]byte, 100)...)
	withoutServerHello := slices.DeleteFunc(slices.Clone(oneWay), func(c capturetest.Chunk) bool { return c.FromServer && c.Data[13] == 2 })
	query, response := capturetest.DNS(0x9123, "payroll.corp.test", 60, nil, netip.MustParseAddr("10.1.1.1"))
	for name, c := range map[string]struct {
		first, then []capturetest.Chunk
		want        verdict.Verdict
		reason      string
	}{
		"nothing": {mutual, nil, verdict.MTLS, ""},
		"records": {mutual, both(100, record), verdict.MTLS, ""},
		"records, the last one's header truncated": {mutual, both(8, append(slices.Clone(record), record[:9]...)), verdict.MTLS, ""},
		"text":                              {mutual, both(1, text), verdict.Plaintext, "plaintext_after_tls"},
		"text after a record":               {mutual, both(1, append(slices.Clone(record), text...)), verdict.Plaintext, "plaintext_after_tls"},
		"text in the second record":         {mutual, both(1, append(slices.Clone(record), capturetest.DTLSRecord(23, 1, append(make([]byte, 8), text...))...)), verdict.Plaintext, "text_in_records"},
		"text after unknown bytes":          {mutual, slices.Concat(repeated(8, false, opaque(0xe9)), both(1, text)), verdict.Plaintext, "plaintext_after_tls"},
		"records, text in between":          {mutual, slices.Concat(both(3, record), both(1, text), both(3, record)), verdict.Plaintext, "plaintext_after_tls"},
		"DNS":                               {mutual, []capturetest.Chunk{{Data: query}, {FromServer: true, Data: response}}, verdict.Plaintext, "dns_message"},
		"DNS, and media may be there":       {media, []capturetest.Chunk{{Data: query}, {FromServer: true, Data: response}}, verdict.Plaintext, "dns_message"},
		"SNMP":                              {mutual, repeated(1, false, snmpGet), verdict.Plaintext, "snmp_message"},
		"binary plaintext":                  {mutual, repeated(60, false, flowExport), verdict.Plaintext, "structured_plaintext"},
		"media that was offered":            {media, both(60, rtp), verdict.MTLS, ""},
		"media that nobody offered":         {mutual, repeated(60, false, opaque(0x80, 0x60)), verdict.Unknown, "other_data_after_tls"},
		"plaintext media nobody offered":    {mutual, both(60, rtp), verdict.Plaintext, "structured_plaintext"},
		"STUN":                              {mutual, repeated(60, false, stun), verdict.MTLS, ""},
		"unknown bytes":                     {mutual, repeated(8, false, opaque(0xe9)), verdict.Unknown, "other_data_after_tls"},
		"few unknown bytes":                 {mutual, repeated(3, false, opaque(0xe9)), verdict.MTLS, ""},
		"DTLS 1.3 records after DTLS 1.2":   {mutual, repeated(8, false, opaque(0x2f)), verdict.Unknown, "other_data_after_tls"},
		"QUIC of one end":                   {mutual, repeated(8, false, opaque(0xc3, 0, 0, 0, 1, 8)), verdict.Unknown, "other_data_after_tls"},
		"a copy of the ClientHello":         {mutual, mutual[:1], verdict.MTLS, ""},
		"a copy of the client's datagrams":  {mutual, slices.DeleteFunc(slices.Clone(mutual), func(c capturetest.Chunk) bool { return c.FromServer }), verdict.MTLS, ""},
		"another handshake":                 {mutual, oneWay, verdict.TLS, "second_handshake"},
		"another, its ServerHello lost":     {mutual, withoutServerHello, verdict.TLS, "second_handshake"},
		"another handshake, and text":       {mutual, slices.Concat(oneWay, both(1, text)), verdict.Plaintext, "plaintext_after_tls"},
		"another handshake, after a record": {mutual, slices.Concat(both(1, record), oneWay), verdict.TLS, "second_handshake"},
	} {
		got := resumed(t, slices.Concat(c.first, c.then))
		if got.Verdict != c.want || c.reason != "" && !slices.Contains(got.Reasons, c.reason) || got.TLS == nil {
			t.Errorf("%s: %s %v, want %s", name, got.Verdict, got.Reasons, c.want)
		}
	}
}

// TestSecondHandshakeIsNotInheritedFrom checks a client that made two handshakes in one connection: a later
// resumption inherits nothing from it.
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

// after returns chunks as they would be sent after those in before: each Chunk.Read is increased by the bytes that
// the chunk's receiver sent in before.
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

// TestNullSuitesDTLS checks that a NULL suite over DTLS means plaintext, even if the client presented a certificate.
func TestNullSuitesDTLS(t *testing.T) {
	for _, suite := range []uint16{0x0001, 0x003b, 0xc006, 0xc010} {
		messages := capturetest.DTLS(talk(t, tls.VersionTLS12, capturetest.Presented))
		for i, m := range messages {
			if m.Type == 2 {
				body := slices.Clone(m.Body)
				at := 2 + 32 + 1 + int(body[34])
				body[at], body[at+1] = byte(suite>>8), byte(suite)
				messages[i].Body = body
			}
		}
		got := resumed(t, capturetest.Datagrams(messages, 1200))
		if got.Verdict != verdict.Plaintext || got.TLS.ClientAuth != verdict.AuthPresented || !slices.Contains(got.Reasons, "cipher_without_encryption") {
			t.Errorf("%#x: %s %v %s", suite, got.Verdict, got.Reasons, got.TLS.ClientAuth)
		}
	}
}

package verdict_test

import (
	"crypto/tls"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// repeated returns n datagrams of one end, made by next.
func repeated(n int, fromServer bool, next func(i int) []byte) (all []capturetest.Chunk) {
	for i := range n {
		all = append(all, capturetest.Chunk{FromServer: fromServer, Data: next(i)})
	}
	return all
}

// opaque returns a function that makes datagrams of ciphertext that begin with head.
func opaque(head ...byte) func(int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	return func(int) []byte {
		b := slices.Clone(head)
		for range 90 {
			b = append(b, byte(r.Uint32()))
		}
		return b
	}
}

func flowExport(i int) []byte { // similar to NetFlow 5
	b := append([]byte{0, 5, 0, 1, 0, 0, byte(i), 0, 0x65, 0x53, 0xf1, byte(i)}, make([]byte, 60)...)
	b[20], b[30] = byte(i), 6
	return b
}

func snmpGet(i int) []byte {
	return []byte{0x30, 26, 2, 1, 1, 4, 6, 'p', 'u', 'b', 'l', 'i', 'c', 0xa0, 13, 2, 1, byte(i), 2, 1, 0, 2, 1, 0, 0x30, 2, 5, 0}
}

func statsd(int) []byte { return []byte("cart.items:1|c") }

func ntp(mode byte) func(int) []byte {
	return func(i int) []byte {
		b := opaque(0x20|mode, 2, 6, 0xec)(0)[:48]
		b[47] = byte(i)
		return b
	}
}

func stun(int) []byte {
	return []byte("\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl")
}

// TestDTLSOfOneEndThenPlaintext checks that a single DTLS datagram of one end does not turn plaintext into TLS or into
// a failure.
func TestDTLSOfOneEndThenPlaintext(t *testing.T) {
	hello := capturetest.Datagrams(capturetest.DTLS(talk(t, tls.VersionTLS12, capturetest.NotRequested))[:1], 1200)
	claims := map[string][]capturetest.Chunk{
		"hello":  hello,
		"record": {{Data: capturetest.DTLSRecord(23, 1, opaque()(0))}},
		"alert":  {{Data: capturetest.DTLSRecord(21, 0, []byte{2, 40})}},
	}
	for what, c := range map[string]struct {
		then []capturetest.Chunk
		want verdict.Verdict
	}{
		"flow exports":     {repeated(8, false, flowExport), verdict.Plaintext},
		"snmp":             {repeated(2, false, snmpGet), verdict.Plaintext},
		"statsd":           {repeated(2, false, statsd), verdict.Plaintext},
		"ntp, answered":    {slices.Concat(repeated(1, false, ntp(3)), repeated(1, true, ntp(4))), verdict.Plaintext},
		"nothing known":    {repeated(8, false, opaque(0xe9)), verdict.Unknown},
		"a lone ntp":       {repeated(1, false, ntp(3)), verdict.Unknown},
		"media, no keys":   {repeated(8, false, opaque(0x80, 0x60)), verdict.Unknown},
		"STUN":             {repeated(8, false, stun), verdict.TLS},
		"hellos once more": {slices.Concat(hello, hello), verdict.TLS},
	} {
		for name, claim := range claims {
			got := overUDP(slices.Concat(claim, c.then))
			if name == "alert" && c.want == verdict.TLS {
				continue // it may be the alert that ended a handshake
			}
			if got.Verdict != c.want {
				t.Errorf("%s, then %s: %s %v, want %s", name, what, got.Verdict, got.Reasons, c.want)
			}
		}
	}
}

// TestDTLSBesideOthers checks a handshake with packets in between that belong to protocols which share ports with DTLS.
// It is judged the same as without them, even if only one end was captured.
func TestDTLSBesideOthers(t *testing.T) {
	all := capturetest.Datagrams(offersMedia(capturetest.DTLS(talk(t, tls.VersionTLS12, capturetest.Presented))), 1200)
	client := slices.DeleteFunc(slices.Clone(all), func(c capturetest.Chunk) bool { return c.FromServer })
	media := repeated(60, false, opaque(0x80, 0x60))
	for name, c := range map[string]struct {
		sent []capturetest.Chunk
		want verdict.Verdict
	}{
		"a stray datagram before the answer": {slices.Concat(all[:1], repeated(3, false, opaque(0xe9)), all), verdict.MTLS},
		"media before the answer":            {slices.Concat(all[:1], repeated(3, false, opaque(0x80)), all, media), verdict.MTLS},
		"one end":                            {client, verdict.TLS},
		"one end, STUN and media":            {slices.Concat(client[:1], repeated(60, false, stun), client[1:], media), verdict.TLS},
	} {
		if got := overUDP(c.sent); got.Verdict != c.want {
			t.Errorf("%s: %s %v, want %s", name, got.Verdict, got.Reasons, c.want)
		}
	}
}

// offersMedia adds the extension use_srtp to the ClientHello (RFC 5764, section 4.1.1).
func offersMedia(messages []capturetest.DTLSMessage) []capturetest.DTLSMessage {
	out := slices.Clone(messages)
	b := slices.Clone(out[0].Body)
	at := 2 + 32
	at += 1 + int(b[at])                           // session
	at += 1 + int(b[at])                           // cookie
	at += 2 + int(binary.BigEndian.Uint16(b[at:])) // suites
	at += 1 + int(b[at])                           // compression
	b = append(b, 0, 14, 0, 5, 0, 2, 0, 1, 0)
	binary.BigEndian.PutUint16(b[at:], uint16(len(b)-at-2))
	out[0].Body = b
	return out
}

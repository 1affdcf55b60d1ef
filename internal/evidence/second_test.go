package evidence_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

func client(s string) capturetest.Chunk { return capturetest.Chunk{Data: []byte(s)} }

func server(s string) capturetest.Chunk { return capturetest.Chunk{FromServer: true, Data: []byte(s)} }

// joined returns the chunks of several conversations one after the other, as one connection.
func joined(talks ...[]capturetest.Chunk) *capturetest.Conversation {
	all := &capturetest.Conversation{}
	var before [2]int
	for _, talk := range talks {
		sent := before
		for _, c := range talk {
			from := 0
			if c.FromServer {
				from = 1
			}
			c.Read += before[1-from]
			sent[from] += len(c.Data)
			all.Chunks = append(all.Chunks, c)
		}
		before = sent
	}
	return all
}

// secondTalks returns connections in which TLS follows plaintext, plaintext follows TLS, or a second handshake follows, and connections with
// text in TLS records.
func secondTalks(t *testing.T) map[string]*capturetest.Conversation {
	t.Helper()
	all := map[string]*capturetest.Conversation{}
	text := strings.Repeat("customer alice, card 4111111111111111, amount one hundred\n", 20)
	between := map[string][]capturetest.Chunk{
		"nothing":  nil,
		"a line":   {client("STARTTLS\r\n"), server("220 go\r\n")},
		"40 bytes": {client(text[:40]), server(text[:40])},
		"text":     {client(text), server(text)},
		"mail":     {server("220 mail ESMTP\r\n"), client("EHLO me\r\n"), server("250-mail\r\n250 STARTTLS\r\n"), client("STARTTLS\r\n"), server("220 go\r\n")},
		"CONNECT":  {client("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"), server("HTTP/1.1 200 OK\r\n\r\n")},
		"HTTP":     {client("GET /a HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n"), server("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")},
		"postgres": {client("\x00\x00\x00\x08\x04\xd2\x16\x2f"), server("S")},
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		talks := map[string][]capturetest.Chunk{}
		for name, auth := range map[string]capturetest.ClientAuth{"mutual": capturetest.Presented, "one-way": capturetest.NotRequested} {
			talk, err := capturetest.TLSTalk(version, auth, 1)
			if err != nil {
				t.Fatal(err)
			}
			talks[name] = talk[0].Chunks
		}
		for name, b := range between {
			what := tls.VersionName(version) + ", " + name
			for auth, talk := range talks {
				all[fmt.Sprintf("%s, then %s", what, auth)] = joined(b, talk)
				all[fmt.Sprintf("%s, after %s", what, auth)] = joined(talk, b)
				for then, second := range talks {
					all[fmt.Sprintf("%s, between %s and %s", what, auth, then)] = joined(talk, b, second)
				}
			}
		}
		record := func(typ byte, content string) string {
			return string([]byte{typ, 3, 3, byte(len(content) >> 8), byte(len(content))}) + content
		}
		for _, typ := range []byte{23, 22, 21} {
			for _, n := range []int{10, 45, 900} {
				all[fmt.Sprintf("%s, %d bytes of text in records of type %d", tls.VersionName(version), n, typ)] = joined(talks["mutual"], []capturetest.Chunk{
					client(strings.Repeat(record(typ, text[:n]), 5)), server(strings.Repeat(record(typ, text[:n]), 5)),
				})
			}
		}
	}
	return all
}

// hard returns the packets of secondTalks, in segments of several sizes, whole and as the tap's default filter truncates them.
func hard(t *testing.T, each func(name string, packets []flow.Packet, filtered bool)) {
	t.Helper()
	filter := tapfilter.Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})
	for name, talk := range secondTalks(t) {
		for _, mss := range []int{1448, 7, 33000} {
			packets := packetsOf(talk.Packets(capturetest.Options{MSS: mss}))
			each(fmt.Sprintf("%s, segments of %d", name, mss), packets, false)
			each(fmt.Sprintf("%s, segments of %d, filtered", name, mss), truncated(filter, packets), true)
		}
	}
}

// truncated returns packets as a filter truncates them.
func truncated(filter pcapfilter.Program, packets []flow.Packet) (out []flow.Packet) {
	for _, p := range packets {
		if n := filter.Run(&pcapfilter.Packet{Data: p.Data, Length: p.Length}); n > 0 {
			p.Data = p.Data[:min(int(n), len(p.Data))]
			out = append(out, p)
		}
	}
	return out
}

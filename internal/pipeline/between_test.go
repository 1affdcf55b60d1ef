package pipeline_test

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestBetweenHandshakes checks bytes between two TLS sessions of one connection. Plaintext there counts, whatever
// handshake follows. Bytes of no known form make the connection unknown.
func TestBetweenHandshakes(t *testing.T) {
	norace(t)
	mutual, oneWay := handshakes(t)
	line := "customer alice, card 4111111111111111, amount one hundred\n"
	text := func(n int) string { return strings.Repeat(line, n/len(line)+1)[:n] }
	mail := []capturetest.Chunk{
		client("EHLO me\r\n"), server("250-mail\r\n250 STARTTLS\r\n"), client("MAIL FROM:<a@b.example>\r\n"), server("250 OK\r\n"),
		client("DATA\r\n"), server("354 go\r\n"), client(text(300) + "\r\n.\r\n"), server("250 OK\r\n"), client("STARTTLS\r\n"), server("220 go\r\n"),
	}
	query := "\x17\x00\x00\x00\x03select * from customers"
	filter := tapfilter.Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})
	for name, c := range map[string]struct {
		between []capturetest.Chunk
		verdict string
	}{
		"40 bytes":              {[]capturetest.Chunk{client(text(40)), server(text(40))}, "plaintext"},
		"1,000 bytes":           {[]capturetest.Chunk{client(text(1000)), server(text(1000))}, "plaintext"},
		"of the client":         {[]capturetest.Chunk{client(text(60000))}, "plaintext"},
		"of the server":         {[]capturetest.Chunk{server(text(60000))}, "plaintext"},
		"little of the client":  {[]capturetest.Chunk{client(text(40))}, "plaintext"},
		"little of the server":  {[]capturetest.Chunk{server(text(40))}, "plaintext"},
		"mail":                  {mail, "plaintext"},
		"IMAP":                  {[]capturetest.Chunk{client("a2 LOGIN alice secretpassword\r\n"), server("a2 OK logged in\r\n"), client("a3 STARTTLS\r\n"), server("a3 OK go\r\n")}, "plaintext"},
		"CONNECT":               {[]capturetest.Chunk{client("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"), server("HTTP/1.1 200 OK\r\n\r\n")}, "plaintext"},
		"HTTP, Upgrade":         {[]capturetest.Chunk{client("GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n"), server("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n")}, "plaintext"},
		"SOCKS":                 {[]capturetest.Chunk{client("\x05\x01\x00"), server("\x05\x00"), client("\x05\x01\x00\x01\x0a\x01\x00\x05\x01\xbb"), server("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")}, "plaintext"},
		"MySQL":                 {[]capturetest.Chunk{client(query)}, "plaintext|unknown"},
		"preface of HTTP/2":     {[]capturetest.Chunk{client("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")}, "plaintext"},
		"a response":            {[]capturetest.Chunk{server(response)}, "plaintext"},
		"zeros":                 {[]capturetest.Chunk{client(strings.Repeat("\x00", 3000)), server(strings.Repeat("\x00", 3000))}, "plaintext|unknown"},
		"unknown, of both":      {[]capturetest.Chunk{client(unknownBytes(100)), server(unknownBytes(5000))}, "unknown"},
		"unknown, of one end":   {[]capturetest.Chunk{client(unknownBytes(5000))}, "unknown"},
		"unknown, of the other": {[]capturetest.Chunk{server(unknownBytes(40))}, "unknown"},
		"a few bytes":           {[]capturetest.Chunk{client("STARTTLS\r\n"), server("220 go\r\n")}, "mtls"},
		"nothing":               {nil, "mtls"},
	} {
		for version := range mutual {
			second := mutual[tls.VersionName(tls.VersionTLS13)]
			for what, talks := range map[string][][]capturetest.Chunk{
				"":               {mutual[version], c.between, second},
				", then a hello": {mutual[version], c.between, second[:1]},
				", then hellos":  {mutual[version], c.between, second[:2]},
				", twice":        {mutual[version], mutual[version], c.between, second},
				", then text":    {mutual[version], c.between, second, []capturetest.Chunk{client(request), server(response)}},
				", then more":    {mutual[version], c.between, second, second, oneWay[version]},
			} {
				want := c.verdict
				if strings.HasSuffix(what, "more") && want == "mtls" {
					want = "tls"
				}
				if strings.HasSuffix(what, "text") {
					want = strings.Replace("plaintext|"+want, "|mtls", "", 1)
				}
				if want == "mtls" && strings.Contains(what, "hello") {
					continue // a handshake that has not ended
				}
				for _, mss := range []int{1448, 7, 33000} {
					packets := packetsOf(joined(talks...), capturetest.Options{MSS: mss})
					for i, program := range []pcapfilter.Program{nil, filter} {
						x := tell(t, records(t, packets, program))[0]
						if !slices.Contains(strings.Split(want, "|"), x.MeshTLS.Verdict) || want == "plaintext" && !slices.Contains(x.MeshTLS.Reasons, "plaintext_after_tls") || slices.Contains(x.MeshTLS.Reasons, "_message") || slices.Contains(x.MeshTLS.Reasons, "http_message") {
							t.Errorf("%s%s, %s, pieces of %d, filter %d: %s %v, want %s", name, what, version, mss, i, x.MeshTLS.Verdict, x.MeshTLS.Reasons, want)
						}
					}
				}
			}
		}
	}
}

// TestLossAroundSecondHandshake checks connections with several handshakes, one of which proves no client certificate.
// Whichever packet is lost, or two of them, the verdict is never mtls. If all handshakes prove one, loss makes the
// verdict weaker, never another one.
func TestLossAroundSecondHandshake(t *testing.T) {
	norace(t)
	mutual, oneWay := handshakes(t)
	tunnel := []capturetest.Chunk{client("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"), server("HTTP/1.1 200 OK\r\n\r\n")}
	for first := range mutual {
		for second := range mutual {
			for name, talks := range map[string][][]capturetest.Chunk{
				"mutual, one-way":         {mutual[first], oneWay[second]},
				"one-way, mutual":         {oneWay[first], mutual[second]},
				"twice mutual, one-way":   {mutual[first], mutual[first], oneWay[second]},
				"one-way, twice mutual":   {oneWay[first], mutual[second], mutual[second]},
				"tunnel, one-way, mutual": {tunnel, oneWay[first], mutual[second]},
				"mutual twice":            {mutual[first], mutual[second]},
			} {
				for _, mss := range []int{1448, 600} {
					whole := packetsOf(joined(talks...), capturetest.Options{MSS: mss})
					for i := range whole {
						for n := 1; n <= 2 && i+n <= len(whole); n++ {
							x := tell(t, records(t, slices.Delete(slices.Clone(whole), i, i+n), nil))[0]
							v := x.MeshTLS.Verdict
							if v == "mtls" && name != "mutual twice" || v == "failed" || v == "plaintext" && (n < 2 && name != "tunnel, one-way, mutual") {
								t.Errorf("%s, %s, %s, segments of %d, without %d from %d of %d: %s %v", name, first, second, mss, n, i, len(whole), v, x.MeshTLS.Reasons)
							}
						}
					}
				}
			}
		}
	}
}

// TestSecondHandshakeInPieces checks that a second handshake is found for every position at which its first bytes are
// split into segments, while the first handshake is still examined.
func TestSecondHandshakeInPieces(t *testing.T) {
	mutual, oneWay := handshakes(t)
	for first := range mutual {
		for second := range oneWay {
			for cut := 1; cut < 16; cut++ {
				talk := slices.Clone(oneWay[second])
				talk = slices.Concat([]capturetest.Chunk{{Data: talk[0].Data[:cut]}, {Data: talk[0].Data[cut:]}},
					[]capturetest.Chunk{{FromServer: true, Data: talk[1].Data[:cut], Read: len(talk[0].Data)}, {FromServer: true, Data: talk[1].Data[cut:], Read: len(talk[0].Data)}}, talk[2:])
				for _, keep := range []int{0, 1, 2} { // the first session lacks its last messages, so it is not settled
					packets := packetsOf(joined(mutual[first][:len(mutual[first])-keep], talk), capturetest.Options{})
					what := fmt.Sprintf("%s, %s, cut at %d, without the last %d", first, second, cut, keep)
					if x := tell(t, records(t, packets, nil))[0]; x.MeshTLS.Verdict != "tls" {
						t.Errorf("%s: %s %v", what, x.MeshTLS.Verdict, x.MeshTLS.Reasons)
					}
				}
			}
		}
	}
}

package pipeline_test

import (
	"crypto/tls"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// headersOfFrame is the size in bytes of the headers of each frame in these tests: Ethernet, IPv4, TCP.
const headersOfFrame = 54

// TestTruncatedSecondHandshake checks that a second handshake of which one packet, or the frame with the end of the first session, was
// captured only in part never leaves the first one's verdict of mtls.
func TestTruncatedSecondHandshake(t *testing.T) {
	mutual, oneWay := handshakes(t)
	for first := range mutual {
		for second := range oneWay {
			talk := joined(mutual[first], []capturetest.Chunk{client(sealed(90)), server(sealed(2040)), client(sealed(19)), server(sealed(19))}, oneWay[second])
			for _, mss := range []int{1448, 60000} {
				whole := packetsOf(talk, capturetest.Options{MSS: mss})
				for i := range whole {
					for keep := range 12 {
						packets := append(whole[:i:i], whole[i:]...)
						packets[i].Data = packets[i].Data[:min(headersOfFrame+keep, len(packets[i].Data))]
						if x := tell(t, records(t, packets, nil))[0]; x.MeshTLS.Verdict == "mtls" {
							t.Errorf("%s, %s, segments of %d, %d bytes of packet %d: %v", first, second, mss, keep, i, x.MeshTLS.Reasons)
						}
					}
				}
			}
			one := joined(mutual[first], []capturetest.Chunk{client(sealed(19) + string(oneWay[second][0].Data)), server(sealed(2040) + sealed(19) + string(oneWay[second][1].Data))}, oneWay[second][2:])
			packets := packetsOf(one, capturetest.Options{MSS: 60000})
			for i := range packets {
				packets[i].Data = packets[i].Data[:min(2048, len(packets[i].Data))]
			}
			if x := tell(t, records(t, packets, nil))[0]; x.MeshTLS.Verdict == "mtls" {
				t.Errorf("%s, %s, in one frame: %v", first, second, x.MeshTLS.Reasons)
			}
		}
	}
}

// TestSnapLength checks captures whose packets are all truncated, or one of them, of TLS after plaintext: the verdict is never plaintext, nor
// failed.
func TestSnapLength(t *testing.T) {
	mutual, _ := handshakes(t)
	talk := mutual[tls.VersionName(tls.VersionTLS12)]
	for name, before := range map[string][]capturetest.Chunk{
		"PostgreSQL": {client("\x00\x00\x00\x08\x04\xd2\x16\x2f"), server("S")},
		"CONNECT":    {client("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"), server("HTTP/1.1 200 OK\r\n\r\n")},
		"SOCKS":      {client("\x05\x01\x00"), server("\x05\x00"), client("\x05\x01\x00\x01\x0a\x01\x00\x05\x01\xbb"), server("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")},
		"SMTP":       {server("220 mx ESMTP\r\n"), client("EHLO a\r\n"), server("250-mx\r\n250 STARTTLS\r\n"), client("STARTTLS\r\n"), server("220 go\r\n")},
		"POP3":       {server("+OK ready\r\n"), client("STLS\r\n"), server("+OK go\r\n")},
		"nothing":    nil,
	} {
		whole := packetsOf(joined(before, talk), capturetest.Options{})
		for keep := range 40 {
			for only := -1; only < len(whole); only++ {
				packets := append(whole[:0:0], whole...)
				for i := range packets {
					if only < 0 || i == only {
						packets[i].Data = packets[i].Data[:min(headersOfFrame+keep, len(packets[i].Data))]
					}
				}
				if x := tell(t, records(t, packets, nil))[0]; x.MeshTLS.Verdict == "plaintext" || x.MeshTLS.Verdict == "failed" {
					t.Errorf("%s, %d bytes of each packet (-1) or of packet %d: %s %v", name, keep, only, x.MeshTLS.Verdict, x.MeshTLS.Reasons)
				}
			}
		}
	}
}

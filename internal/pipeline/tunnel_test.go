package pipeline_test

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// openings are messages that open a tunnel through a proxy.
var openings = map[string][]capturetest.Chunk{
	"CONNECT": {client("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"), server("HTTP/1.1 200 Connection established\r\n\r\n")},
	"SOCKS 5": {client("\x05\x01\x00"), server("\x05\x00"), client("\x05\x01\x00\x01\x0a\x01\x00\x05\x01\xbb"), server("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")},
	"SOCKS 4": {client("\x04\x01\x01\xbb\x0a\x00\x00\x01me\x00"), server("\x00\x5a\x01\xbb\x0a\x00\x00\x01")},
}

// TestTunnelInTunnel checks mutual TLS and plaintext through one tunnel, and through two of which one is within the other.
// Mutual TLS is never plaintext, even if a packet is lost or only one direction was captured. Plaintext is always found
// if nothing is lost.
func TestTunnelInTunnel(t *testing.T) {
	norace(t)
	mutual, _ := handshakes(t)
	plain := []capturetest.Chunk{client(request), server(response)}
	for outer, first := range openings {
		for inner, second := range map[string][]capturetest.Chunk{"nothing": nil, "CONNECT": openings["CONNECT"], "SOCKS 5": openings["SOCKS 5"], "SOCKS 4": openings["SOCKS 4"]} {
			if got := tell(t, records(t, packetsOf(joined(first, second, plain), capturetest.Options{}), nil))[0]; got.MeshTLS.Verdict != "plaintext" {
				t.Errorf("HTTP in %s in %s: %s %v", inner, outer, got.MeshTLS.Verdict, got.MeshTLS.Reasons)
			}
			for version, talk := range mutual {
				whole := packetsOf(joined(first, second, talk), capturetest.Options{})
				if x := tell(t, records(t, whole, nil))[0]; x.MeshTLS.Verdict != "mtls" {
					t.Errorf("%s in %s in %s: %s %v", version, inner, outer, x.MeshTLS.Verdict, x.MeshTLS.Reasons)
				}
				for i := range whole {
					x := tell(t, records(t, slices.Delete(slices.Clone(whole), i, i+1), nil))[0]
					if v := x.MeshTLS.Verdict; v == "plaintext" || v == "failed" {
						t.Errorf("%s in %s in %s, without packet %d of %d: %s %v", version, inner, outer, i, len(whole), v, x.MeshTLS.Reasons)
					}
				}
			}
		}
	}
}

// TestOneDirectionOfTunnel checks a tunnel with mutual TLS of which only one direction was captured. It is not
// plaintext. HTTP of which only one direction, or only the responses, were captured is plaintext.
func TestOneDirectionOfTunnel(t *testing.T) {
	mutual, _ := handshakes(t)
	page := "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + strings.Repeat("<p>salary of bob: 1234</p>\n", 40)
	for _, fromServer := range []bool{false, true} {
		direction := func(talks ...[]capturetest.Chunk) []flow.Packet {
			return slices.DeleteFunc(packetsOf(joined(talks...), capturetest.Options{}), func(p flow.Packet) bool {
				const port, source = 8443, 14 + 20 // the TCP header follows Ethernet and IPv4
				return (binary.BigEndian.Uint16(p.Data[source:]) == port) != fromServer
			})
		}
		for version, talk := range mutual {
			if x := tell(t, records(t, direction(openings["CONNECT"], talk), nil))[0]; x.MeshTLS.Verdict == "plaintext" || x.MeshTLS.Verdict == "mtls" {
				t.Errorf("%s, from the server %v: %s %v", version, fromServer, x.MeshTLS.Verdict, x.MeshTLS.Reasons)
			}
		}
		for _, answer := range []string{response, page} {
			packets := direction([]capturetest.Chunk{client(request), server(answer), client(request), server(answer)})
			if x := tell(t, records(t, packets, nil))[0]; x.MeshTLS.Verdict != "plaintext" {
				t.Errorf("HTTP, from the server %v: %s %v", fromServer, x.MeshTLS.Verdict, x.MeshTLS.Reasons)
			}
		}
	}
}

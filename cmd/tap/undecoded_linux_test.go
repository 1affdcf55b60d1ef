package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// ip4Frame returns a frame with an IPv4 packet of any protocol. fragment has the flags and the fragment offset.
func ip4Frame(from, to netip.Addr, proto uint8, fragment uint16, data []byte) []byte {
	f := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0, 0, 1, 0, 0, 64, proto, 0, 0}
	binary.BigEndian.PutUint16(f[16:], uint16(20+len(data)))
	binary.BigEndian.PutUint16(f[20:], fragment)
	f = append(append(f, from.AsSlice()...), to.AsSlice()...)
	sum := uint32(0)
	for i := 14; i < 34; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	binary.BigEndian.PutUint16(f[24:], ^uint16(sum>>16+sum&0xffff))
	return append(f, data...)
}

func ip6Frame(from, to netip.Addr, next uint8, data []byte) []byte {
	f := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, next, 64}
	binary.BigEndian.PutUint16(f[18:], uint16(len(data)))
	return append(append(append(f, from.AsSlice()...), to.AsSlice()...), data...)
}

// TestUndecodedLive: a live tap does not decode some packets: outer packets of tunnels, packets of other transports, and
// fragments whose datagram was never complete. Each posture and each of the tap's own records names these packets, with their
// number and the action to take.
func TestUndecodedLive(t *testing.T) {
	t.Parallel()
	undropped(t, undecodedLive)
}

func undecodedLive(t *testing.T) (dropped bool) {
	a, b := pods(t)
	needs(t, "curl", "curl")
	a.serve(t, "MESHTLS_LIVE=server", a.address)
	ip(t, "-n", a.name, "addr", "add", "fd77::1/64", "dev", "eth0", "nodad")
	tap := a.start(t, []string{"TAP_INTERFACES=eth0", "TAP_EMIT=posture"}, buildTap(t), "run")
	a.ready(t)
	pod, peer := netip.MustParseAddr(a.address), netip.MustParseAddr(b.address)
	pod6, peer6 := netip.MustParseAddr("fd77::1"), netip.MustParseAddr("fd77::2")
	text := []byte(strings.Repeat("password=hunter2 ", 8))
	inner := capturetest.TCPFrame(netip.AddrPortFrom(peer, 40000), netip.AddrPortFrom(pod, 80), layers.TCP{ACK: true, PSH: true, Seq: 7, Ack: 9}, text)[14:]
	want := map[string]uint64{}
	var frames []capturetest.Frame
	add := func(name string, frame []byte) {
		want[name]++
		frames = append(frames, capturetest.Frame{Time: captureStart, Data: frame})
	}
	for proto, name := range map[uint8]string{132: "sctp", 136: "udplite", 33: "dccp", 50: "esp", 253: "experimental", 77: "ip_protocol_77"} {
		for range 3 {
			add(name, ip4Frame(peer, pod, proto, 0, text))
		}
		add(name, ip6Frame(peer6, pod6, proto, text))
	}
	for next, name := range map[uint8]string{135: "mobility_header", 139: "hip", 140: "shim6"} {
		add(name, ip6Frame(peer6, pod6, next, append([]byte{6, 0, 0, 0, 0, 0, 0, 0}, inner...)))
	}
	add("ip_in_ip", ip4Frame(peer, pod, 4, 0, inner))
	add("ipv6_in_ip", ip4Frame(peer, pod, 41, 0, ip6Frame(peer6, pod6, 6, inner[20:])[14:]))
	add("gre", ip4Frame(peer, pod, 47, 0, append([]byte{0, 0, 8, 0}, inner...)))
	const more = 0x2000
	add("fragments", ip4Frame(peer, pod, 17, more|5, text[:64]))
	add("fragments", ip4Frame(peer, pod, 17, 20, text[:64]))
	b.forge(t, a.mac(t), frames)
	b.run(t, "", "curl", "-sS", "-m", "300", "-o", "/dev/null", fmt.Sprintf("http://%s:%d/", a.address, portHTTP))
	lines := tap.end(t)
	if ringDropped(t, lines) {
		return true
	}
	checkUndecoded(t, lines, want)
	return false
}

func checkUndecoded(t *testing.T, lines []string, want map[string]uint64) {
	t.Helper()
	seen := map[string]bool{}
	for _, l := range lines {
		if l == "" {
			continue
		}
		var r struct {
			Message string
			Event   struct{ Dataset, Action string }
			MeshTLS struct {
				Coverage struct {
					Undecoded map[string]uint64
					Advice    []string
				}
			}
		}
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			t.Fatalf("%v: %s", err, l)
		}
		c := r.MeshTLS.Coverage
		if !strings.Contains("snapshot stopped", r.Event.Action) {
			continue
		}
		seen[r.Event.Dataset] = true
		if !maps.Equal(c.Undecoded, want) {
			t.Errorf("%s: got %v, want %v", r.Event.Dataset, c.Undecoded, want)
		}
		all := strings.Join(c.Advice, "; ")
		for name := range want {
			if !strings.Contains(all, name) {
				t.Errorf("%s: nothing on %s in %q", r.Event.Dataset, name, all)
			}
		}
		if r.Message != "" && !strings.Contains(r.Message, "packets not decoded (4 ") {
			t.Errorf("%s", r.Message)
		}
	}
	if !seen["meshtls.posture"] || !seen["meshtls.tap"] {
		t.Errorf("only %v have it, of %d records: %q", seen, len(lines), lines)
	}
}

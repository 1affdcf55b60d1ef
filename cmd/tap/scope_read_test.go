package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

// TestScopeOfCaptures: a connection in a capture has scope pod only if its link header, its interface's name or its addresses show
// that it stays within a pod. Two addresses of --local may belong to two pods.
func TestScopeOfCaptures(t *testing.T) {
	const one, two = "10.1.0.1", "10.1.0.2"
	for _, test := range []struct {
		name     string
		from, to string
		local    string
		bare     bool   // the frames have zero addresses
		ttl      byte   // TTL of the server's packets; 0: as generated
		device   string // name of the interface in a pcapng file; empty: a pcap file
		want     string
	}{
		{name: "no point of view", from: one, to: two, want: "wire"},
		{name: "the client's point of view", from: one, to: two, local: one, want: "wire"},
		{name: "both pods", from: one, to: two, local: one + "," + two, want: "wire"},
		{name: "a range of pods", from: one, to: two, local: "10.0.0.0/8", want: "wire"},
		{name: "everything", from: one, to: two, local: "0.0.0.0/0", want: "wire"},
		{name: "a pod with itself", from: one, to: one, local: one, want: "pod"},
		{name: "loopback addresses", from: "127.0.0.1", to: "127.0.0.2", want: "pod"},
		{name: "lo", from: one, to: two, local: one, bare: true, want: "pod"},
		{name: "netkit", from: one, to: two, local: one, bare: true, ttl: 63, want: "wire"},
		{name: "netkit, far away", from: one, to: two, local: one, bare: true, ttl: 64 - 31, want: "wire"},
		{name: "netkit over IPv6", from: "fd00::1", to: "fd00::2", bare: true, ttl: 63, want: "wire"},
		{name: "netkit, a peer that begins with 128", from: one, to: two, bare: true, ttl: 127, want: "wire"},
		{name: "lo, a host that begins with 255", from: one, to: two, bare: true, ttl: 255, want: "pod"},
		{name: "netkit by name", from: one, to: two, local: one, bare: true, device: "eth0", want: "wire"},
		{name: "lo by name", from: one, to: two, local: one, bare: true, device: "lo", want: "pod"},
		{name: "a pipe's name, lo", from: one, to: two, local: one, bare: true, device: "-", want: "pod"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := writeTemp(t, "capture", scopeCapture(t, test.from, test.to, test.bare, test.ttl, test.device))
			var out, log bytes.Buffer
			args := []string{"read", "--output=json", "--emit=flows", file}
			if test.local != "" {
				args = append(args, "--local="+test.local)
			}
			if status := command(context.Background(), args, nil, streams{strings.NewReader(""), &out, &log}); status != exitFine {
				t.Fatalf("status %d: %s", status, &log)
			}
			schematest.Lines(t, []string{out.String()})
			var r struct {
				Meshtls struct{ Scope, Verdict string }
			}
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatalf("%v: %s", err, &out)
			}
			if r.Meshtls.Scope != test.want || r.Meshtls.Verdict != "plaintext" {
				t.Errorf("got %+v, want scope %s", r.Meshtls, test.want)
			}
		})
	}
}

// scopeCapture returns a capture of one HTTP conversation.
func scopeCapture(t *testing.T, from, to string, bare bool, ttl byte, device string) []byte {
	t.Helper()
	talk, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	const server = 8080
	frames := talk.Packets(capturetest.Options{
		Client: netip.AddrPortFrom(netip.MustParseAddr(from), 40000), Server: netip.AddrPortFrom(netip.MustParseAddr(to), server),
	})
	blocks := append(capturetest.LittleBlocks.Section(1), capturetest.LittleBlocks.Interface(1, 1<<18, capturetest.LittleBlocks.Option(2, device))...)
	for i := range frames {
		data := frames[i].Data
		if bare {
			clear(data[:12])
		}
		if source := netip.MustParseAddr(to); ttl != 0 && i%2 == 1 { // the server's packets
			if source.Is4() {
				setTTL(data, ttl)
			} else {
				data[14+7] = ttl
			}
		}
		blocks = append(blocks, capturetest.LittleBlocks.Packet(0, uint64(i), string(data))...)
	}
	if device != "" {
		return blocks
	}
	var b bytes.Buffer
	if err := capturetest.WritePcap(&b, frames); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// setTTL sets the TTL in an IPv4 frame and updates the checksum (RFC 1624, equation 3).
func setTTL(frame []byte, ttl byte) {
	const at, sum = 14 + 8, 14 + 10
	x := ^(uint32(frame[sum])<<8 | uint32(frame[sum+1])) & 0xffff
	x += ^(uint32(frame[at]) << 8) & 0xffff
	x += uint32(ttl) << 8
	for x > 0xffff {
		x = x&0xffff + x>>16
	}
	frame[at], frame[sum], frame[sum+1] = ttl, byte(^x>>8), byte(^x)
}

// TestBothPodsBeforeAndAfter: captures of both pods show that an edge lost mutual TLS.
func TestBothPodsBeforeAndAfter(t *testing.T) {
	one, two := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.2")
	var files [2]string
	for day, how := range []way{bySidecar, inPlain} {
		var b bytes.Buffer
		if err := capturetest.WritePcap(&b, replayedTalk{one, two, "cart", 8080, how, 1}.frames(t, day, 0)); err != nil {
			t.Fatal(err)
		}
		files[day] = writeTemp(t, "both.pcap", b.Bytes())
	}
	readAs(t, "", exitHit, "--local=10.1.0.1,10.1.0.2", "--before="+files[0], "--after="+files[1])
}

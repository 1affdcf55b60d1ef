package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// captures returns the captures for the scripts, by file name. The test flag -update writes them again. Their keys and random
// numbers differ each time, so the golden files must be updated together with them.
var captures = map[string]func(*testing.T) []byte{
	"mixed.pcap":        mixedCapture,
	"interfaces.pcapng": interfacesCapture,
	"wireless.pcap":     func(t *testing.T) []byte { return linkCapture(t, layers.LinkTypePPP, pppFrame) },
	"cooked2.pcap":      func(t *testing.T) []byte { return linkCapture(t, 0, cooked2Frame) },
	"huge.pcap":         hugeCapture,
	// a capture with the link type of IEEE 802.15.4, which the tap does not decode
	"unknown-link.pcap": func(t *testing.T) []byte {
		return linkCapture(t, 195, func(ip []byte) []byte { return ip })
	},
}

// TestCaptures checks that the captures exist. With -update it writes them.
func TestCaptures(t *testing.T) {
	for name, make := range captures {
		file := filepath.Join("testdata", "captures", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // as below
				t.Fatal(err)
			}
			if err := os.WriteFile(file, make(t), 0o644); err != nil { //nolint:gosec // testdata is readable by everyone
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

var captureStart = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// mixedCapture has four edges: plaintext HTTP, mutual TLS 1.3, one-way TLS 1.3, and mutual TLS 1.2.
func mixedCapture(t *testing.T) []byte {
	t.Helper()
	var frames []capturetest.Frame
	add := func(c *capturetest.Conversation, server string, n int) {
		frames = append(frames, c.Packets(capturetest.Options{
			Client: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.7"), uint16(40000+n)), Server: netip.MustParseAddrPort(server),
			Start: captureStart.Add(time.Duration(n) * time.Second),
		})...)
	}
	plain, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	add(plain, "10.1.0.20:8080", 0)
	add(plain, "10.1.0.20:8080", 1)
	for n, c := range []struct {
		version uint16
		auth    capturetest.ClientAuth
		server  string
	}{
		{tls.VersionTLS13, capturetest.Presented, "10.1.0.30:8443"},
		{tls.VersionTLS13, capturetest.NotRequested, "203.0.113.9:443"},
		{tls.VersionTLS12, capturetest.Presented, "10.1.0.31:8443"},
	} {
		talks, err := capturetest.TLSTalk(c.version, c.auth, 1)
		if err != nil {
			t.Fatal(err)
		}
		add(talks[0], c.server, 2+n)
	}
	var b bytes.Buffer
	if err := capturetest.WritePcap(&b, frames); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// httpFrames returns the frames of a plaintext HTTP request and its response.
func httpFrames(t *testing.T) []capturetest.Frame {
	t.Helper()
	plain, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	return plain.Packets(capturetest.Options{Start: captureStart})
}

// interfacesCapture is a pcapng file with the same conversation on three interfaces: eth0 and lo (Ethernet), and tun0 (raw IP).
func interfacesCapture(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriterInterface(&b, pcapgo.NgInterface{Name: "eth0", LinkType: layers.LinkTypeEthernet, SnapLength: 262144}, pcapgo.DefaultNgWriterOptions)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []pcapgo.NgInterface{{Name: "lo", LinkType: layers.LinkTypeEthernet}, {Name: "tun0", LinkType: layers.LinkTypeRaw}} {
		if _, err := w.AddInterface(i); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range httpFrames(t) {
		for i, data := range [][]byte{f.Data, f.Data, f.Data[14:]} {
			ci := gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(data), Length: len(data), InterfaceIndex: i}
			if err := w.WritePacket(ci, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The file ends with a block without a packet, as files of dumpcap do.
	if err := errors.Join(w.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{LastUpdate: captureStart}), w.Flush()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// linkCapture wraps the IP packets of a conversation in another link layer. A link of 0 means LINKTYPE_LINUX_SLL2 (276), which
// pcapgo cannot write.
func linkCapture(t *testing.T, link layers.LinkType, wrap func(ip []byte) []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	if err := w.WriteFileHeader(262144, link); err != nil {
		t.Fatal(err)
	}
	for _, f := range httpFrames(t) {
		data := wrap(f.Data[14:])
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(data), Length: len(data)}, data); err != nil {
			t.Fatal(err)
		}
	}
	out := b.Bytes()
	if link == 0 {
		out[20], out[21] = 276&0xff, 276>>8
	}
	return out
}

// hugeCapture has a packet header with a length of 4 GB.
func hugeCapture(t *testing.T) []byte {
	t.Helper()
	out := linkCapture(t, layers.LinkTypeEthernet, func(ip []byte) []byte { return ip })[:24+16]
	return append(out[:24+8], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
}

func pppFrame(ip []byte) []byte { return append([]byte{0x00, 0x21}, ip...) } // RFC 1661, RFC 1332

func cooked2Frame(ip []byte) []byte {
	head := make([]byte, 20)
	head[0], head[1] = 0x08, 0x00
	return append(head, ip...)
}

// offsetIn returns the offset of part in whole. part must be a slice of whole.
func offsetIn(whole, part []byte) int { return cap(whole) - cap(part) }

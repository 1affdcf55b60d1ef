package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// player opens a socket that sends frames over an interface of the pod. It ends a thread, and the kernel then kills the processes
// that this thread has started. So call player before starting processes.
func (p pod) player(t *testing.T, name string) (fd int) {
	t.Helper()
	opened := make(chan error)
	go func() {
		runtime.LockOSThread() // not unlocked, so that the thread ends with the goroutine
		ns, err := unix.Open(p.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(ns, unix.CLONE_NEWNET)
			unix.Close(ns)
		}
		if err == nil {
			fd, err = player(name)
		}
		opened <- err
	}()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// inVLAN returns a frame with a VLAN tag.
func inVLAN(frame []byte, vlan uint16) []byte {
	return slices.Concat(frame[:12], binary.BigEndian.AppendUint16([]byte{0x81, 0}, 0x6000|vlan), frame[12:])
}

// TestZonesLive: connections with the same addresses and ports in two VLANs are separate connections, whether or not the kernel has
// removed the tags from the packets. If the two directions of a connection are in different VLANs, it is still one connection.
func TestZonesLive(t *testing.T) {
	a, b := pods(t)
	cert, err := liveCertificate("cart")
	if err != nil {
		t.Fatal(err)
	}
	record := func(client, server *tls.Config) *capturetest.Conversation {
		talk, err := capturetest.Record(capturetest.HTTPClient(client, 100), capturetest.HTTPServer(server, 400))
		if err != nil {
			t.Fatal(err)
		}
		return talk
	}
	mutual := record(resumable(nil, cert), &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert})
	plain := record(nil, nil)
	server := netip.MustParseAddrPort(a.address + ":8443")
	frames := func(talk *capturetest.Conversation, port uint16, vlans ...uint16) (out [][]byte) {
		for _, f := range talk.Packets(capturetest.Options{Client: netip.AddrPortFrom(netip.MustParseAddr(b.address), port), Server: server, Start: captureStart}) {
			var d flow.Decoded
			if !flow.Decode(&flow.Packet{Data: f.Data, Length: len(f.Data), Link: wire.LinkEthernet}, &d) {
				t.Fatal(d.Reason)
			}
			vlan := vlans[0]
			if d.SrcPort == server.Port() {
				vlan = vlans[len(vlans)-1]
			}
			out = append(out, inVLAN(f.Data, vlan))
		}
		return out
	}
	ends := map[bool]int{true: a.player(t, "eth0"), false: b.player(t, "eth0")}
	tap := a.start(t, []string{"TAP_INTERFACES=eth0", "TAP_EMIT=flows"}, buildTap(t), "run")
	a.ready(t)
	to := map[bool]net.HardwareAddr{true: b.mac(t), false: a.mac(t)}
	for _, talks := range [][2][][]byte{
		{frames(mutual, 41000, 10), frames(plain, 41000, 20)},
		{frames(plain, 41001, 10), frames(mutual, 41001, 20)},
		{frames(mutual, 41002, 10, 20), frames(plain, 41003, 20, 10)},
	} {
		for i := range max(len(talks[0]), len(talks[1])) {
			for _, talk := range talks {
				if i >= len(talk) {
					continue
				}
				fromServer := binary.BigEndian.Uint16(talk[i][14+4+20:]) == server.Port()
				data := slices.Concat(to[fromServer], to[!fromServer], talk[i][12:])
				if _, err := send(ends[fromServer], &flow.Packet{Data: data, Length: len(data), Link: wire.LinkEthernet}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	got := map[int][]string{}
	for _, l := range tap.end(t) {
		var r struct {
			Source  struct{ Port int }
			MeshTLS struct{ Verdict string }
		}
		if len(bytes.TrimSpace([]byte(l))) == 0 {
			continue
		}
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			t.Fatal(err)
		}
		if r.MeshTLS.Verdict != "" {
			got[r.Source.Port] = append(got[r.Source.Port], r.MeshTLS.Verdict)
			slices.Sort(got[r.Source.Port])
		}
	}
	if want := "map[41000:[mtls plaintext] 41001:[mtls plaintext] 41002:[mtls] 41003:[plaintext]]"; fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
}

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfile"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

// In a network namespace, the test binary also runs as a sender of a capture's frames, and as either end of real
// connections.
func init() {
	switch os.Getenv("MESHTLS_LIVE") {
	case "forge":
		exitOn(forge(os.Getenv("MESHTLS_FRAMES")))
	case "resumable-server":
		exitOn(resumableServer(os.Getenv("MESHTLS_ADDRESS")))
	case "resuming-client":
		exitOn(resumingClient(os.Getenv("MESHTLS_ADDRESS")))
	}
}

func forge(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	c, err := pcapfile.NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	fd, err := player("eth0")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		var p flow.Packet
		if _, err := c.Next(&p); err != nil {
			return nil // the end
		}
		if _, err := send(fd, &p); err != nil {
			return err
		}
	}
}

const resumableName = "svc.test"

// resumableServer serves TLS 1.3 without client certificates, until its standard input ends.
func resumableServer(address string) error {
	cert, err := liveCertificate("cart")
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", address, oneWay(cert))
	if err != nil {
		return err
	}
	go serveEach(l, capturetest.HTTPServer(nil, 400))
	return untilInputEnds()
}

// oneWay returns the configuration of a server that requests no certificate. Its tickets are as large as if they
// contained a client certificate.
func oneWay(cert tls.Certificate) *tls.Config {
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	cfg.WrapSession = func(c tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		s.Extra = append(s.Extra, make([]byte, 600))
		return cfg.EncryptTicket(c, s)
	}
	return cfg
}

// resumable returns the configuration of a TLS 1.3 client that resumes sessions.
func resumable(cache tls.ClientSessionCache, certs ...tls.Certificate) *tls.Config {
	return &tls.Config{ServerName: resumableName, InsecureSkipVerify: true, ClientSessionCache: cache, Certificates: certs, MinVersion: tls.VersionTLS13} //nolint:gosec // the test judges the wire
}

// resumingClient connects once, and then resumes the session for each line of its standard input. It prints its local port each
// time.
func resumingClient(address string) error {
	cfg := resumable(tls.NewLRUClientSessionCache(8))
	lines := bufio.NewScanner(os.Stdin)
	for first := true; first || lines.Scan(); first = false {
		raw, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		c := tls.Client(raw, cfg)
		if err := capturetest.HTTPClient(nil, 100)(c); err != nil {
			return err
		}
		if c.ConnectionState().DidResume == first {
			return fmt.Errorf("resumed: %v", !first)
		}
		fmt.Println(raw.LocalAddr().(*net.TCPAddr).Port)
	}
	return nil
}

// poison returns two conversations: a mutual TLS 1.3 handshake with tickets like those of a server without client certificates,
// and a resumption of a connection with such a server. If both seem to be of one server, the resumption appears to be mutual.
func poison(t *testing.T) (forged, resumption *capturetest.Conversation) {
	t.Helper()
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
	mutual := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert}
	cache := tls.NewLRUClientSessionCache(8)
	server := oneWay(cert)
	full := record(resumable(cache), server)
	forged, resumption = record(resumable(tls.NewLRUClientSessionCache(8), cert), mutual), record(resumable(cache), server)
	replaceTickets(t, forged, lastRecord(firstOfServer(full)))
	return forged, resumption
}

func firstOfServer(talk *capturetest.Conversation) []byte {
	return talk.Chunks[slices.IndexFunc(talk.Chunks, func(c capturetest.Chunk) bool { return c.FromServer })].Data
}

// lastRecord returns the last TLS record of a flight. If crypto/tls requests no certificate, this record contains the
// server's tickets.
func lastRecord(flight []byte) []byte {
	for {
		n := 5 + int(flight[3])<<8 + int(flight[4])
		if n >= len(flight) {
			return flight
		}
		flight = flight[n:]
	}
}

// replaceTickets replaces the second chunk that the server sends. If the server has requested a certificate, this
// chunk contains its tickets.
func replaceTickets(t *testing.T, talk *capturetest.Conversation, tickets []byte) {
	t.Helper()
	at, before := -1, 0 // the index of the chunk, and how many bytes the server sent before it
	for i, turns := 0, 0; i < len(talk.Chunks) && at < 0; i++ {
		if c := talk.Chunks[i]; c.FromServer {
			if turns++; turns == 2 {
				at = i
				continue
			}
			before += len(c.Data)
		}
	}
	if at < 0 {
		t.Fatal("the server spoke once")
	}
	shorter := len(talk.Chunks[at].Data) - len(tickets)
	talk.Chunks[at].Data = tickets
	for i := range talk.Chunks {
		if c := &talk.Chunks[i]; !c.FromServer && c.Read > before {
			c.Read -= shorter
		}
	}
}

// mac returns the MAC address of a pod's eth0.
func (p pod) mac(t *testing.T) net.HardwareAddr {
	t.Helper()
	out := p.run(t, "", "ip", "-j", "link", "show", "eth0")
	var links []struct{ Address string }
	if err := json.Unmarshal([]byte(out), &links); err != nil || len(links) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	a, err := net.ParseMAC(links[0].Address)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// forge sends the frames of conversations from a pod to a MAC address.
func (p pod) forge(t *testing.T, to net.HardwareAddr, talks ...[]capturetest.Frame) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	frames := slices.Concat(talks...)
	for i := range frames {
		frames[i].Data = slices.Concat(to, frames[i].Data[6:])
	}
	file := filepath.Join(t.TempDir(), "forged.pcap")
	var captured bytes.Buffer
	if err := errors.Join(capturetest.WritePcap(&captured, frames), os.WriteFile(file, captured.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	p.run(t, "", "env", "MESHTLS_LIVE=forge", "MESHTLS_FRAMES="+file, self)
}

// TestForgedConversations: an attacker in the pod's network sends both sides of mutual TLS handshakes that never took place. Then a real
// client resumes a session. The session is older than the tap and not mutual, so its verdict must not be mtls.
func TestForgedConversations(t *testing.T) {
	t.Parallel()
	undropped(t, forgedConversations)
}

func forgedConversations(t *testing.T) (dropped bool) {
	a, b := pods(t)
	const port = ":8443"
	forged, resumption := poison(t)
	between := func(talk *capturetest.Conversation, client, server string, at int) []capturetest.Frame {
		return talk.Packets(capturetest.Options{
			Client: netip.AddrPortFrom(netip.MustParseAddr(client), uint16(41000+at)), Server: netip.MustParseAddrPort(server + port),
			Start: captureStart.Add(time.Duration(at) * time.Second),
		})
	}
	var flows []string // records of a pipeline that accepts all packets
	p := pipeline.New(pipeline.Config{Engine: finding.Config{Tap: "read", Window: time.Hour, Flows: true, Emit: func(r finding.Record) {
		schematest.Check(t, r.Value)
		flows = append(flows, string(r.Value))
	}}})
	for _, f := range slices.Concat(between(forged, b.address, a.address, 0), between(resumption, b.address, a.address, 1)) {
		p.Add(packetOf(f))
	}
	p.Flush()
	if got := verdictsBySource(t, flows); got[41000] != "mtls" || got[41001] != "mtls" {
		t.Fatalf("the forgery is not believed: %v", got)
	}

	a.serve(t, "MESHTLS_LIVE=resumable-server", a.address+port)
	client := b.live(t, "MESHTLS_LIVE=resuming-client", a.address+port)
	resume := func() (from int) {
		lines := client.line(t, func(string) bool { return true })
		fmt.Sscan(lines[0], &from)
		return from
	}
	resume() // a full handshake before the tap starts
	const third = "10.77.0.78"
	tap := buildTap(t)
	for _, forwarded := range []bool{false, true} {
		x := a.start(t, []string{"TAP_INTERFACES=eth0", "TAP_EMIT=flows,posture", fmt.Sprint("TAP_FORWARDED=", forwarded)}, tap, "run")
		a.ready(t)
		foreign := between(forged, b.address, third, 0)
		b.forge(t, a.mac(t), foreign, between(forged, b.address, a.address, 2), between(forged, a.address, a.address, 3), between(forged, a.address, b.address, 4))
		elsewhere := between(forged, b.address, third, 1)
		b.forge(t, net.HardwareAddr{2, 0, 0, 0, 0, 78}, elsewhere)
		fmt.Fprintln(client.in)
		honest := resume()
		if !forwarded {
			last := 0
			eventually.True(t, "all foreign packets are counted, or dropped", func() bool {
				last = a.metric(t, "foreign_packets_total")
				return last+a.metric(t, `ring_dropped_packets_total\{interface="eth0"\}`) >= len(foreign)+len(elsewhere)
			}, func() string { return fmt.Sprintf("%d of %d", last, len(foreign)+len(elsewhere)) })
		}
		lines := x.end(t)
		if ringDropped(t, lines) {
			return true
		}
		got := verdictsBySource(t, lines)
		want := map[int]string{honest: "tls", 41002: "tls", 41003: "", 41004: "unknown"}
		if forwarded {
			want[41000], want[41001] = "mtls", "mtls" // the packets show mutual TLS, and nothing inherits from them
		}
		for from, v := range got {
			if want[from] != v && (v == "mtls" || from == honest) || !forwarded && (from == 41000 || from == 41001 || from == 41003) {
				t.Errorf("forwarded %v: from port %d: %s, want %q", forwarded, from, v, want[from])
			}
		}
		if got[honest] == "" || forwarded && (got[41000] == "" || got[41001] == "") {
			t.Errorf("forwarded %v: %v", forwarded, got)
		}
		t.Logf("forwarded %v: %v", forwarded, got)
	}
	return false
}

// verdictsBySource returns the verdicts of flow records, by the client's port.
func verdictsBySource(t *testing.T, lines []string) map[int]string {
	t.Helper()
	out := map[int]string{}
	for _, l := range lines {
		var r struct {
			Event   struct{ Dataset string }
			Source  struct{ Port int }
			Meshtls struct{ Verdict string }
		}
		if json.Unmarshal([]byte(l), &r) == nil && r.Event.Dataset == finding.DatasetFlow {
			out[r.Source.Port] = r.Meshtls.Verdict
		}
	}
	return out
}

// TestAddressesComeAndGo: a connection to a new address belongs to the pod from its first packet on. The new address is a second
// one of the interface, an address of lo or of an interface that is not captured, or an address that only a route makes local.
// After its removal, the address is a peer's again.
func TestAddressesComeAndGo(t *testing.T) {
	t.Parallel()
	undropped(t, addressesComeAndGo)
}

func addressesComeAndGo(t *testing.T) (dropped bool) {
	a, b := pods(t)
	x := a.start(t, []string{"TAP_INTERFACES=eth0", "TAP_EMIT=flows,posture"}, buildTap(t), "run")
	a.ready(t)
	const ports = 5
	for i, add := range []string{
		"address add 10.77.0.11/24 dev eth0", "address add 10.99.9.2/32 dev lo", "link add v0 up type veth peer name v1; address add 10.99.9.3/32 dev v0",
		"route add local 10.99.9.64/28 dev lo", "-6 address add fd99::1/64 dev eth0 nodad",
	} {
		address := []string{"10.77.0.11", "10.99.9.2", "10.99.9.3", "10.99.9.70", "[fd99::1]"}[i]
		for command := range strings.SplitSeq(add, "; ") {
			ip(t, append([]string{"-n", a.name}, strings.Fields(command)...)...)
		}
		if i == 4 {
			ip(t, "-n", b.name, "-6", "address", "add", "fd99::2/64", "dev", "eth0", "nodad")
		} else if i > 0 {
			ip(t, "-n", b.name, "route", "add", address, "via", a.address)
		}
		at := fmt.Sprintf("%s:%d", address, 7500+i)
		a.serve(t, "MESHTLS_LIVE=resumable-server", at)
		b.live(t, "MESHTLS_LIVE=resuming-client", at).line(t, func(string) bool { return true })
	}
	refused := a.metric(t, "refused_packets_total")
	lines := x.end(t)
	if ringDropped(t, lines) {
		return true
	}
	if refused != 0 {
		t.Errorf("%d packets were refused", refused)
	}
	seen := 0
	for _, l := range lines {
		var r struct {
			Event       struct{ Dataset string }
			Network     struct{ Direction string }
			Destination struct{ Port int }
			Meshtls     struct {
				Verdict string
				Reasons []string
			}
		}
		if json.Unmarshal([]byte(l), &r) == nil && r.Event.Dataset == finding.DatasetFlow && r.Destination.Port >= 7500 && r.Destination.Port < 7500+ports {
			seen++
			if r.Network.Direction != "ingress" || r.Meshtls.Verdict != "tls" || slices.Contains(r.Meshtls.Reasons, "missed_start") {
				t.Errorf("%s", l)
			}
		}
	}
	if seen != ports {
		t.Errorf("%d connections, want %d", seen, ports)
	}
	return false
}

package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

// In a network namespace, the test binary also runs as the two ends of the traffic.
func init() {
	switch os.Getenv("MESHTLS_LIVE") {
	case "server":
		exitOn(liveServer(os.Getenv("MESHTLS_ADDRESS")))
	case "client":
		exitOn(liveClient(os.Getenv("MESHTLS_ADDRESS")))
	}
}

// The ports of the server in TestLiveAgreesWithRead.
const (
	portMarker = 7000 // HTTP, before and after all other connections
	portHTTP   = 7001
	port13     = 7002 // TLS 1.3, without client certificates
	port13m    = 7003 // TLS 1.3, mutual
	port12m    = 7004 // TLS 1.2, mutual
)

// liveCertificate returns a new certificate for a workload.
func liveCertificate(name string) (tls.Certificate, error) {
	ca, err := capturetest.NewAuthority()
	if err != nil {
		return tls.Certificate{}, err
	}
	return ca.Issue("spiffe://cluster.local/ns/shop/sa/"+name, name)
}

// liveServer serves until its standard input ends.
func liveServer(address string) error {
	cert, err := liveCertificate("cart")
	if err != nil {
		return err
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", 3000)) })
	for _, port := range []int{portMarker, portHTTP, port13, port13m, port12m} {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, port))
		if err != nil {
			return err
		}
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		if port == port13m || port == port12m {
			cfg.ClientAuth = tls.RequireAnyClientCert
		}
		if port == port12m {
			cfg.MaxVersion = tls.VersionTLS12
		}
		if port >= port13 {
			l = tls.NewListener(l, cfg)
		}
		go http.Serve(l, answer) //nolint:gosec // a test's server
	}
	return untilInputEnds()
}

// liveClient makes a first marker connection, then 150 connections of each kind, and then a second marker connection. It
// makes ten connections at a time, with two requests each.
func liveClient(address string) error {
	cert, err := liveCertificate("web")
	if err != nil {
		return err
	}
	request := func(port int) error {
		scheme := "http"
		if port >= port13 {
			scheme = "https"
		}
		transport := &http.Transport{MaxConnsPerHost: 1, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}} //nolint:gosec // the test judges the wire
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport, Timeout: eventually.Limit}
		for range 2 {
			r, err := client.Get(fmt.Sprintf("%s://%s:%d/", scheme, address, port))
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, r.Body)
			r.Body.Close()
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := request(portMarker); err != nil {
		return err
	}
	results := make(chan error)
	const workers, each = 10, 15
	for range workers {
		go func() {
			var errs error
			for range each {
				for _, port := range []int{portHTTP, port13, port13m, port12m} {
					errs = errors.Join(errs, request(port))
				}
			}
			results <- errs
		}()
	}
	for range workers {
		err = errors.Join(err, <-results)
	}
	return errors.Join(err, request(portMarker))
}

// TestLiveAgreesWithRead: tcpdump captures the same connections. The live records of the connections are the same as the
// records of `tap read` for tcpdump's file.
func TestLiveAgreesWithRead(t *testing.T) {
	norace(t)
	undropped(t, liveAgreesWithRead)
}

func liveAgreesWithRead(t *testing.T) (dropped bool) {
	client, server := pods(t)
	tap := releasedTap(t)
	file := filepath.Join(t.TempDir(), "live.pcap")
	server.serve(t, "MESHTLS_LIVE=server", server.address)
	live := client.start(t, []string{"TAP_EMIT=flows,posture", "TAP_INTERFACES=eth0", "TAP_WINDOW=1h", "TAP_LISTEN="}, tap, "run")
	live.line(t, func(l string) bool { return strings.Contains(l, `"meshtls.tap"`) })
	dump := client.start(t, nil, "tcpdump", "-i", "eth0", "-B", "262144", "-s", "65535", "-U", "--immediate-mode", "-Z", "root", "-w", file)
	waitForFile(t, file)
	client.ask(t, "MESHTLS_LIVE=client", server.address)
	markers := 0
	lines := live.line(t, func(l string) bool {
		if r := parseFlow(l); r != nil && r.port == portMarker {
			markers++
		}
		return markers == 2
	})
	lines = append(lines, live.end(t)...)
	dump.end(t)
	if !strings.Contains(dump.stderr.String(), "\n0 packets dropped by kernel") {
		t.Logf("tcpdump: %s", &dump.stderr)
		return true
	}
	if ringDropped(t, lines) {
		return true
	}
	out, err := exec.Command(tap, "read", "--output=json", "--emit=flows", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	schematest.Lines(t, strings.SplitAfter(string(out), "\n"))
	compare(t, between(lines), between(strings.SplitAfter(string(out), "\n")))
	return false
}

// waitForFile waits until tcpdump has written the file header. From then on it captures.
func waitForFile(t *testing.T, file string) {
	t.Helper()
	eventually.True(t, "tcpdump captures", func() bool {
		info, err := os.Stat(file)
		return err == nil && info.Size() >= 24
	})
}

// flowFacts has the facts that must agree between two records of a connection.
type flowFacts struct {
	port, clientPort int
	facts            string
}

func parseFlow(line string) *flowFacts {
	var r struct {
		Event       struct{ Dataset string }
		Source      struct{ Port, Bytes, Packets int }
		Destination struct{ Port, Bytes, Packets int }
		Network     struct{ Protocol string }
		TLS         json.RawMessage
		Meshtls     struct {
			Verdict string
			Reasons []string
			TLS     json.RawMessage
			State   string
		}
	}
	if json.Unmarshal([]byte(line), &r) != nil || r.Event.Dataset != "meshtls.flow" {
		return nil
	}
	return &flowFacts{r.Destination.Port, r.Source.Port, fmt.Sprintf("%s %s %v %d/%d %d/%d %s %s", r.Meshtls.Verdict, r.Network.Protocol, r.Meshtls.Reasons,
		r.Source.Bytes, r.Source.Packets, r.Destination.Bytes, r.Destination.Packets, r.TLS, r.Meshtls.TLS)}
}

// between returns the connections between the markers, by their two ports.
func between(lines []string) map[[2]int]flowFacts {
	out := map[[2]int]flowFacts{}
	for _, l := range lines {
		if r := parseFlow(l); r != nil && r.port > portMarker {
			out[[2]int{r.clientPort, r.port}] = *r
		}
	}
	return out
}

func compare(t *testing.T, live, read map[[2]int]flowFacts) {
	t.Helper()
	if len(read) != 600 {
		t.Errorf("read saw %d connections, want 600", len(read))
	}
	verdicts := map[string]int{}
	for ports, r := range read {
		l, ok := live[ports]
		switch {
		case !ok:
			t.Errorf("live did not tell of ports %d: %s", ports, r.facts)
		case l != r:
			t.Errorf("ports %d\nlive %s\nread %s", ports, l.facts, r.facts)
		}
		verdict, _, _ := strings.Cut(r.facts, " ")
		verdicts[fmt.Sprintf("%d %s", r.port, verdict)]++
	}
	for ports := range live {
		if _, ok := read[ports]; !ok {
			t.Errorf("read did not tell of ports %d", ports)
		}
	}
	for _, want := range []string{"7001 plaintext", "7002 tls", "7003 mtls", "7004 mtls"} {
		if verdicts[want] != 150 {
			t.Errorf("%s: %d, want 150 (%v)", want, verdicts[want], verdicts)
		}
	}
}

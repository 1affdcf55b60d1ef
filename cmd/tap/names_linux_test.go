package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// The test binary also runs as two other programs. The server answers DNS and application requests. The client looks up the
// application server's name and connects to it.
func init() {
	switch os.Getenv("MESHTLS_NAMES") {
	case "server":
		exitOn(namesServer(os.Getenv("MESHTLS_ADDRESS")))
	case "client":
		exitOn(namesClient(os.Getenv("MESHTLS_ADDRESS")))
	}
}

const liveName = "redis.shop"

// namesServer answers DNS queries for liveName on port 53, and Redis' PING, until its standard input ends.
func namesServer(address string) error {
	dns, err := net.ListenPacket("udp", address+":53")
	if err != nil {
		return err
	}
	redis, err := net.Listen("tcp", address+":6379")
	if err != nil {
		return err
	}
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := dns.ReadFrom(b)
			if err != nil {
				return
			}
			query, response := capturetest.DNS(binary.BigEndian.Uint16(b), liveName, 30, nil, netip.MustParseAddr(address))
			if n >= len(query) && b[len(query)-3] != query[len(query)-3] { // a query of another type has no answer
				response = append(query[:len(query)-4:len(query)-4], b[len(query)-4:len(query)]...)
				response[2], response[3] = 0x81, 0x80
			}
			_, _ = dns.WriteTo(response, from)
		}
	}()
	go serveEach(redis, func(c net.Conn) error {
		_, err := io.ReadFull(c, make([]byte, 14))
		if err == nil {
			_, err = io.WriteString(c, "+PONG\r\n")
		}
		return err
	})
	return untilInputEnds()
}

// namesClient looks up the name and connects, as any Go client does.
func namesClient(resolver string) error {
	d := net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, resolver+":53")
	}}}
	c, err := d.Dial("tcp", liveName+".:6379")
	if err != nil {
		return err
	}
	_, err = io.WriteString(c, "*1\r\n$4\r\nPING\r\n")
	if err == nil {
		_, err = io.ReadAll(c)
	}
	return errors.Join(err, c.Close())
}

// TestNamesLive: a connection whose bytes contain no name gets the name that the pod looked up in DNS. Connections to the tap's own
// port belong to the tap.
func TestNamesLive(t *testing.T) {
	t.Parallel()
	undropped(t, namesLive)
}

func namesLive(t *testing.T) (dropped bool) {
	server, client := pods(t)
	server.serve(t, "MESHTLS_NAMES=server", server.address)
	tap := client.start(t, []string{"TAP_INTERFACES=eth0,lo", "TAP_EMIT=flows", "POD_IPS=" + client.address}, buildTap(t), "run")
	client.ready(t)
	client.ask(t, "MESHTLS_NAMES=client", server.address)
	lines := tap.end(t)
	if ringDropped(t, lines) {
		return true
	}
	seen := map[string]object{}
	for _, r := range validated(t, lines) {
		if port := r.at("destination.port"); port != "" {
			seen[strings.TrimSuffix(port, ".0")] = r
		}
	}
	for _, c := range []struct{ port, field, want string }{
		{"53", "meshtls.class", "dns"},
		{"6379", "meshtls.peer.name", liveName},
		{"6379", "meshtls.peer.name_basis", "dns"},
		{"6379", "destination.domain", liveName},
		{"6379", "meshtls.verdict", "plaintext"},
		{"6379", "meshtls.class", "workload"},
		{"9469", "meshtls.class", "tap"},
	} {
		if got := seen[c.port].at(c.field); got != c.want {
			t.Errorf("port %s: %s %q, want %q", c.port, c.field, got, c.want)
		}
	}
	return false
}

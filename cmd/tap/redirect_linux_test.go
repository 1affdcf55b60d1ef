package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

func init() {
	switch os.Getenv("MESHTLS_PROXY") {
	case "redirect":
		exitOn(proxy("127.0.0.1:15001", false, originalDestination))
	case "tproxy":
		exitOn(proxy("0.0.0.0:15006", true, func(net.Conn) (string, string, error) { return "127.0.0.6", "10.77.0.2:8080", nil }))
	case "application":
		exitOn(application())
	}
}

// application serves HTTP on port 8080 until its standard input ends.
func application() error {
	l, err := net.Listen("tcp", "0.0.0.0:8080")
	if err != nil {
		return err
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") })) //nolint:gosec // a test's server
	return untilInputEnds()
}

// proxy forwards bytes as a mesh's sidecar does. The parameter to is a function that returns two addresses for a
// connection: the destination of the forwarded connection, and its source (empty: any).
func proxy(listen string, transparent bool, to func(net.Conn) (from, to string, err error)) error {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		e := c.Control(func(fd uintptr) {
			if transparent {
				err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1)
			}
		})
		return errors.Join(e, err)
	}}
	l, err := lc.Listen(context.Background(), "tcp", listen)
	if err != nil {
		return err
	}
	go serveEach(l, func(in net.Conn) error {
		err := carry(in, to)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return err
	})
	return untilInputEnds()
}

func carry(in net.Conn, to func(net.Conn) (string, string, error)) error {
	from, target, err := to(in)
	if err != nil {
		return err
	}
	d := net.Dialer{Timeout: eventually.Limit, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, 7) }) // the rules do not redirect this mark
	}}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	out, err := d.Dial("tcp", target)
	if err != nil {
		return err
	}
	defer out.Close()
	go func() {
		io.Copy(out, in)
		out.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(in, out)
	return nil
}

// originalDestination returns the destination of a connection before it was redirected (SO_ORIGINAL_DST, linux/netfilter_ipv4.h).
func originalDestination(c net.Conn) (from, to string, err error) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return "", "", err
	}
	const soOriginalDst = 80
	var addr *unix.IPv6Mreq // large enough for a struct sockaddr_in: family, port, address
	e := raw.Control(func(fd uintptr) { addr, err = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, soOriginalDst) })
	if err := errors.Join(e, err); err != nil {
		return "", "", err
	}
	b := addr.Multiaddr
	return "", fmt.Sprintf("%s:%d", net.IP(b[4:8]), int(b[2])<<8|int(b[3])), nil
}

// TestRedirectAndTProxy: two pods communicate through a proxy in each, with REDIRECT in the client's pod and TPROXY in the server's
// pod. Connections on lo have scope pod, the address that the application used, and no finding. The plaintext between the pods is a
// finding.
func TestRedirectAndTProxy(t *testing.T) {
	t.Parallel()
	undropped(t, redirectAndTProxy)
}

func redirectAndTProxy(t *testing.T) (dropped bool) {
	client, server := pods(t)
	needs(t, "nft", "nftables", "curl", "curl")
	for _, command := range []string{
		"nft add table ip mesh", "nft add chain ip mesh out { type nat hook output priority -100 ; }",
		"nft add rule ip mesh out meta mark 7 accept", "nft add rule ip mesh out tcp dport 80 redirect to :15001",
	} {
		client.run(t, "", strings.Fields(command)...)
	}
	for _, command := range []string{
		"nft add table inet mesh", "nft add chain inet mesh in { type filter hook prerouting priority -150 ; }",
		"nft add rule inet mesh in tcp dport 80 meta mark set 1 tproxy ip to :15006 accept",
		"ip rule add fwmark 1 lookup 100", "ip route add local default dev lo table 100",
	} {
		server.run(t, "", strings.Fields(command)...)
	}
	server.serve(t, "MESHTLS_PROXY=application", "")
	server.serve(t, "MESHTLS_PROXY=tproxy", "")
	client.serve(t, "MESHTLS_PROXY=redirect", "")
	tap := buildTap(t)
	taps := map[string]*process{}
	for _, p := range []pod{client, server} {
		taps[p.name] = p.start(t, []string{"TAP_EMIT=findings,flows", "POD_IPS=" + p.address}, tap, "run")
		p.ready(t)
	}
	if got := client.run(t, "", "curl", "-sS", "-m", "300", "http://"+server.address+"/"); got != "hello\n" {
		t.Fatalf("curl: %q", got)
	}
	for _, c := range []struct {
		pod  pod
		want []string // direction, scope, verdict, and the endpoints with fixed ports
	}{
		// The first connection goes from 10.77.0.1 to 127.0.0.1:15001, and its responses come from
		// 10.77.0.2:80. The second one is the proxy's own connection to 10.77.0.2:80.
		{client, []string{"internal pod plaintext 10.77.0.1 > 10.77.0.2:80 by 127.0.0.1:15001", "egress wire plaintext 10.77.0.1 > 10.77.0.2:80 by :"}},
		{server, []string{"ingress wire plaintext 10.77.0.1 > 10.77.0.2:80 by :", "internal pod plaintext 127.0.0.6 > 10.77.0.2:8080 by :"}},
	} {
		lines := taps[c.pod.name].end(t)
		if ringDropped(t, lines) {
			return true
		}
		var flows []string
		findings := 0
		for _, r := range validated(t, lines) {
			if r.at("destination.port") == "9469" || r.at("source.port") == "9469" {
				continue // the test's own requests to the tap
			}
			switch r.at("event.dataset") {
			case "meshtls.finding":
				findings++
				if r.at("meshtls.scope") != "wire" {
					t.Errorf("a finding within the pod: %v", r)
				}
			case "meshtls.flow":
				flows = append(flows, fmt.Sprintf("%s %s %s %s > %s:%s by %s:%s", r.at("network.direction"), r.at("meshtls.scope"), r.at("meshtls.verdict"),
					r.at("source.ip"), r.at("destination.ip"), r.at("destination.port"), r.at("destination.nat.ip"), r.at("destination.nat.port")))
			}
		}
		for _, want := range c.want {
			if n := strings.Count(strings.Join(flows, "\n")+"\n", want+"\n"); n != 1 {
				t.Errorf("%s: %q %d times, want once, in:\n%s", c.pod.name, want, n, strings.Join(flows, "\n"))
			}
		}
		if findings != 1 {
			t.Errorf("%s: %d findings, want 1", c.pod.name, findings)
		}
	}
	return false
}

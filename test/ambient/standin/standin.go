// Package standin replaces ztunnel, waypoints and gateways of an ambient mesh in tests. Like ztunnel, its process is
// outside of the network namespaces of pods but opens sockets inside them. It speaks HBONE, which is HTTP/2 CONNECT
// over mutual TLS 1.3 at port 15008.
//
// The data path is that of istio-cni (cni/pkg/iptables) and ztunnel (src/inpod, src/proxy), but the code was written
// for this project. Connections of a pod's processes are redirected to port 15001, arriving plaintext is redirected
// to 15006, and HBONE is accepted at 15008. A proxy delivers connections to the pod's own application on lo, with the
// original client's address as their source.
package standin

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Ports and marks of the data path: cni/pkg/iptables/iptables.go of istio/istio.
const (
	PortOutbound  = 15001
	PortPlaintext = 15006
	PortHBONE     = 15008

	mark      = 0x539 // the mark of the proxy's own packets
	connMark  = 0x111 // the mark of connections that the proxy opens within the pod
	markBits  = 0xfff
	pathTable = 100
)

// ProbeSource is the source address that the node sets in the kubelet's probes (HOST_PROBE_SNAT_IP).
var ProbeSource = netip.MustParseAddr("169.254.7.127")

// Namespace is a network namespace without a name or a process of its own. It ends when its
// last descriptor is closed.
type Namespace struct{ f *os.File }

// NewNamespace creates a namespace whose lo is up. It needs CAP_SYS_ADMIN.
func NewNamespace() (*Namespace, error) {
	var n Namespace
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		var err error
		n.f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	return &n, n.Run("ip link set lo up")
}

// OpenNamespace opens an existing namespace. The path may be /proc/PID/ns/net, or the bind mount that a container
// runtime names in CNI_NETNS.
func OpenNamespace(path string) (*Namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open a network namespace: %w", err)
	}
	return &Namespace{f}, nil
}

// Path returns a path of the namespace for ip(8) and nsenter(1). It is valid until Close.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.f.Fd()) }

// Close releases the namespace.
func (n *Namespace) Close() error { return n.f.Close() }

// Do calls f on a thread that is in the namespace. Sockets that f opens stay in the namespace, even if other threads
// use them.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

// onThread calls f on a thread that f may move to another namespace. Then it moves the thread back. If that fails,
// the thread ends with its goroutine.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		err = f()
		if back := unix.Setns(home, unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		unix.Close(home)
		done <- err
	}()
	return <-done
}

// Run runs commands in the namespace. Each line is a command; blanks separate its words.
func (n *Namespace) Run(commands string) error {
	for line := range strings.Lines(commands) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := n.Command("", words...); err != nil {
			return err
		}
	}
	return nil
}

// Command runs a command in the namespace with a standard input.
func (n *Namespace) Command(stdin string, words ...string) error {
	cmd := exec.Command("nsenter", append([]string{"--net=" + n.Path(), "--"}, words...)...) //nolint:gosec // words of the tests
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, out)
	}
	return nil
}

// redirection holds the rules that istio-cni installs in an enrolled pod. They are for IPv4 and in the language of
// nftables.
const redirection = `
table ip istio {
	chain mangle_prerouting {
		type filter hook prerouting priority mangle
		meta mark & 0xfff == 0x539 ct mark set 0x111
	}
	chain mangle_output {
		type route hook output priority mangle
		ct mark & 0xfff == 0x111 meta mark set ct mark
	}
	chain nat_prerouting {
		type nat hook prerouting priority dstnat
		ip saddr 169.254.7.127 meta l4proto tcp accept
		ip daddr != 127.0.0.1 tcp dport != 15008 meta mark & 0xfff != 0x539 redirect to :15006
	}
	chain nat_output {
		type nat hook output priority -100
		ip daddr 169.254.7.127 meta l4proto tcp accept
		meta l4proto tcp meta mark & 0xfff == 0x111 accept
		oifname "lo" ip daddr != 127.0.0.1 accept
		ip daddr != 127.0.0.1 meta l4proto tcp meta mark & 0xfff != 0x539 redirect to :15001
	}
}
`

// Redirect installs the in-pod redirection, as istio-cni does when it enrolls a pod.
func (n *Namespace) Redirect() error {
	return errors.Join(n.Command(redirection, "nft", "-f", "-"), n.Run(fmt.Sprintf(`
		ip rule add fwmark 0x%x/0x%x pref 32764 lookup %d
		ip route add local 0.0.0.0/0 dev lo table %d
	`, connMark, markBits, pathTable, pathTable)))
}

// RewriteProbes gives the node's connections to pods the source address ProbeSource, as istio-cni does for the
// kubelet's probes of enrolled pods. The pods' rules redirect nothing from that address. n is the node's namespace.
// Each call adds its pods to those of earlier calls.
func (n *Namespace) RewriteProbes(pods ...netip.Addr) error {
	const rules = `
table ip istio {
	set probed { type ipv4_addr; }
	chain nat_postrouting { type nat hook postrouting priority srcnat; }
}
flush chain ip istio nat_postrouting
add rule ip istio nat_postrouting meta l4proto tcp fib saddr type local ip daddr @probed snat to 169.254.7.127
`
	script := []byte(rules)
	for _, pod := range pods {
		script = fmt.Appendf(script, "add element ip istio probed { %s }\n", pod)
	}
	return n.Command(string(script), "nft", "-f", "-")
}

// RestoreProbes removes the rules of RewriteProbes.
func (n *Namespace) RestoreProbes() error {
	return n.Command("", "nft", "delete", "table", "ip", "istio")
}

// Kinds of an Event. Each describes one end of a connection by its role and by the owner of its socket.
const (
	Redirected = "redirected"      // a connection of the pod's application, accepted at 15001 on lo
	Delivered  = "delivered"       // a connection that the proxy opened to the pod's application, on lo
	HBONEOut   = "hbone out"       // an HBONE connection that the proxy opened
	HBONEIn    = "hbone in"        // an HBONE connection that the proxy accepted
	PlainOut   = "passthrough out" // a connection of the application that the proxy forwarded without HBONE
	PlainIn    = "passthrough in"  // an incoming connection without HBONE, accepted at 15006
	Relayed    = "relayed"         // bytes of an inner HBONE, which a gateway forwards unchanged
	Refused    = "refused"         // a handshake that the proxy refused
)

// Event is a line of a proxy's log. It describes one connection as the proxy knows it.
type Event struct {
	Time           time.Time
	Kind           string
	Client, Server netip.AddrPort // addresses on the wire; for Redirected, Server is the application's destination
	Peer           string         // SPIFFE ID in the peer's certificate, empty without HBONE
	Resumed        bool
	For            netip.AddrPort // for PlainOut: the application's end of the connection that the proxy forwards
	Inner          bool           // this HBONE runs within another HBONE connection and is no connection of its own
}

// Log collects events. The zero value is ready to use. It is safe for concurrent use.
type Log struct {
	Each func(Event) // if set, it is called with each event, one at a time

	mu     sync.Mutex
	events []Event
}

// Add adds an event.
func (l *Log) Add(e Event) {
	e.Time = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	if l.Each != nil {
		l.Each(e)
	}
}

// Events returns the events logged so far.
func (l *Log) Events() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Event(nil), l.events...)
}

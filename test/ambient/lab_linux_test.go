package ambient_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/exclusive"
	"github.com/meshtls-tap/meshtls-tap/test/ambient/standin"
)

// skipOrFail skips the test because something is missing. If MESHTLS_REQUIRE_ALL is set, it fails the test instead.
func skipOrFail(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("MESHTLS_REQUIRE_ALL") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// requireLab skips the test if the lab cannot run. The lab needs root, and programs from Debian packages.
func requireLab(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		skipOrFail(t, "network namespaces need root")
	}
	for program, pkg := range map[string]string{"ip": "iproute2", "nft": "nftables", "tcpdump": "tcpdump", "nsenter": "util-linux"} {
		if _, err := exec.LookPath(program); err != nil {
			skipOrFail(t, "%v: on Debian or Ubuntu: apt-get install %s", err, pkg)
		}
	}
}

// host is a pod of the lab, or the node.
type host struct {
	name    string
	address netip.Addr
	ns      *standin.Namespace
	log     *standin.Log // log of all processes that have sockets in the pod
	proxy   *standin.Proxy
	env     []string // settings of the pod's tap
	tap     *tapped
	dumps   []*dump
}

// node is the node's address on its bridge.
var node = netip.MustParseAddr("10.88.0.254")

// lab is a node with pods on a bridge.
type lab struct {
	node   *host
	pods   []*host
	folder string // the captures are stored here
}

// newLab creates the node. It skips a test that has no right to create network namespaces.
func newLab(t *testing.T, folder string) *lab {
	t.Helper()
	requireLab(t)
	exclusive.Machine(t)
	ns := newNamespace(t)
	l := &lab{node: &host{name: "node", address: node, ns: ns, log: &standin.Log{}}, folder: folder}
	must(t, ns.Run(`
		ip link add br0 type bridge
		ip link set br0 up
		ip address add 10.88.0.254/24 dev br0
	`))
	return l
}

func newNamespace(t *testing.T) *standin.Namespace {
	t.Helper()
	ns, err := standin.NewNamespace()
	if err != nil {
		skipOrFail(t, "%v: needs CAP_SYS_ADMIN", err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// add adds a pod to the node's bridge.
func (l *lab) add(t *testing.T, name string) *host {
	t.Helper()
	p := &host{name: name, ns: newNamespace(t), log: &standin.Log{}, address: addressOf(name)}
	l.pods = append(l.pods, p)
	// Without this, the kernel would send packets about unused IPv6 addresses, which would be in the captures.
	must(t, p.ns.Command("1", "tee", "/proc/sys/net/ipv6/conf/default/disable_ipv6"))
	port := fmt.Sprint("p", len(l.pods))
	must(t, l.node.ns.Run(fmt.Sprintf("ip link add %s type veth peer name eth0 netns %s\nip link set %s master br0 up", port, p.ns.Path(), port)))
	must(t, p.ns.Run(fmt.Sprintf("ip address add %s/24 dev eth0\nip link set eth0 up\nip route add default via %s", p.address, node)))
	return p
}

// listen opens a listening socket of the pod's application.
func (p *host) listen(t *testing.T, port uint16) net.Listener {
	t.Helper()
	var l net.Listener
	must(t, p.ns.Do(func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		return err
	}))
	t.Cleanup(func() { l.Close() })
	return l
}

// dial connects a socket of the pod's application. Unlike the proxy's sockets it has no mark.
func (p *host) dial(ctx context.Context, to string) (c net.Conn, err error) {
	e := p.ns.Do(func() error {
		c, err = (&net.Dialer{Timeout: 20 * time.Second}).DialContext(ctx, "tcp4", to)
		return err
	})
	return c, e
}

// Kinds of connections that applications log, in addition to those of package standin.
const (
	appOut  = "application out" // a connection that no proxy intercepts
	appIn   = "application in"
	probeIn = "probe in" // a probe that the kubelet sends from the node
	within  = "within the pod"
)

// logConnection logs a connection of an application as it appears on the wire.
func (p *host) logConnection(kind string, client, server net.Addr) {
	p.log.Add(standin.Event{Kind: kind, Client: addrPort(client), Server: addrPort(server)})
}

func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// get requests a path over HTTP, on a new connection. It logs the connection with kind; if a proxy logs the
// connection, kind is empty.
func (p *host) get(t *testing.T, kind, url string) string {
	t.Helper()
	body, err := p.request(kind, url)
	if err != nil {
		t.Fatalf("%s requests %s: %v", p.name, url, err)
	}
	return body
}

func (p *host) request(kind, url string) (string, error) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
		c, err := p.dial(ctx, to)
		if err == nil && kind != "" {
			p.logConnection(kind, c.LocalAddr(), c.RemoteAddr())
		}
		return c, err
	}}
	req, err := http.NewRequest(http.MethodGet, url, nil) //nolint:noctx // the client has a timeout
	if err != nil {
		return "", err
	}
	if p.name == "node" {
		req.Header.Set("User-Agent", "kube-probe/1.34")
	}
	res, err := (&http.Client{Transport: tr, Timeout: eventually.Limit}).Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, b)
	}
	return string(b), err
}

// serve responds to HTTP requests with the client's address. It logs its connections with kind; if a proxy logs them,
// kind is empty.
func (p *host) serve(t *testing.T, port uint16, kind string) {
	t.Helper()
	s := &http.Server{
		ReadHeaderTimeout: eventually.Limit,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			fmt.Fprintf(w, "hello %s\n%s", host, strings.Repeat("more of the same ", 200))
		}),
		ConnState: func(c net.Conn, state http.ConnState) {
			as := kind
			if addrPort(c.RemoteAddr()).Addr() == standin.ProbeSource {
				as = probeIn
			}
			if state == http.StateNew && as != "" {
				p.logConnection(as, c.RemoteAddr(), c.LocalAddr())
			}
		},
	}
	l := p.listen(t, port)
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

// tapped is a running tap of a pod.
type tapped struct {
	cmd    *exec.Cmd
	out    bytes.Buffer
	stderr eventually.Output
}

// start starts a program in the pod. The program is killed at the end of the test.
func (p *host) start(t *testing.T, stdout, stderr io.Writer, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--net=" + p.ns.Path(), "--"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			cmd.Wait()
		}
	})
	return cmd
}

// startTap starts the pod's tap and captures, and waits until they are ready.
func (l *lab) startTap(t *testing.T, p *host, tap string) {
	t.Helper()
	x := &tapped{}
	x.cmd = p.start(t, &x.out, &x.stderr, append([]string{
		"TAP_EMIT=findings,flows", "TAP_SELF_TEST=false", fmt.Sprint("TAP_LISTEN=127.0.0.1:", healthPort), "POD_IPS=" + p.address.String(), "HOST_IPS=" + node.String(),
		"POD_NAME=" + p.name, "POD_NAMESPACE=lab", "POD_UID=" + p.name,
	}, p.env...), tap, "run")
	p.tap = x
	for _, iface := range []string{"eth0", "lo"} {
		d := &dump{file: filepath.Join(l.folder, p.name+"-"+iface+".pcap")}
		d.cmd = p.start(t, io.Discard, &d.stderr, nil, "tcpdump", "-i", iface, "-n", "-s", "0", "-B", "8192", "-U", "-Z", "root", "-w", d.file, "tcp", "or", "udp")
		eventually.True(t, "tcpdump listens", func() bool { return strings.Contains(d.stderr.String(), "listening on") }, &d.stderr)
		p.dumps = append(p.dumps, d)
	}
	eventually.True(t, "the tap of "+p.name+" captures", func() bool {
		_, err := p.request("", fmt.Sprintf("http://127.0.0.1:%d/readyz", healthPort))
		return err == nil
	}, &x.stderr)
}

// dump is a running tcpdump.
type dump struct {
	cmd    *exec.Cmd
	file   string
	stderr eventually.Output
}

// lostPackets matches tcpdump's final report if the kernel dropped packets.
var lostPackets = regexp.MustCompile(`(?m)^[1-9]\d* packets? dropped by`)

// stop ends the pod's captures and its tap. It returns the tap's records, and reports whether a capture dropped
// packets. A capture is ended only once it contains a marked datagram, because it then contains all earlier
// packets too.
func (p *host) stop(t *testing.T) (lines []string, dropped bool) {
	t.Helper()
	var mark [16]byte
	rand.Read(mark[:]) // never fails
	token := []byte(hex.EncodeToString(mark[:]))
	must(t, p.ns.Do(func() error {
		var errs []error
		for _, to := range []string{"127.0.0.1:9", node.String() + ":9"} {
			c, err := net.Dial("udp4", to)
			if err == nil {
				_, err = c.Write(token)
				c.Close()
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}))
	for _, d := range p.dumps {
		eventually.True(t, "the capture in "+d.file+" is complete", func() bool {
			b, err := os.ReadFile(d.file)
			return err == nil && bytes.Contains(b, token)
		})
		must(t, d.cmd.Process.Signal(os.Interrupt))
		d.cmd.Wait()
		dropped = dropped || lostPackets.MatchString(d.stderr.String())
	}
	must(t, p.tap.cmd.Process.Signal(syscall.SIGTERM))
	if err := p.tap.cmd.Wait(); err != nil {
		t.Errorf("the tap of %s: %v: %s", p.name, err, &p.tap.stderr)
	}
	return strings.Split(strings.TrimSpace(p.tap.out.String()), "\n"), dropped
}

// files are the pod's captures.
func (p *host) files() (files []string) {
	for _, d := range p.dumps {
		files = append(files, d.file)
	}
	return files
}

// declared reports whether the settings of the pod's tap declare that the pod is enrolled.
func (p *host) declared() bool { return slices.Contains(p.env, "TAP_AMBIENT=istio") }

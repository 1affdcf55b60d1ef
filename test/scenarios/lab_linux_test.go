package scenarios_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/internal/exclusive"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/test/ambient/standin"
)

// require skips the test if something that it needs is missing. If MESHTLS_REQUIRE_ALL is set, it fails the test instead.
func require(t *testing.T, ok bool, format string, args ...any) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("MESHTLS_REQUIRE_ALL") != "":
		t.Fatalf(format, args...)
	default:
		t.Skipf(format, args...)
	}
}

// requireLab skips the test without root and the programs of the lab.
func requireLab(t *testing.T) {
	t.Helper()
	require(t, os.Getuid() == 0, "network namespaces need root")
	for program, pkg := range map[string]string{"ip": "iproute2", "nsenter": "util-linux", "openssl": "openssl"} {
		_, err := exec.LookPath(program)
		require(t, err == nil, "%v: on Debian or Ubuntu: apt-get install %s", err, pkg)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// buildTap builds the tap and returns its path.
func buildTap(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tap")
	cmd := exec.Command("go", "build", "-o", file, "../../cmd/tap")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return file
}

// lab is a node with a bridge. Each scenario has a lab of its own.
type lab struct {
	folder    string
	tap       string // path of the program
	authority *standin.Authority
	node      *pod
	pods      []*pod
}

// pod is a network namespace on the bridge, or the node.
type pod struct {
	lab     *lab
	name    string
	address netip.Addr
	ns      *standin.Namespace

	cmd    *exec.Cmd // the pod's tap, if it has one
	out    bytes.Buffer
	stderr eventually.Output
}

// nodeAddress is the node's address on the bridge.
var nodeAddress = netip.MustParseAddr("10.99.0.254")

func newLab(t *testing.T, tap string) *lab {
	t.Helper()
	exclusive.Machine(t)
	a, err := standin.NewAuthority()
	must(t, err)
	l := &lab{folder: t.TempDir(), tap: tap, authority: a}
	l.node = &pod{lab: l, name: "node", address: nodeAddress, ns: newNamespace(t)}
	must(t, l.node.ns.Run("ip link add br0 type bridge\nip link set br0 up\nip address add 10.99.0.254/16 dev br0"))
	return l
}

func newNamespace(t *testing.T) *standin.Namespace {
	t.Helper()
	ns, err := standin.NewNamespace()
	require(t, err == nil, "%v: needs CAP_SYS_ADMIN", err)
	t.Cleanup(func() { ns.Close() })
	return ns
}

// add adds a pod to the bridge. Every pod reaches every address on the bridge directly.
func (l *lab) add(t *testing.T, name, address string) *pod {
	t.Helper()
	p := &pod{lab: l, name: name, address: netip.MustParseAddr(address), ns: newNamespace(t)}
	l.pods = append(l.pods, p)
	// Without this, the kernel would send packets about unused IPv6 addresses.
	must(t, p.ns.Command("1", "tee", "/proc/sys/net/ipv6/conf/default/disable_ipv6"))
	port := fmt.Sprint("p", len(l.pods))
	must(t, l.node.ns.Run(fmt.Sprintf("ip link add %s type veth peer name eth0 netns %s\nip link set %s master br0 up", port, p.ns.Path(), port)))
	must(t, p.ns.Run(fmt.Sprintf("ip address add %s/16 dev eth0\nip link set eth0 up\nip route add default dev eth0", p.address)))
	return p
}

// at returns the pod's address with a port.
func (p *pod) at(port int) string { return fmt.Sprintf("%s:%d", p.address, port) }

// dial opens a connection from the pod.
func (p *pod) dial(to string) (net.Conn, error) { return p.dialFrom("", to) }

// dialFrom opens a connection from an address of the pod; "" is any.
func (p *pod) dialFrom(from, to string) (c net.Conn, err error) {
	d := net.Dialer{Timeout: 20 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	e := p.ns.Do(func() error {
		c, err = d.DialContext(context.Background(), "tcp4", to)
		return err
	})
	return c, e
}

// listen opens a listening socket of the pod.
func (p *pod) listen(t *testing.T, port int) net.Listener {
	t.Helper()
	var l net.Listener
	must(t, p.ns.Do(func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		return err
	}))
	t.Cleanup(func() { l.Close() })
	return l
}

// answer is the body of each HTTP response.
var answer = strings.Repeat("in stock ", 50)

// serve answers HTTP requests on a port, over TLS if cfg is not nil, and in plaintext too if permissive is set.
func (p *pod) serve(t *testing.T, port int, cfg *tls.Config, permissive bool) *http.Server {
	t.Helper()
	s := &http.Server{
		ReadHeaderTimeout: eventually.Limit, ErrorLog: discard,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer) }),
	}
	l := p.listen(t, port)
	switch {
	case permissive:
		l = &either{Listener: l, cfg: cfg}
	case cfg != nil:
		l = tls.NewListener(l, cfg)
	}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return s
}

// get requests a path over HTTP on n connections, each with one request. A cfg of nil means plaintext.
func (p *pod) get(t *testing.T, to string, cfg *tls.Config, n int, header ...string) {
	t.Helper()
	for range n {
		if err := p.try(to, cfg, header...); err != nil {
			t.Fatalf("%s to %s: %v", p.name, to, err)
		}
	}
}

// try requests a path over HTTP on a connection of its own.
func (p *pod) try(to string, cfg *tls.Config, header ...string) error {
	scheme := "http"
	if cfg != nil {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, scheme+"://"+to, nil)
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	tr := &http.Transport{DisableKeepAlives: true, TLSClientConfig: cfg, DialContext: func(_ context.Context, _, to string) (net.Conn, error) { return p.dial(to) }}
	res, err := (&http.Client{Transport: tr, Timeout: eventually.Limit}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != answer {
		return fmt.Errorf("%s %.40q %w", res.Status, b, err)
	}
	return nil
}

// command returns a program of the pod. It is killed at the end of the test.
func (p *pod) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--net=" + p.ns.Path(), "--"}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	t.Cleanup(func() {
		if cmd.Process != nil && cmd.ProcessState == nil {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			cmd.Wait()
		}
	})
	return cmd
}

// healthPort is the port of a tap itself.
const healthPort = 9469

// start starts the pod's tap and waits until it captures. In each scenario mutual TLS is expected between private addresses,
// unless env has other settings.
func (p *pod) start(t *testing.T, env ...string) {
	t.Helper()
	p.cmd = p.command(t, p.lab.tap, "run")
	p.cmd.Env = append(append(os.Environ(),
		"TAP_EXPECT=10.0.0.0/8=mtls", "TAP_INTERFACES=eth0,lo", fmt.Sprint("TAP_LISTEN=127.0.0.1:", healthPort), "TAP_WINDOW=24h", "TAP_EMIT=findings,posture,flows",
		"POD_IPS="+p.address.String(), "HOST_IPS="+nodeAddress.String(), "POD_NAME="+p.name, "POD_NAMESPACE=lab", "POD_UID="+p.name), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.stderr
	must(t, p.cmd.Start())
	health := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, _, to string) (net.Conn, error) { return p.dial(to) }}}
	eventually.True(t, "the tap of "+p.name+" captures", func() bool {
		res, err := health.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", healthPort)) //nolint:noctx // eventually bounds the time
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}, &p.stderr)
}

// stop ends the pod's tap and returns its records, checked against the schema. The tap reads its rings to the end first.
func (p *pod) stop(t *testing.T) []string {
	t.Helper()
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the tap of %s: %v: %s", p.name, err, &p.stderr)
	}
	lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
	schematest.Lines(t, lines)
	return lines
}

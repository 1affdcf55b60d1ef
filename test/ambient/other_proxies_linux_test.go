package ambient_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
	"github.com/meshtls-tap/meshtls-tap/test/ambient/standin"
)

// TestEnvoy tests Envoy's HBONE as waypoints and gateways use it. Envoy writes its records as BoringSSL does, and it
// resumes sessions.
func TestEnvoy(t *testing.T) {
	program := programPath(t, "../../.cache/demo/envoy/lib/python3*/site-packages/envoy/_bin/envoy", "no Envoy: make demo downloads it")
	testOtherProxy(t, &otherProxy{
		name: "envoy", scenario: "HBONE of Envoy", resumes: true,
		start: func(t *testing.T, p, peer *host, folder string) { p.envoy(t, program, folder, peer) },
	})
}

// TestRustls tests HBONE with ztunnel's libraries, rustls and h2, and with ztunnel's settings. Sessions are never
// resumed.
func TestRustls(t *testing.T) {
	program := programPath(t, "../../.cache/ambient/release/hbone", "no proxy on rustls: make ambient builds it, with cargo")
	testOtherProxy(t, &otherProxy{
		name: "rustls", scenario: "HBONE of rustls",
		start: func(t *testing.T, p, peer *host, folder string) {
			var stderr eventually.Output
			p.start(t, io.Discard, &stderr, nil, program, peer.address.String(), p.address.String(), filepath.Join(folder, p.name), filepath.Join(folder, p.name+".log"))
			eventually.True(t, "the proxy of "+p.name+" listens", func() bool {
				c, err := p.dial(t.Context(), fmt.Sprint("127.0.0.1:", standin.PortHBONE))
				if err == nil {
					c.Close()
				}
				return err == nil
			}, &stderr)
		},
	})
}

// programPath returns the path of a program. If there is no such program, it skips the test.
func programPath(t *testing.T, pattern, otherwise string) string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	must(t, err)
	if len(list) == 0 {
		t.Skip(otherwise)
	}
	program, err := filepath.Abs(list[0])
	must(t, err)
	return program
}

// otherProxy is a real proxy that replaces the stand-in. It is a process in the pod, and it writes the log that
// proxyLog reads. The pods have the packet filter rules of enrolled pods.
type otherProxy struct {
	name, scenario string // name is the folder in testdata; scenario is the name of the scenario in the table
	start          func(t *testing.T, p, peer *host, folder string)
	resumes        bool
}

func testOtherProxy(t *testing.T, o *otherProxy) {
	const attempts = 3 // the same number as in TestAmbient
	for n := range attempts {
		dropped := false
		t.Run(fmt.Sprint("attempt ", n+1), func(t *testing.T) { dropped = o.run(t) })
		if !dropped {
			return
		}
	}
	t.Errorf("packets were dropped in each of %d attempts", attempts)
}

func (o *otherProxy) run(t *testing.T) (dropped bool) {
	tap, folder := buildTap(t), t.TempDir()
	l := newLab(t, folder)
	authority, err := standin.NewAuthority()
	must(t, err)
	a, b := l.add(t, "a"), l.add(t, "b")
	for _, p := range []*host{a, b} {
		id, err := authority.Identity("lab", p.name)
		must(t, err)
		must(t, id.Files(authority, folder, p.name))
		must(t, p.ns.Redirect())
		p.env = []string{"TAP_AMBIENT=istio"}
	}
	o.start(t, a, b, folder)
	o.start(t, b, a, folder)
	b.serve(t, 8080, "")
	for _, p := range l.pods {
		l.startTap(t, p, tap)
	}
	const requests = 3
	for range requests {
		if got := a.get(t, "", "http://"+at(b, 8080).String()+"/"); !strings.HasPrefix(got, "hello "+a.address.String()+"\n") {
			t.Errorf("the client's address was not preserved: %.40q", got)
		}
	}
	var list []connection
	resumed := map[string]int{}
	for _, p := range l.pods {
		var of []connection
		eventually.True(t, "the log of "+p.name, func() bool { of = p.proxyLog(t, folder, o.scenario); return len(of) >= 2*requests })
		list = append(list, of...)
		if o.resumes {
			resumed[p.name] = p.reused(t, folder)
		}
	}
	for _, p := range l.pods {
		lines, dropped := p.stop(t)
		if dropped || slices.ContainsFunc(lines, droppedPackets.MatchString) {
			return true
		}
		compareTruth(t, list, p.name, resultsOf(t, p.name, lines), true, func(c *connection, s tapResult) { c.live = s })
		compareTruth(t, list, p.name, readCaptures(t, tap, p.name, p.files()...), false, func(c *connection, s tapResult) { c.read = s })
		n := 0
		for i := range list {
			if c := &list[i]; c.pod == p.name && c.live.resumed {
				n++
			}
		}
		if n != resumed[p.name] || o.resumes && n == 0 {
			t.Errorf("%s: %d connections are reported as resumed, its proxy counts %d", p.name, n, resumed[p.name])
		}
	}
	checkTable(t, o.name, l, list)
	return false
}

// envoy starts Envoy in the pod, with another pod as its peer.
func (p *host) envoy(t *testing.T, program, folder string, peer *host) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "envoy.yaml"))
	must(t, err)
	in := func(name string) string { return filepath.Join(folder, name) }
	config := strings.NewReplacer("@PEER@", peer.address.String(), "@POD@", p.address.String(), "@LOG@", in(p.name+".log"), "@ID@", in(p.name)).Replace(string(b))
	config += fmt.Sprintf("admin: { address: { pipe: { path: %s } } }\n", in(p.name+".sock"))
	must(t, os.WriteFile(in(p.name+".yaml"), []byte(config), 0o600))
	var stderr eventually.Output
	p.start(t, io.Discard, &stderr, nil, program, "-c", in(p.name+".yaml"), "--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "50", "-l", "warning")
	eventually.True(t, "Envoy of "+p.name+" is ready", func() bool {
		body, err := p.admin(folder, "/ready")
		return err == nil && strings.HasPrefix(body, "LIVE")
	}, &stderr)
}

// admin queries the admin interface of the pod's Envoy.
func (p *host) admin(folder, path string) (string, error) {
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(folder, p.name+".sock"))
	}}
	res, err := (&http.Client{Transport: tr, Timeout: eventually.Limit}).Get("http://envoy" + path) //nolint:noctx // it has a timeout
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// reused returns how many sessions the pod's Envoy has resumed, as client or server.
func (p *host) reused(t *testing.T, folder string) (n int) {
	t.Helper()
	stats, err := p.admin(folder, "/stats?filter=ssl.session_reused$")
	must(t, err)
	for line := range strings.Lines(stats) {
		_, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		one, err := strconv.Atoi(value)
		must(t, err)
		n += one
	}
	return n
}

// proxyLog returns the connections in the log of the pod's proxy. Each line of the log has a kind, the client, the
// server and a SPIFFE ID.
func (p *host) proxyLog(t *testing.T, folder, scenario string) (list []connection) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(folder, p.name+".log"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 4 {
			continue // the line is incomplete
		}
		truth := truthPod
		if strings.HasPrefix(f[0], "hbone") {
			truth = truthMutual + " with " + f[3]
		}
		client, err := netip.ParseAddrPort(f[1])
		must(t, err)
		server, err := netip.ParseAddrPort(f[2])
		must(t, err)
		list = append(list, connection{scenario: scenario, pod: p.name, kind: f[0], truth: truth, client: client, server: server})
	}
	return list
}

package node_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestPluginFirstVerdict measures the time from the command to the first verdict, for five pods that run, one after the
// other. The image is on the node.
func TestPluginFirstVerdict(t *testing.T) {
	long(t)
	c := installed(t)
	w := newWorkstation(t, c)
	var took []time.Duration
	for range 5 {
		ns := c.Namespace(t, nil)
		x := newTarget(t, c, ns)
		i := w.tap(t, "web", "-n", ns)
		took = append(took, i.says(t, "plaintext: "+ns+"/client to "+ns+"/web:8080"))
		x.tapped(t)
		i.end(t, syscall.SIGINT)
		x.untapped(t)
		x.stop()
	}
	slices.Sort(took)
	t.Logf("from the command to the first verdict: median %v of %v", took[2], took)
	if took[2] > 5*time.Second {
		t.Errorf("median %v, want at most 5s", took[2])
	}
}

// TestPluginOlderConnection: a connection that was open before the tap, with requests on it again and again. Within 60 s
// the operator learns what was sent on it, or that it is older than the tap and what to do. A new connection has a
// verdict.
func TestPluginOlderConnection(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, nil)
	web, client := run(t, c, ns, kit.NewPod("web")), run(t, c, ns, kit.NewPod("client"))
	l, err := c.Network(t, process(t, c, web, "app")).Listen(":9090")
	if err != nil {
		t.Fatal(err)
	}
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: &p, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Proto) })}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	transport := &http.Transport{Protocols: &p, DialContext: c.Network(t, process(t, c, client, "app")).Dial}
	pooled := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	url := "http://" + web.Status.PodIP + ":9090/"
	if err := request(t.Context(), pooled, url); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	failed, ended := 0, make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if err := request(ctx, pooled, url); err != nil && ctx.Err() == nil {
				failed++
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	w := newWorkstation(t, c)
	i := w.tap(t, "web", "-n", ns, "--for", "30s")
	i.expect(t, 0, ns+"/client", ns+"/web:9090", "older")
	if took := time.Since(i.begin); took > time.Minute {
		t.Errorf("it took %v", took)
	}
	t.Log(i)
	again := w.tap(t, "web", "-n", ns, "--for", "8s")
	kit.Eventually(t, kit.Limit, "the second tap to run", func() error {
		if !strings.Contains(again.String(), "running") {
			return fmt.Errorf("%s", again)
		}
		return nil
	})
	transport.CloseIdleConnections() // the pool's next request opens another connection, with the same effect as a drained pool
	again.expect(t, 0, "plaintext: "+ns+"/client to "+ns+"/web:9090")
	t.Log(again)
	stop()
	<-ended
	if failed > 0 {
		t.Errorf("%d requests failed", failed)
	}
}

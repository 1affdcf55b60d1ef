package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestSlowServer: the webhook responds within the API server's timeout even if the API server does not list the
// owners of pods in time. The pod is admitted without a tap, and the Event gives the reason.
func TestSlowServer(t *testing.T) {
	c, h := installed(t)
	var slow atomic.Bool
	address := between(t, c, func(q *http.Request) {
		if slow.Load() && strings.HasSuffix(q.URL.Path, "/replicasets") {
			select {
			case <-time.After(time.Minute):
			case <-q.Context().Done():
			}
		}
	})
	before := h.env
	t.Cleanup(func() {
		h.env = before
		h.restart(t, c)
	})
	h.env = append(slices.Clone(before), "KUBECONFIG="+through(t, h.kubeconfig(t), address))
	h.restart(t, c)
	ns := c.Namespace(t, tapped)
	h.works(t, c, ns)
	budget(t, c, ns, nil, "requests.cpu", "20", "limits.memory", "20Gi")
	d := deploy(t, c, ns, "some", 3, sized("50m", "50Mi", "100m", "100Mi"))
	d.batch(t, d.sets[0], 1)
	d.want(t, 0, 1, 1, 1)

	slow.Store(true)
	begin := time.Now()
	d.batch(t, d.sets[0], 1)
	t.Logf("admitted after %v", time.Since(begin).Round(10*time.Millisecond))
	d.want(t, 0, 2, 1, 1)
	kit.Eventually(t, kit.Limit, "an Event that says why", func() error { return said(t, c, ns, "NotTapped", "the API server did not answer in time") })

	slow.Store(false)
	kit.Eventually(t, kit.Limit, "a tapped pod", func() error {
		r := c.DryRun(t, ns, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: d.spec})
		if r.Err != nil {
			return r.Err
		}
		if found, _ := kit.Container(r.Pod, kit.Tap); found == nil {
			return fmt.Errorf("none: %q", r.Warnings)
		}
		return nil
	})
	d.batch(t, d.sets[0], 1)
	d.want(t, 0, 3, 2, 2)
}

// between starts a proxy for the API server and returns its address. The proxy calls f before it forwards a request.
func between(t *testing.T, c *kit.Cluster, f func(*http.Request)) string {
	t.Helper()
	to, err := url.Parse(c.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: transport, FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		f(q)
		proxy.ServeHTTP(w, q)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// through writes a copy of a kubeconfig with another address of the API server. It returns the path of the copy.
func through(t *testing.T, kubeconfig, address string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server, cluster.CertificateAuthorityData = address, nil
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

package inject_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

func TestPodFacts(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	ambient := inject.Namespace{Labels: map[string]string{"istio.io/dataplane-mode": "ambient"}}
	cilium := inject.Namespace{Labels: map[string]string{"io.cilium/mtls-enabled": "true"}}
	for _, test := range []struct {
		ns        inject.Namespace
		pod, want string
	}{
		{inject.Namespace{}, `{"metadata":{},"spec":{"containers":[{"name":"app"}]}}`, "{   []}"},
		{ambient, `{"metadata":{},"spec":{"containers":[{"name":"app"}]}}`, "{  istio_ambient []}"},
		{ambient, `{"metadata":{"annotations":{"traffic.sidecar.istio.io/excludeInboundPorts":"9000,70000"}},"spec":{"containers":[{"name":"istio-proxy"}]}}`, "{  istio [9000]}"},
		{inject.Namespace{}, `{"metadata":{"annotations":{"traffic.sidecar.istio.io/excludeOutboundPorts":"8080","traffic.sidecar.istio.io/excludeInboundPorts":"9000"}},"spec":{"containers":[{"name":"istio-proxy"}]}}`, "{  istio [9000]}"},
		{cilium, `{"metadata":{},"spec":{"containers":[{"name":"app"}]}}`, "{  cilium []}"},
		{cilium, `{"metadata":{},"spec":{"hostNetwork":true,"containers":[{"name":"app"}]}}`, "{   []}"},
	} {
		f, err := inject.PodFacts(&test.ns, []byte(test.pod), now)
		if got := fmt.Sprint(f); err != nil || got != test.want {
			t.Errorf("%s: %q, %v; want %q", test.pod, got, err, test.want)
		}
	}
	if _, err := inject.PodFacts(&inject.Namespace{}, []byte("no"), now); err == nil {
		t.Error("no error for what is not a pod")
	}
}

package node_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// probeSource is the source address that istio-cni gives the kubelet's probes.
const probeSource = "169.254.7.127"

// TestAmbient tests two pods in an ambient mesh and one outside, from the webhook to the records in Kafka. The
// container runtime calls a stand-in for istio-cni before a pod's first container starts. A stand-in for ztunnel has
// its sockets in the network of the pods. Both stand-ins are test/ambient/agent; its log is compared with the
// records. The broker is outside of the mesh, so the taps' own connections pass through the stand-in for ztunnel too.
func TestAmbient(t *testing.T) {
	complete(t)
	c := installed(t, "--set", "kafka.brokers={"+brokerTLS+"},kafka.tls.enabled=true,kafka.tls.ca.secretName=kafka,kafka.sasl.mechanism=scram-sha-512,"+
		"kafka.sasl.username=tap,kafka.sasl.password.secretName=kafka,tap.emit={findings,posture,flows}")
	folder := startBroker(t, c, "tls")
	w := &ambient{c: c, ns: c.Namespace(t, map[string]string{label: "enabled", "istio.io/dataplane-mode": "ambient"})}
	if out, err := c.Kubectl(t, "--namespace", w.ns, "create", "secret", "generic", "kafka", "--from-literal", "password=tap-secret",
		"--from-file", "ca.crt="+filepath.Join(folder, "tls", "ca.pem")); err != nil {
		t.Fatal(err, out)
	}
	w.startAgent(t)
	w.chain(t)
	w.outside = w.runOutside(t)
	w.b, w.a = w.enrolled(t, "b"), w.enrolled(t, "a")

	if got, want := w.get(t, w.b), fmt.Sprintf("hello %s:", w.a.Status.PodIP); !strings.Contains(got, want) {
		t.Errorf("b does not see the client's own address: %s", got)
	}
	if !w.happened(t, func(e *event) bool { return e.Kind == "hbone out" && e.Peer == w.identity("b") }) {
		t.Fatal("the stand-in did not use HBONE")
	}
	w.get(t, w.outside)
	w.checkPosture(t)
	w.stop(t)
	w.checkFlows(t)
	w.checkFindings(t)
}

// ambient is the mesh in the cluster. The pods a and b are enrolled.
type ambient struct {
	c             *kit.Cluster
	ns            string // the namespace of a and b
	log           string // the file with the agent's log
	a, b, outside *corev1.Pod
}

// runOutside runs a pod outside of the mesh. It runs further pods until the runtime has called the agent for one of
// them, which shows that the runtime uses the changed chain.
func (w *ambient) runOutside(t *testing.T) (pod *corev1.Pod) {
	t.Helper()
	ns, n := w.c.Namespace(t, nil), 0
	kit.Eventually(t, kit.Limit, "the runtime to ask the agent", func() error {
		n++
		pod = run(t, w.c, ns, kit.NewPod(fmt.Sprint("outside-", n)))
		if !w.happened(t, func(e *event) bool { return e.Pod == pod.Name && e.Kind == "left alone" }) {
			return fmt.Errorf("nobody has asked about %s", pod.Name)
		}
		return nil
	})
	return pod
}

// enrolled runs a pod in the mesh. The pod has probes of the kubelet.
func (w *ambient) enrolled(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	pod := run(t, w.c, w.ns, kit.NewPod(name, func(p *corev1.Pod) {
		p.Spec.Containers[0].ReadinessProbe = probe(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/status", Port: intstr.FromInt32(8080)}})
	}))
	if tap, _ := kit.Container(pod, kit.Tap); tap == nil || kit.Env(tap, "TAP_AMBIENT") != "istio" {
		t.Fatalf("the webhook does not tell the tap of the mesh: %+v", tap)
	}
	if !w.happened(t, func(e *event) bool { return e.Pod == name && e.Kind == "enrolled" }) {
		t.Fatalf("%s runs and is not enrolled", name)
	}
	return pod
}

// get sends a request from a's application and returns the client's output. It waits until the connection has ended.
func (w *ambient) get(t *testing.T, to *corev1.Pod) string {
	t.Helper()
	out, err := w.c.Kubectl(t, "--namespace", w.ns, "exec", w.a.Name, "-c", "app", "--", "/probe", "get", "http://"+to.Status.PodIP+":8080/")
	if err != nil || !strings.Contains(out, " 200 ") {
		t.Fatalf("%v %s", err, out)
	}
	return out
}

// checkPosture waits until both taps have published the edge between a and b at HBONE's port. It does not check
// Meshtls.Mesh; checkFlows does.
func (w *ambient) checkPosture(t *testing.T) {
	t.Helper()
	kit.Eventually(t, kit.Limit, "the posture of both ends", func() error {
		seen, others := map[string]string{}, ""
		for _, r := range consume(t, w.c, "meshtls-tap.posture") {
			if r.Event.Dataset != "meshtls.posture" || r.Kubernetes.Namespace != w.ns {
				continue
			}
			others += "\n" + r.line
			if !strings.HasSuffix(r.Meshtls.Edge.Key, ":15008") {
				continue
			}
			if m := &r.Meshtls; m.Verdict != "mtls" || m.Scope != "wire" || m.Expectation != "mtls" || m.Local.Ambient != "istio" {
				t.Fatalf("posture at port 15008: %s", r.line)
			}
			seen[r.Kubernetes.Pod.Name] = r.Meshtls.Edge.Key
		}
		want := map[string]string{
			"a": fmt.Sprintf("egress %s/a > %s:15008", w.ns, w.b.Status.PodIP),
			"b": fmt.Sprintf("ingress %s > %s/b:15008", w.a.Status.PodIP, w.ns),
		}
		if !maps.Equal(seen, want) {
			return fmt.Errorf("%v, want %v, of%s", seen, want, others)
		}
		return nil
	})
}

// stop waits until each tap has published three probes. Then it deletes the pods, so that the taps publish the
// connections that are still open.
func (w *ambient) stop(t *testing.T) {
	t.Helper()
	kit.Eventually(t, kit.Limit, "three probes each, and a finding", func() error {
		seen := map[string]int{}
		for _, r := range consume(t, w.c, "meshtls-tap.flows") {
			if r.Kubernetes.Namespace == w.ns && r.Meshtls.Class == "probe" && r.Meshtls.Verdict == "plaintext" {
				seen[r.Kubernetes.Pod.Name]++
			}
		}
		if seen["a"] < 3 || seen["b"] < 3 || len(w.findings(t)) == 0 {
			return fmt.Errorf("probes: %v, findings: %d", seen, len(w.findings(t)))
		}
		return nil
	})
	if out, err := w.c.Kubectl(t, "--namespace", w.ns, "delete", "pod", "a", "b"); err != nil {
		t.Fatal(err, out)
	}
	kit.Eventually(t, kit.Limit, "the end of both taps", func() error {
		ended := map[string]bool{}
		for _, topic := range []string{"meshtls-tap.findings", "meshtls-tap.posture", "meshtls-tap.flows"} {
			for _, r := range consume(t, w.c, topic) {
				if r.Kubernetes.Namespace == w.ns && r.Event.Action == "stopped" {
					ended[r.Kubernetes.Pod.Name] = true
				}
			}
		}
		if !ended["a"] || !ended["b"] {
			return fmt.Errorf("only of %v", ended)
		}
		return nil
	})
}

// A side is a connection as one pod sees it.
type side struct {
	pod            string
	client, server netip.AddrPort
}

// checkFlows compares the flows of both taps with the agent's log.
func (w *ambient) checkFlows(t *testing.T) {
	t.Helper()
	flows := w.flows(t)
	kinds := map[string]int{}
	for _, e := range w.events(t) {
		if e.Client == "" {
			continue
		}
		s := side{e.Pod, netip.MustParseAddrPort(e.Client), netip.MustParseAddrPort(e.Server)}
		r, ok := flows[s]
		delete(flows, s)
		if e.Server == brokerTLS && (!ok || r.Meshtls.Verdict == "" || r.Meshtls.Verdict == "unknown") {
			continue // the socket is the tap's own, which it does not capture, or the tap ended before the verdict
		}
		if want := w.wrong(&e, &r); want != "" {
			t.Errorf("%s: %s %s > %s: want %s, have %s", e.Pod, e.Kind, e.Client, e.Server, want, cmp.Or(r.line, "no flow"))
			continue
		}
		t.Logf("%s: %s %s > %s %s: %s %s %s %s", e.Pod, e.Kind, e.Client, e.Server, e.Peer, r.Meshtls.Class, r.Meshtls.Verdict, r.Meshtls.Scope, r.Meshtls.Mesh)
		if e.Server == brokerTLS {
			e.Kind = "the tap's own"
		}
		kinds[e.Pod+": "+e.Kind]++
	}
	for _, r := range flows {
		t.Errorf("nobody made this connection: %s", r.line)
	}
	for _, own := range []string{"a: the tap's own", "b: the tap's own"} {
		kinds[own] = min(kinds[own], 1) // the number of the tap's own connections does not matter
	}
	if want := map[string]int{
		"a: redirected": 2, "a: hbone out": 1, "a: passthrough out": 1, "b: hbone in": 1, "b: delivered": 1, "a: the tap's own": 1, "b: the tap's own": 1,
	}; !maps.Equal(kinds, want) {
		t.Errorf("connections: %v, want %v", kinds, want)
	}
}

// flows returns the flows of both taps, apart from the kubelet's probes. It checks the probes, and that each
// connection has only one flow.
func (w *ambient) flows(t *testing.T) map[side]record {
	t.Helper()
	flows := map[side]record{}
	for _, r := range consume(t, w.c, "meshtls-tap.flows") {
		if r.Kubernetes.Namespace != w.ns || r.Event.Dataset != "meshtls.flow" {
			continue
		}
		if r.Source.IP != probeSource {
			s := side{r.Kubernetes.Pod.Name, r.Source.addrPort(), r.Destination.addrPort()}
			if _, twice := flows[s]; twice {
				t.Errorf("another flow of one connection: %s", r.line)
			}
			flows[s] = r
			continue
		}
		refused := r.Meshtls.Verdict == "" // the application was not yet listening, or no longer
		if m := &r.Meshtls; m.Class != "probe" || m.Scope != "wire" || m.Verdict != "plaintext" && !refused || r.Destination.Port != 8080 {
			t.Errorf("a probe of the kubelet: %s", r.line)
		}
	}
	return flows
}

// wrong returns "" if the flow r of a connection is right. Otherwise it describes the expected flow. e is the agent's
// event about the connection.
func (w *ambient) wrong(e *event, r *record) string {
	m := &r.Meshtls
	is := func(what string, ok bool) string {
		if ok {
			return ""
		}
		return what
	}
	switch {
	case e.Server == brokerTLS:
		return is("TLS of the tap's own on the wire", e.Kind == "passthrough out" && m.Class == "tap" && m.Verdict == "tls" && m.Scope == "wire")
	case e.Kind == "redirected" || e.Kind == "delivered":
		return is("plaintext within the pod", m.Verdict == "plaintext" && m.Scope == "pod" && m.Class == "workload")
	case e.Kind == "hbone out":
		return is("HBONE with b", e.Peer == w.identity("b") && hbone(r))
	case e.Kind == "hbone in":
		return is("HBONE with a", e.Peer == w.identity("a") && hbone(r))
	case e.Kind == "passthrough out":
		return is("plaintext on the wire", m.Verdict == "plaintext" && m.Scope == "wire" && m.Class == "workload" && m.Enrolled == "declared" && r.Destination.IP == w.outside.Status.PodIP)
	}
	return "a kind that the test knows"
}

// identity returns the SPIFFE ID that the agent assigns to a pod.
func (w *ambient) identity(pod string) string {
	return "spiffe://cluster.local/ns/" + w.ns + "/sa/" + pod
}

func hbone(r *record) bool {
	m := &r.Meshtls
	return m.Verdict == "mtls" && m.Scope == "wire" && m.Mesh == "istio_ambient" && m.Enrolled == "declared" && m.TLS.ClientAuth == "presented" && r.Destination.Port == 15008
}

// findings returns the findings of both taps.
func (w *ambient) findings(t *testing.T) []record {
	t.Helper()
	return slices.DeleteFunc(consume(t, w.c, "meshtls-tap.findings"), func(r record) bool {
		return r.Kubernetes.Namespace != w.ns || r.Event.Dataset != "meshtls.finding"
	})
}

// checkFindings checks that there is one finding. It is about a's connection to the pod outside of the mesh.
func (w *ambient) checkFindings(t *testing.T) {
	t.Helper()
	all := w.findings(t)
	for _, r := range all {
		t.Logf("finding: %s", r.Message)
	}
	const words = "; the pod is enrolled in ambient, but this connection left in plaintext"
	if len(all) != 1 || all[0].Event.Kind != "alert" || all[0].Event.Severity != 73 || all[0].Rule.ID != "plaintext-edge" || all[0].Kubernetes.Pod.Name != "a" ||
		all[0].Destination.IP != w.outside.Status.PodIP || all[0].Destination.Port != 8080 || !strings.Contains(all[0].Message, words) {
		t.Errorf("want one finding, of a's connection to %s: %+v", w.outside.Status.PodIP, all)
	}
}

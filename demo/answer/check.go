package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// port is the port of httpbin that curl calls.
const port = 14001

// pods are the pods with a tap.
var pods = []string{"unencrypted-curl", "unencrypted-httpbin", "encrypted-curl", "encrypted-httpbin"}

// within bounds the time from the request to the finding.
const within = time.Second

// check checks every claim of the demo.
func (w *walk) check() {
	for _, pod := range pods {
		namespace, _, _ := strings.Cut(pod, "-")
		wire := w.one(pod, "eth0")
		if wire == nil {
			continue
		}
		w.expect(pod+", eth0, scope", "wire", wire.Meshtls.Scope)
		if namespace == "unencrypted" {
			w.checkPlaintext(pod, wire)
		} else {
			w.checkMutual(pod, wire)
			w.checkLoopback(pod)
		}
	}
	w.checkFindings()
	w.checkCaptures()
	w.checkEnvoy()
}

func (w *walk) checkPlaintext(pod string, wire *record) {
	w.expect(pod+", verdict", "plaintext", wire.Meshtls.Verdict)
	w.expect(pod+", protocol", "http", wire.Network.Protocol)
	w.expect(pod+", expectation without a mesh", "undeclared", wire.Meshtls.Expectation)
	w.expect(pod+", loopback connections to httpbin", 0, len(w.seen(pod, "lo")))
	found := w.found(pod, wire.server())
	if len(found) != 1 || found[0].Rule.ID != "plaintext-edge" {
		w.expect(pod+", findings", "one plaintext-edge", list(found))
		return
	}
	if late := w.delay(found[0]); late < 0 || late > within {
		w.expect(pod+", time of the finding", fmt.Sprint("within ", within, " of the request"), late)
	}
}

func (w *walk) checkMutual(pod string, wire *record) {
	w.expect(pod+", verdict", "mtls", wire.Meshtls.Verdict)
	w.expect(pod+", TLS version", "1.3", wire.TLS.Version)
	w.expect(pod+", cipher", "TLS_AES_128_GCM_SHA256", wire.TLS.Cipher)
	w.expect(pod+", client authentication", "presented", wire.Meshtls.TLS.ClientAuth)
	w.expect(pod+", its basis", "inferred", wire.Meshtls.TLS.ClientAuthBasis)
	w.expect(pod+", outcome", "established", wire.Meshtls.TLS.Outcome)
	w.expect(pod+", mesh", "osm", wire.Meshtls.Mesh)
}

// checkLoopback checks that traffic between Envoy and its application is judged as expected: plaintext, within the
// pod.
func (w *walk) checkLoopback(pod string) {
	hop := w.one(pod, "lo")
	if hop == nil {
		return
	}
	w.expect(pod+", loopback, scope", "pod", hop.Meshtls.Scope)
	w.expect(pod+", loopback, verdict", "plaintext", hop.Meshtls.Verdict)
	w.expect(pod+", loopback, protocol", "http", hop.Network.Protocol)
	if pod == "encrypted-curl" { // curl's connection to httpbin is redirected to Envoy
		w.expect(pod+", loopback, destination.nat", "127.0.0.1:15001", hop.redirected().String())
	}
}

// checkFindings checks that there are no other findings: none about traffic within a pod, and none about the taps'
// own records.
func (w *walk) checkFindings() {
	want := 2
	if w.broker != "" {
		want = 3
		w.checkBroker()
	}
	w.expect("findings of all taps", fmt.Sprint(want), count(w.findings, want))
	for _, f := range w.findings {
		w.expect("scope of finding "+f.Rule.ID, "wire", f.Meshtls.Scope)
	}
}

// checkBroker checks that there is a finding about the application's plaintext to the taps' broker, and none about the
// taps' own connections to the broker.
func (w *walk) checkBroker() {
	talk := w.toBroker(w.flows)
	for _, r := range talk {
		w.expect("client of the broker other than the taps", "unencrypted-curl", r.pod())
		w.expect(r.pod()+", protocol with the broker", "kafka", r.Network.Protocol)
	}
	w.expect("connections of kcat to the broker are seen", true, len(talk) > 0)
	w.expect("findings on the broker", 1, len(w.toBroker(w.findings)))
}

// checkCaptures compares the records that tap read makes from tcpdump's captures with the live records. For each
// connection to httpbin both must agree.
func (w *walk) checkCaptures() {
	for _, pod := range pods {
		for _, iface := range []string{"eth0", "lo"} {
			read, err := load(filepath.Join(w.out, "read-"+pod+"."+iface+".jsonl"), flows)
			if err != nil {
				w.wrong = append(w.wrong, err.Error())
				continue
			}
			read = slices.DeleteFunc(read, func(r *record) bool { return r.Destination.Port != port })
			w.expect(pod+", "+iface+", tap read", judgements(w.seen(pod, iface)), judgements(read))
		}
	}
}

// checkEnvoy checks the sidecar's access log, a source that is independent of the taps.
func (w *walk) checkEnvoy() {
	log, err := os.ReadFile(filepath.Join(w.out, "envoy-access.log"))
	if err != nil {
		w.wrong = append(w.wrong, err.Error())
	}
	w.expect("Envoy's access log", "TLSv1.3 TLS_AES_128_GCM_SHA256 spiffe://cluster.local/ns/encrypted/sa/curl", strings.TrimSpace(string(log)))
}

// seen returns the connections to httpbin that a pod's tap saw on an interface.
func (w *walk) seen(pod, iface string) []*record {
	var out []*record
	for _, r := range w.flows {
		if r.pod() == pod && r.Observer.Ingress.Interface.Name == iface && r.Destination.Port == port {
			out = append(out, r)
		}
	}
	return out
}

// one returns the pod's only connection to httpbin on an interface. If there is not exactly one, it notes an error.
func (w *walk) one(pod, iface string) *record {
	seen := w.seen(pod, iface)
	if len(seen) != 1 {
		w.expect(pod+", "+iface+", connections to httpbin", "one", fmt.Sprint(len(seen), ": ", judgements(seen)))
		return nil
	}
	return seen[0]
}

// found returns a pod's findings on an edge.
func (w *walk) found(pod string, to netip.AddrPort) []*record {
	var out []*record
	for _, f := range w.findings {
		if f.pod() == pod && f.server() == to {
			out = append(out, f)
		}
	}
	return out
}

func (w *walk) toBroker(records []*record) []*record {
	var out []*record
	for _, r := range records {
		if r.server().String() == w.broker || r.client().String() == w.broker {
			out = append(out, r)
		}
	}
	return out
}

// delay returns how long after curl's start the finding was opened.
func (w *walk) delay(f *record) time.Duration {
	return f.Event.Created.Std().Sub(w.began[f.Kubernetes.Namespace]).Round(time.Millisecond)
}

// count returns the number of findings as text. If the number is not want, the names of the findings follow.
func count(found []*record, want int) string {
	if len(found) == want {
		return fmt.Sprint(want)
	}
	return fmt.Sprint(len(found), ": ", list(found))
}

func list(found []*record) string {
	var out []string
	for _, f := range found {
		out = append(out, f.pod()+" "+f.Rule.ID+" "+f.server().String())
	}
	return "[" + strings.Join(out, "; ") + "]"
}

func judgements(records []*record) string {
	var out []string
	for _, r := range records {
		out = append(out, r.judged())
	}
	slices.Sort(out)
	return "[" + strings.Join(out, "; ") + "]"
}

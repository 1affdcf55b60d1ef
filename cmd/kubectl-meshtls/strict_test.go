package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// permissive returns the graph of a namespace where some clients are in the mesh and some are not.
func permissive(t *testing.T, mesh string) (*topology.Graph, []topology.Readiness) {
	t.Helper()
	pods := []topology.Pod{
		examplePod("front", "web", "10.0.0.1", mesh, true),
		examplePod("shop", "cart", "10.0.0.2", mesh, true, 8080, 9090),
		examplePod("shop", "pay", "10.0.0.3", mesh, true, 8080),
		examplePod("shop", "stock", "10.0.0.5", mesh, false, 8080),
		examplePod("batch", "legacy", "10.0.0.4", "", true),
	}
	g := topology.New(topology.Inventory{Pods: pods, Namespace: "shop", Complete: true})
	file := capture(t,
		talk{client: "10.0.0.1", server: "10.0.0.2", port: 8080, auth: capturetest.Presented, n: 3},
		talk{client: "10.0.0.4", server: "10.0.0.2", port: 9090, plain: true, n: 2, at: 100},
		talk{client: "10.0.0.1", server: "10.0.0.3", port: 8080, auth: capturetest.Presented, n: 2, at: 200},
	)
	for i := range pods {
		if pods[i].Tapped {
			tapped(t, g, file, &pods[i])
		}
	}
	return g, g.Strict(topology.StrictOptions{MinConnections: 1, MinTime: time.Hour})
}

func TestStrictText(t *testing.T) {
	g, list := permissive(t, "istio")
	for name, width := range map[string]int{"strict-60.txt": 60, "strict-80.txt": 80, "strict-200.txt": 200} {
		out := &text{width: width}
		out.strict(&strictResult{Answer: strictAnswer(list), Workloads: list, Unknown: g.Unknown()})
		golden(t, name, out.String())
	}
}

// TestPolicies: the YAML has policies for what is ready only, and each document is an object of its kind.
func TestPolicies(t *testing.T) {
	for mesh, want := range map[string]string{
		"istio":   "PeerAuthentication PeerAuthentication",
		"linkerd": "MeshTLSAuthentication Server AuthorizationPolicy MeshTLSAuthentication Server AuthorizationPolicy",
	} {
		g, list := permissive(t, mesh)
		var out bytes.Buffer
		if err := writePolicies(&out, g, list); err != nil {
			t.Fatal(err)
		}
		golden(t, "strict-"+mesh+".yaml", out.String())
		var kinds []string
		for _, doc := range strings.Split(out.String(), "\n---\n")[1:] {
			var p struct {
				Kind     string
				Metadata struct {
					Name, Namespace string
					Annotations     map[string]string
				}
			}
			if err := yaml.UnmarshalStrict([]byte(stripComments(doc)), &map[string]any{}); err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal([]byte(doc), &p); err != nil || p.Metadata.Namespace != "shop" || p.Metadata.Annotations[evidencePrefix+"clients"] != "front/web" {
				t.Errorf("%v, %+v", err, p)
			}
			kinds = append(kinds, p.Kind)
		}
		if got := strings.Join(kinds, " "); got != want {
			t.Errorf("%s: %s, want %s", mesh, got, want)
		}
		if strings.Contains(out.String(), "name: stock") {
			t.Errorf("%s: a policy for what was not seen: %s", mesh, &out)
		}
	}
}

func stripComments(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func TestStrictUsage(t *testing.T) {
	for _, args := range [][]string{{"--from", "a.pcap"}, {"--min-connections=0"}, {"--min-time=-1s"}, {"-o", "xml"}} {
		if _, errs, status := command(t, append([]string{"strict"}, args...)...); status != exitUsage || !strings.Contains(errs, "expected") {
			t.Errorf("%v: status %d: %s", args, status, errs)
		}
	}
}

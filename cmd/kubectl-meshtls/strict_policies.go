package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// evidencePrefix is the prefix of the annotations with the evidence for a policy.
const evidencePrefix = "meshtls-tap.evidence/"

// A policy is a Kubernetes object.
type policy map[string]any

// writePolicies writes the policies for the ports that are ready, as YAML. Ports that are not ready become comments.
func writePolicies(w io.Writer, g *topology.Graph, list []topology.Readiness) error {
	fmt.Fprintf(w, "# %s\n# Based on what taps saw. Clients that did not connect in that time are not known. Nothing has been applied.\n", comment(strictAnswer(list)))
	for _, of := range byWorkload(list) {
		if err := writeWorkload(w, g, of); err != nil {
			return err
		}
	}
	return nil
}

// byWorkload divides a list by workload.
func byWorkload(list []topology.Readiness) (out [][]topology.Readiness) {
	for from := 0; from < len(list); {
		to := from + 1
		for to < len(list) && list[to].Workload.String() == list[from].Workload.String() && list[to].Workload.Kind == list[from].Workload.Kind {
			to++
		}
		out = append(out, list[from:to])
		from = to
	}
	return out
}

// writeWorkload writes the policies of one workload.
func writeWorkload(w io.Writer, g *topology.Graph, of []topology.Readiness) error {
	workload, mesh := &of[0].Workload, of[0].Mesh
	var ready []topology.Readiness
	for i := range of {
		r := &of[i]
		if r.State == topology.Ready {
			ready = append(ready, *r)
			continue
		}
		fmt.Fprintf(w, "# %s port %d: %s\n", comment(workload.String()), r.Port, r.State)
		for _, c := range r.Clients {
			if c.CutOff {
				fmt.Fprintf(w, "#   %s\n", comment(cutOff(&c)))
			}
		}
		for _, m := range r.Missing {
			fmt.Fprintf(w, "#   %s\n", comment(m))
		}
	}
	if len(ready) == 0 {
		return nil
	}
	labels, ok := g.Selector(workload)
	if !ok {
		fmt.Fprintf(w, "# %s is ready, but no set of labels selects only its pods: write its policy by hand.\n", comment(workload.String()))
		return nil
	}
	var policies []policy
	switch mesh {
	case "istio", "istio_ambient":
		policies = []policy{peerAuthentication(workload, labels, ready, len(ready) == len(of))}
	case "linkerd":
		declared := slices.DeleteFunc(slices.Clone(ready), func(r topology.Readiness) bool { return !r.Declared })
		if len(declared) < len(ready) {
			fmt.Fprintf(w, "# %s has further ports that are ready, but that no container declares: no Linkerd Server can select them.\n", comment(workload.String()))
		}
		if len(declared) > 0 {
			policies = linkerd(workload, labels, declared)
		}
	default:
		fmt.Fprintf(w, "# %s is ready, but this program knows no policy of the mesh %s for a single workload: write it by hand.\n", comment(workload.String()), comment(mesh))
	}
	for _, p := range policies {
		b, err := yaml.Marshal(p)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "---\n%s", b)
	}
	return nil
}

// comment returns a text without line breaks, so that it stays in its comment.
func comment(s string) string { return strings.Join(strings.Fields(s), " ") }

// metadata returns the metadata of a policy with the evidence for it.
func metadata(w *topology.Workload, name string, ready []topology.Readiness) map[string]any {
	var ports, clients []string
	var connections uint64
	for i := range ready {
		r := &ready[i]
		ports = append(ports, strconv.Itoa(int(r.Port)))
		connections += r.Connections
		for _, c := range r.Clients {
			clients = append(clients, c.From.String())
		}
	}
	slices.Sort(clients)
	r := &ready[0]
	return map[string]any{
		"name": name, "namespace": w.Namespace,
		"annotations": map[string]string{
			evidencePrefix + "ports":             strings.Join(ports, ","),
			evidencePrefix + "mtls-connections":  strconv.FormatUint(connections, 10),
			evidencePrefix + "clients":           some(slices.Compact(clients)),
			evidencePrefix + "since":             r.Since.Format(time.RFC3339),
			evidencePrefix + "until":             r.Until.Format(time.RFC3339),
			evidencePrefix + "watched-at-least":  r.Watched,
			evidencePrefix + "losses":            "none",
			evidencePrefix + "older-connections": strconv.FormatUint(r.Older, 10),
		},
	}
}

// peerAuthentication returns Istio's policy for the ready ports of a workload. If all known ports are ready, it applies to the whole workload.
func peerAuthentication(w *topology.Workload, labels map[string]string, ready []topology.Readiness, all bool) policy {
	spec := map[string]any{"selector": map[string]any{"matchLabels": labels}}
	strict := map[string]string{"mode": "STRICT"}
	if all {
		spec["mtls"] = strict
	} else {
		ports := map[string]any{}
		for i := range ready {
			ports[strconv.Itoa(int(ready[i].Port))] = strict
		}
		spec["portLevelMtls"] = ports
	}
	return policy{"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": metadata(w, w.Name+"-strict", ready), "spec": spec}
}

// linkerd returns Linkerd's policies: for each port a Server that accepts only clients that AuthorizationPolicy allows, which are those with any identity
// of the mesh.
func linkerd(w *topology.Workload, labels map[string]string, ready []topology.Readiness) []policy {
	const group = "policy.linkerd.io"
	anyone := w.Name + "-any-mesh-identity"
	out := []policy{{
		"apiVersion": group + "/v1alpha1", "kind": "MeshTLSAuthentication", "metadata": metadata(w, anyone, ready),
		"spec": map[string]any{"identities": []string{"*"}},
	}}
	for i := range ready {
		port := ready[i : i+1]
		name := fmt.Sprintf("%s-%d", w.Name, ready[i].Port)
		out = append(out, policy{
			"apiVersion": group + "/v1beta3", "kind": "Server", "metadata": metadata(w, name, port),
			"spec": map[string]any{"podSelector": map[string]any{"matchLabels": maps.Clone(labels)}, "port": int(ready[i].Port)},
		}, policy{
			"apiVersion": group + "/v1alpha1", "kind": "AuthorizationPolicy", "metadata": metadata(w, name+"-mtls", port),
			"spec": map[string]any{
				"targetRef":                  map[string]string{"group": group, "kind": "Server", "name": name},
				"requiredAuthenticationRefs": []map[string]string{{"group": group, "kind": "MeshTLSAuthentication", "name": anyone}},
			},
		})
	}
	return out
}

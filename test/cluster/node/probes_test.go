package node_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// gateway is the node's address on the bridge: the source of the kubelet's probes and of other connections from the node to a pod.
const gateway = "10.96.0.1"

// TestProbes: the kubelet's probes cause no findings. Clients behind SNAT have the same source address as the probes.
// Such a client causes a finding, even if it sends the same request as a probe.
func TestProbes(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, tapped)
	annotate(t, c, ns, "meshtls-tap/emit", "findings,flows")
	kit.Eventually(t, kit.Limit, "the webhook to know of the annotation", func() error {
		r := c.DryRun(t, ns, kit.NewPod("p"))
		if r.Err != nil {
			return r.Err
		}
		if found, _ := kit.Container(r.Pod, kit.Tap); found == nil || !strings.Contains(kit.Env(found, "TAP_EMIT"), "flows") {
			return fmt.Errorf("%q", r.Warnings)
		}
		return nil
	})
	pod := run(t, c, ns, kit.NewPod("web", func(p *corev1.Pod) {
		web, mail := &p.Spec.Containers[0], p.Spec.Containers[0]
		web.ReadinessProbe = probe(corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/status", Port: intstr.FromInt32(8080)}})
		web.LivenessProbe = probe(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}})
		mail.Name, mail.Args = "mail", []string{"greet"}
		mail.ReadinessProbe = probe(corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(2525)}})
		p.Spec.Containers = append(p.Spec.Containers, mail)
	}))
	kit.Eventually(t, kit.Limit, "three probes each", func() error {
		seen := fromGateway(t, c, ns)
		if seen["8080 http"] < 3 || seen["2525 smtp"] < 3 {
			return fmt.Errorf("%v", seen)
		}
		return nil
	})
	if seen := fromGateway(t, c, ns); seen["finding"]+seen["workload"] != 0 {
		t.Errorf("a probe was taken for a workload: %v", seen)
	}
	if out, err := c.Run(t, "", c.Bin("probe"), "get", "http://"+pod.Status.PodIP+":8080/healthz"); err != nil {
		t.Fatal(err, out)
	}
	finding := c.Logged(t, kit.Limit, ns, "web", kit.Tap, `"plaintext-edge"`)
	kit.Eventually(t, kit.Limit, "the client's flow", func() error {
		if seen := fromGateway(t, c, ns); seen["finding"] != 1 || seen["workload"] != 1 {
			return fmt.Errorf("%v", seen)
		}
		return nil
	})
	t.Logf("of %s: %v, and this finding: %s", gateway, fromGateway(t, c, ns), messageOf(t, finding))
}

func probe(by corev1.ProbeHandler) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: by, PeriodSeconds: 1}
}

// fromGateway counts the records about connections of the gateway. The keys are "finding" for findings, port and
// protocol for probes, and the class for other flows.
func fromGateway(t *testing.T, c *kit.Cluster, ns string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for line := range strings.Lines(c.Logs(t, ns, "web", kit.Tap)) {
		var r struct {
			Event       struct{ Dataset string }
			Source      struct{ IP string }
			Destination struct{ Port int }
			Network     struct{ Protocol string }
			Meshtls     struct{ Class string }
		}
		switch err := json.Unmarshal([]byte(line), &r); {
		case err != nil || r.Source.IP != gateway: // the line is not a record, or the record is about another peer
		case r.Event.Dataset == "meshtls.finding":
			seen["finding"]++
		case r.Meshtls.Class == "probe":
			seen[fmt.Sprint(r.Destination.Port, " ", r.Network.Protocol)]++
		default:
			seen[r.Meshtls.Class]++
		}
	}
	return seen
}

func messageOf(t *testing.T, line string) string {
	t.Helper()
	var r struct{ Message string }
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return r.Message
}

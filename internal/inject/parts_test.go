package inject

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

func TestAnnotate(t *testing.T) {
	const brokers = `{excludeKafkaPort: true, env: [{name: TAP_KAFKA_BROKERS, value: "k1:9094,k2:9094,[::1]:9095"}]}`
	labels := func(pairs ...string) func(*Namespace) {
		return func(ns *Namespace) {
			for i := 0; i < len(pairs); i += 2 {
				ns.Labels[pairs[i]] = pairs[i+1]
			}
		}
	}
	for name, c := range map[string]struct {
		scene
		key, value string // the annotation; "": none
	}{
		"istio": {scene{pod: plain, settings: brokers, ns: labels("istio-injection", "enabled")},
			"traffic.sidecar.istio.io/excludeOutboundPorts", "9094,9095"},
		"istio revision": {scene{pod: plain, settings: brokers, ns: labels("istio.io/rev", "1-27")},
			"traffic.sidecar.istio.io/excludeOutboundPorts", "9094,9095"},
		"istio, merged": {scene{pod: `
metadata: {annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: "80, 9095"}}
spec: {containers: [{name: a, image: a}]}`, settings: brokers, ns: labels("istio-injection", "enabled")},
			"traffic.sidecar.istio.io/excludeOutboundPorts", "80, 9095,9094"},
		"istio, not for the pod": {scene{pod: `{metadata: {labels: {sidecar.istio.io/inject: "false"}}, spec: {containers: [{name: a, image: a}]}}`,
			settings: brokers, ns: labels("istio-injection", "enabled")}, "", ""},
		"istio, included by the user": {scene{pod: `
metadata: {annotations: {traffic.sidecar.istio.io/includeOutboundPorts: "9094"}}
spec: {containers: [{name: a, image: a}]}`, settings: brokers, ns: labels("istio-injection", "enabled"),
			warnings: []string{"port 9094 stays in the mesh"}}, "", ""},
		"linkerd, the namespace's ranges": {scene{pod: plain, settings: brokers, ns: func(ns *Namespace) {
			ns.Annotations = map[string]string{"linkerd.io/inject": "enabled", "config.linkerd.io/skip-outbound-ports": "9090-9094"}
		}}, "config.linkerd.io/skip-outbound-ports", "9090-9094,9095"},
		"all there": {scene{pod: plain, settings: brokers, ns: func(ns *Namespace) {
			ns.Annotations = map[string]string{"linkerd.io/inject": "enabled", "config.linkerd.io/skip-outbound-ports": "1-65535"}
		}}, "", ""},
		"osm": {scene{pod: plain, settings: brokers, ns: func(ns *Namespace) {
			ns.Labels["openservicemesh.io/monitored-by"] = "osm"
			ns.Annotations = map[string]string{"openservicemesh.io/sidecar-injection": "enabled"}
		}}, "openservicemesh.io/outbound-port-exclusion-list", "9094,9095"},
		"kuma": {scene{pod: plain, settings: brokers, ns: labels("kuma.io/sidecar-injection", "enabled")},
			"traffic.kuma.io/exclude-outbound-ports", "9094,9095"},
		"consul": {scene{pod: `{metadata: {annotations: {consul.hashicorp.com/connect-inject: "true"}}, spec: {containers: [{name: a, image: a}]}}`,
			settings: brokers}, "consul.hashicorp.com/transparent-proxy-exclude-outbound-ports", "9094,9095"},
		"named": {scene{pod: plain, settings: strings.Replace(brokers, "env: [", "env: [{name: TAP_MESH, value: kuma}, ", 1)},
			"traffic.kuma.io/exclude-outbound-ports", "9094,9095"},
		"no mesh": {scene{pod: plain, settings: brokers}, "", ""},
		"ambient": {scene{pod: plain, settings: brokers, ns: labels(labelDataplane, "ambient"),
			warnings: []string{"the Kafka ports stay in the mesh: no annotation excludes ports from an ambient mesh"}}, "", ""},
		"Cilium's ztunnel": {scene{pod: plain, settings: brokers, ns: labels(labelCilium, "true"),
			warnings: []string{"the Kafka ports stay in the mesh: no annotation excludes ports from an ambient mesh"}}, "", ""},
		"no brokers": {scene{pod: plain, settings: `{excludeKafkaPort: true}`, warnings: []string{"TAP_KAFKA_BROKERS has no ports"}}, "", ""},
		"not asked":  {scene{pod: plain, settings: strings.Replace(brokers, "true", "false", 1), ns: labels("istio-injection", "enabled")}, "", ""},
		"asked by the namespace": {scene{pod: plain, settings: strings.Replace(brokers, "true", "false", 1), ns: func(ns *Namespace) {
			ns.Labels["istio-injection"] = "enabled"
			ns.Annotations = map[string]string{"meshtls-tap/exclude-kafka-port": "true"}
		}}, "traffic.sidecar.istio.io/excludeOutboundPorts", "9094,9095"},
		"declined by the namespace": {scene{pod: plain, settings: brokers, ns: func(ns *Namespace) {
			ns.Labels["istio-injection"] = "enabled"
			ns.Annotations = map[string]string{"meshtls-tap/exclude-kafka-port": "false"}
		}}, "", ""},
		"a pod that is not tapped": {scene{pod: `{spec: {hostNetwork: true, containers: [{name: a, image: a}]}}`, settings: brokers,
			ns: labels("istio-injection", "enabled"), warnings: []string{"host_network"}}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, ns, raw := c.set(t)
			got := Annotate(cfg, ns, raw, noon)
			checkWarnings(t, got.Warnings, c.warnings)
			after := apply(t, raw, got.Patch)
			kept(t, raw, after)
			if (c.key == "") != (len(got.Patch) == 0) {
				t.Fatalf("patch %v", got.Patch)
			}
			if c.key == "" {
				return
			}
			if v := podOf(t, after, true).Annotations[c.key]; v != c.value {
				t.Errorf("%s=%q, want %q", c.key, v, c.value)
			}
			if again := Annotate(cfg, ns, after, noon); len(again.Patch) != 0 {
				t.Errorf("a second call: %v", again.Patch)
			}
		})
	}
}

func TestParseSettings(t *testing.T) {
	for text, want := range map[string]string{
		``:                                   "",
		`{"env": []}`:                        "",
		`runAsUser: 99`:                      "",
		`envs: []`:                           `unknown field "envs"`,
		"a: [":                               "yaml",
		`env: [{name: PATH, value: x}]`:      `"PATH": expected a name that begins with TAP_`,
		`env: [{name: TAP_UNTIL, value: x}]`: "TAP_UNTIL is set by the webhook",
		`env: [{name: TAP_FOR, value: 1h}]`:  "TAP_FOR is set by the webhook",
		`env: [{name: TAP_EXPECT, value: "10.0.0.0/8"}]`:                  "TAP_EXPECT: expected a list of CIDR",
		`env: [{name: TAP_FILTER, value: "port"}]`:                        "TAP_FILTER: ",
		`resources: {limits: {memory: 1Mi}}`:                              "the limit of memory is below its request",
		`resources: {requests: {memory: 8Mi}, limits: {memory: 16Mi}}`:    "resources.limits.memory: 16Mi: expected 48Mi or more",
		`resources: {requests: {cpu: x}}`:                                 "quantities must match",
		`runAsUser: 0`:                                                    "WEBHOOK_PROFILE=root",
		`metricsPort: 70000`:                                              "metricsPort: 70000",
		`spool: {size: 0}`:                                                "spool.size: 0",
		`spool: {size: -1Mi}`:                                             "spool.size: -1Mi",
		`evidence: {size: 255Ki}`:                                         "evidence.size: 255Ki: expected 256Ki or more",
		`env: [{name: TAP_EVIDENCE_DIR, value: /x}]`:                      "TAP_EVIDENCE_DIR is set by the webhook",
		`env: [{name: TAP_EVIDENCE_AGE, value: 1h}]`:                      "",
		`kafka: {ca: {secret: a, configMap: b}}`:                          "kafka.ca: expected either secret or configMap",
		`kafka: {password: {configMap: b}}`:                               "kafka.password: expected a secret",
		`kafka: {clientCertificate: {certKey: b}}`:                        "kafka.clientCertificate.secret",
		`kafka: {token: {audience: kafka, expirationSeconds: 60}}`:        "expirationSeconds of at least 600",
		`kafka: {ca: {secret: a}, password: {secret: b, key: sasl.pass}}`: "",
	} {
		_, err := ParseSettings([]byte(text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestWorkload(t *testing.T) {
	for name, c := range map[string]struct {
		owner      Owner
		hash       string
		kind, name string
	}{
		"none":              {},
		"no controller":     {owner: Owner{Kind: "Node", Name: "n"}},
		"deployment":        {Owner{Kind: "ReplicaSet", Name: "a-b-77", Controller: true}, "77", "Deployment", "a-b"},
		"replica set":       {Owner{Kind: "ReplicaSet", Name: "a-b-77", Controller: true}, "", "ReplicaSet", "a-b-77"},
		"another hash":      {Owner{Kind: "ReplicaSet", Name: "a-b-77", Controller: true}, "78", "ReplicaSet", "a-b-77"},
		"stateful set":      {Owner{Kind: "StatefulSet", Name: "db", Controller: true}, "", "StatefulSet", "db"},
		"cron job":          {Owner{Kind: "Job", Name: "a-29924640", Controller: true}, "", "CronJob", "a"},
		"job named by date": {Owner{Kind: "Job", Name: "a-20260101", Controller: true}, "", "Job", "a-20260101"},
		"job":               {Owner{Kind: "Job", Name: "import", Controller: true}, "", "Job", "import"},
		"job of a number":   {Owner{Kind: "Job", Name: "-29924640", Controller: true}, "", "Job", "-29924640"},
	} {
		p := &pod{}
		p.Metadata = &metadata{Labels: map[string]string{"pod-template-hash": c.hash}, OwnerReferences: []Owner{c.owner}}
		if kind, got := p.workload(noon); kind != c.kind || got != c.name {
			t.Errorf("%s: %s %s, want %s %s", name, kind, got, c.kind, c.name)
		}
	}
}

func TestHash(t *testing.T) {
	settings, _ := ParseSettings(nil)
	c := Config{Settings: settings, Image: "tap:1"}
	was := c.Hash()
	if c.Hash() != was || len(was) != 12 {
		t.Errorf("hash %q, then %q", was, c.Hash())
	}
	c.Own, c.Version, c.Allowed = "x", "v2", []string{"*"}
	if c.Hash() != was {
		t.Error("changed by what the tap is not told")
	}
	if c.Image = "tap:2"; c.Hash() == was {
		t.Error("not changed by another image")
	}
}

// FuzzExpect: checkExpect accepts exactly the values that the tap accepts.
func FuzzExpect(f *testing.F) {
	for _, s := range []string{
		"", "10.0.0.0/8=mtls", "10.0.0.0/8:443=tls, fd00::/8=any", "[fd00::/8]:5432=tls", "10.0.0.1=mtls", "[::1]=any", "10.1.0.0/8=mtls", "fe80::1%eth0=any",
		"10.0.0.0/8:=tls", "10.0.0.0/8:0=tls", "[::1]:=any", "[::1=any", "x=tls", "=tls", "::ffff:10.0.0.0/104=any",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := finding.ParseExpect(s)
		if ours := checkExpect(s); (ours == nil) != (err == nil) && len(s) <= maxText {
			t.Errorf("%q: webhook %v, tap %v", s, ours, err)
		}
	})
}

// TestFilter: a filter that the tap would reject is ignored.
func TestFilter(t *testing.T) {
	for v, ok := range map[string]bool{
		"tcp port 443": true, "not net 10.0.0.0/8 and tcp[tcpflags] & tcp-syn != 0": true, "1\n6 0 0 65535": true,
		"": false, " ": false, "port": false, "host example.org": false, "$(POD_NAME)": false, strings.Repeat("x", maxText+1): false,
	} {
		if err := checkFilter(v); (err == nil) != ok {
			t.Errorf("%.40q: %v", v, err)
		}
	}
	if got := literal("a $(B) $C"); got != "a $$(B) $C" {
		t.Errorf("literal: %s", got)
	}
}

func TestHeadroom(t *testing.T) {
	// The total is the peak, which is 2 cores while the first init container runs, plus the overhead.
	s := scene{pod: `
spec:
  initContainers: [{name: i, image: i, resources: {requests: {cpu: "2"}}}, {name: s, image: s, restartPolicy: Always, resources: {requests: {cpu: 500m}}}]
  containers: [{name: a, image: a, resources: {requests: {cpu: "1"}}}]
  overhead: {cpu: 100m}
`}
	_, _, raw := s.set(t)
	p, err := decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	if total := p.total("cpu", false); total.String() != "2100m" {
		t.Errorf("total %s", &total)
	}
}

func BenchmarkTap(b *testing.B) {
	s := scenes["everything"]
	cfg, ns, raw := s.set(b)
	b.ReportAllocs()
	for b.Loop() {
		if r := Tap(cfg, ns, raw, noon.Add(time.Minute)); r.Reason != Injected {
			b.Fatal(r.Reason)
		}
	}
}

// TestWaitHook: a tap has the hook only if it is a native sidecar and its image is known to have the command. If the
// image lacked the command, the kubelet would kill the tap repeatedly.
func TestWaitHook(t *testing.T) {
	const usual = `{"metadata":{},"spec":{"containers":[{"name":"web"}]}}`
	off := false
	for name, c := range map[string]struct {
		image string
		mode  Mode
		waits map[string]bool
		want  bool
	}{
		"seen to wait":               {"reg:5000/tap:1", Native, map[string]bool{"reg:5000/tap:1": true}, true},
		"seen, and it does not wait": {"reg:5000/tap:1", Native, map[string]bool{"reg:5000/tap:1": false}, false},
		"not seen":                   {"reg:5000/tap:1", Native, map[string]bool{}, false},
		"no native sidecar":          {"reg:5000/tap:1", Container, map[string]bool{"reg:5000/tap:1": true}, false},
		"not tried, own version":     {"reg:5000/tap:1.2.3", Native, nil, true},
		"not tried, another version": {"reg:5000/tap:1.2.2", Native, nil, false},
		"not tried, by digest":       {"reg:5000/tap@sha256:1.2.3", Native, nil, false},
		"not tried, no tag":          {"reg:5000/tap", Native, nil, false},
	} {
		if got := hooked(t, Settings{}, c.image, c.mode, c.waits, usual); got != c.want {
			t.Errorf("%s: hook %t", name, got)
		}
	}
	seen := map[string]bool{"tap:1": true}
	if hooked(t, Settings{StartHook: &off}, "tap:1", Native, seen, usual) {
		t.Error("a hook, though it is off")
	}
	if hooked(t, Settings{}, "tap:1", Native, seen, `{"metadata":{},"spec":{"runtimeClassName":"kata","containers":[{"name":"web"}]}}`) {
		t.Error("a hook with a runtime of its own, which may not run it")
	}
}

// hooked reports whether the tap of a pod gets the hook.
func hooked(t *testing.T, s Settings, image string, mode Mode, waits map[string]bool, pod string) bool {
	t.Helper()
	cfg := &Config{Settings: s.Defaults(), Image: image, Mode: mode, Version: "v1.2.3"}
	ns := &Namespace{Name: "shop", Labels: map[string]string{Label: Enabled}, Waits: waits}
	result := Tap(cfg, ns, []byte(pod), noon)
	if result.Reason != Injected {
		t.Fatal(result.Reason)
	}
	b, err := json.Marshal(result.Patch)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(b), `"postStart":{"exec":{"command":["/tap","wait"]}}`)
}

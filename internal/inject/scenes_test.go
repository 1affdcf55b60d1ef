package inject

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// A scene is one injection: a pod in YAML, its namespace, the settings, and the expected result.
type scene struct {
	pod      string
	settings string // YAML
	config   func(*Config)
	ns       func(*Namespace)

	reason   Reason
	warnings []string                     // parts of the warnings, in order
	also     func(*testing.T, corev1.Pod) // checks the patched pod
}

const plain = `
metadata: {generateName: web-5d9f8b7c6d-, labels: {app: web}}
spec:
  containers: [{name: web, image: web:1}]
`

// scenes has a scene for every reason to tap a pod or not.
var scenes = map[string]scene{
	"plain": {pod: plain, also: func(t *testing.T, p corev1.Pod) {
		if c := p.Spec.InitContainers[0]; c.Name != Name || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			t.Errorf("the tap is not a native sidecar, first of all: %+v", c)
		}
	}},
	"deployment": {pod: `
metadata:
  generateName: web-5d9f8b7c6d-
  labels: {app: web, pod-template-hash: 5d9f8b7c6d}
  annotations: {}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d9f8b7c6d, uid: 1b4e, controller: true}]
spec:
  initContainers: [{name: migrate, image: web:1}]
  containers: [{name: web, image: web:1}, {name: log, image: log:1}]
  volumes: [{name: data, emptyDir: {}}]
  imagePullSecrets: [{name: own}]
`, settings: `{imagePullSecrets: [own, registry]}`, also: func(t *testing.T, p corev1.Pod) {
		if v := env(p, "TAP_WORKLOAD_KIND") + "/" + env(p, "TAP_WORKLOAD_NAME"); v != "Deployment/web" {
			t.Errorf("workload %s", v)
		}
		if len(p.Spec.ImagePullSecrets) != 2 {
			t.Errorf("pull secrets %v", p.Spec.ImagePullSecrets)
		}
	}},
	"everything": {pod: `
metadata: {name: web, annotations: {cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes: "cache, tmp"}}
spec:
  containers: [{name: web, image: web:1}]
  volumes: [{name: cache, emptyDir: {}}, {name: tmp, emptyDir: {}}]
`, settings: `
env: [{name: TAP_SINK, value: kafka}, {name: TAP_KAFKA_BROKERS, value: "kafka.kafka.svc:9094"}, {name: TAP_KAFKA_SASL_USERNAME, value: tap}]
spool: {size: 64Mi}
evidence: {size: 16Mi}
kafka:
  ca: {configMap: kafka-ca}
  clientCertificate: {secret: kafka-tap}
  password: {secret: kafka-sasl}
  token: {audience: kafka}
`, config: func(c *Config) { c.Cluster = "prod-1"; c.PullPolicy = corev1.PullIfNotPresent }},
	"container": {pod: plain, config: func(c *Config) { c.Mode = Container }, also: func(t *testing.T, p corev1.Pod) {
		if c := p.Spec.Containers[len(p.Spec.Containers)-1]; c.Name != Name || c.RestartPolicy != nil {
			t.Errorf("the tap is not the last container: %+v", c)
		}
		if p.Annotations[defaultContainer] != "web" {
			t.Errorf("annotations %v", p.Annotations)
		}
	}},
	"container, default container chosen": {pod: `
metadata: {annotations: {kubectl.kubernetes.io/default-container: log}}
spec: {containers: [{name: web, image: web:1}, {name: log, image: log:1}]}
`, config: func(c *Config) { c.Mode = Container }, also: func(t *testing.T, p corev1.Pod) {
		if p.Annotations[defaultContainer] != "log" {
			t.Errorf("annotations %v", p.Annotations)
		}
	}},
	"API server 1.28": {pod: plain, config: func(c *Config) { c.ServerMinor = 28 }, also: func(t *testing.T, p corev1.Pod) {
		if len(p.Spec.InitContainers) != 0 {
			t.Error("a native sidecar")
		}
	}},
	"profile baseline": {pod: plain, config: func(c *Config) { c.Profile = ProfileBaseline }},
	"profile root":     {pod: plain, config: func(c *Config) { c.Profile = ProfileRoot }},
	"profile found": {pod: plain, ns: func(ns *Namespace) {
		ns.Refusals = map[Profile]string{ProfileDefault: "uid", ProfileBaseline: "no", ProfileRoot: "no"}
	}, also: func(t *testing.T, p corev1.Pod) {
		if s := p.Spec.InitContainers[0].SecurityContext; s.RunAsUser != nil {
			t.Errorf("the profile is not openshift: %+v", s)
		}
	}},
	"native sidecars are spoiled": {pod: plain, ns: func(ns *Namespace) { ns.NoNative = true }, also: func(t *testing.T, p corev1.Pod) {
		if len(p.Spec.InitContainers) != 0 {
			t.Error("a native sidecar")
		}
	}},
	"job": {pod: `
metadata: {ownerReferences: [{apiVersion: batch/v1, kind: Job, name: report-29924640, uid: u-77, controller: true}]}
spec: {restartPolicy: OnFailure, containers: [{name: job, image: job:1}]}
`, also: func(t *testing.T, p corev1.Pod) {
		if v := env(p, "TAP_WORKLOAD_KIND") + "/" + env(p, "TAP_WORKLOAD_NAME"); v != "CronJob/report" {
			t.Errorf("workload %s", v)
		}
	}},
	"job as container": {pod: `
metadata: {ownerReferences: [{apiVersion: batch/v1, kind: Job, name: report-20260101, uid: u-77, controller: true}]}
spec: {restartPolicy: OnFailure, containers: [{name: job, image: job:1}]}
`, config: func(c *Config) { c.Mode = Container }, reason: ReasonJob, warnings: []string{"not tapped: job"}},
	"one-off pod as container": {pod: `{spec: {restartPolicy: Never, containers: [{name: job, image: job:1}]}}`,
		config: func(c *Config) { c.Mode = Container }, reason: ReasonJob, warnings: []string{"not tapped: job"}},
	"host network": {pod: `{spec: {hostNetwork: true, containers: [{name: a, image: a}]}}`,
		reason: ReasonHostNetwork, warnings: []string{"host_network"}},
	"shared processes": {pod: `{spec: {shareProcessNamespace: true, containers: [{name: a, image: a}]}}`,
		reason: ReasonShared, warnings: []string{"shared_process_namespace"}},
	"shared processes, allowed": {pod: `{spec: {shareProcessNamespace: true, containers: [{name: a, image: a}]}}`,
		config: func(c *Config) { c.SharedProcesses = true }},
	"windows by os": {pod: `{spec: {os: {name: windows}, containers: [{name: a, image: a}]}}`,
		reason: ReasonWindows, warnings: []string{"windows"}},
	"windows by selector": {pod: `{spec: {nodeSelector: {kubernetes.io/os: windows}, containers: [{name: a, image: a}]}}`,
		reason: ReasonWindows, warnings: []string{"windows"}},
	"linux by os": {pod: `{spec: {os: {name: linux}, nodeSelector: {kubernetes.io/os: linux}, containers: [{name: a, image: a}]}}`},
	"mirror pod": {pod: `{metadata: {annotations: {kubernetes.io/config.mirror: x}}, spec: {containers: [{name: a, image: a}]}}`,
		reason: ReasonMirror},
	"opted out":          {pod: `{metadata: {labels: {meshtls-tap: disabled}}, spec: {containers: [{name: a, image: a}]}}`, reason: ReasonOptedOut},
	"own namespace":      {pod: plain, config: func(c *Config) { c.Own = "shop" }, reason: ReasonOwn},
	"kube-system":        {pod: plain, ns: func(ns *Namespace) { ns.Name = "kube-system" }, reason: ReasonSystem},
	"not asked":          {pod: plain, ns: func(ns *Namespace) { ns.Labels = nil }, reason: ReasonNotAsked},
	"label elsewise":     {pod: plain, ns: func(ns *Namespace) { ns.Labels = map[string]string{Label: "yes"} }, reason: ReasonNotAsked},
	"pod asks, may":      {pod: optedIn, ns: func(ns *Namespace) { ns.Labels = nil }, config: func(c *Config) { c.PodOptIn = true }},
	"pod asks, no":       {pod: optedIn, ns: func(ns *Namespace) { ns.Labels = nil }, reason: ReasonNotAsked},
	"turned off":         {pod: plain, ns: func(ns *Namespace) { ns.Off = true }, reason: ReasonOff, warnings: []string{"turned_off"}},
	"expired":            {pod: plain, ns: until(-time.Second), reason: ReasonExpired, warnings: []string{"expired: it was requested until 2026-11-24T11:59:59Z"}},
	"until":              {pod: plain, ns: until(time.Hour), also: wantUntil("TAP_UNTIL", "2026-11-24T13:00:00Z")},
	"duration over":      {pod: plain, ns: func(ns *Namespace) { ns.Until = noon }, reason: ReasonExpired, warnings: []string{"expired"}},
	"old kubelets":       {pod: plain, ns: func(ns *Namespace) { ns.OldKubelets = true }, reason: ReasonOldKubelets, warnings: []string{"old_kubelets"}},
	"image unproven":     {pod: plain, ns: func(ns *Namespace) { ns.Images = map[string]string{} }, reason: ReasonImageUnproven, warnings: []string{"image_unproven"}},
	"image by digest":    {pod: plain, ns: func(ns *Namespace) { ns.Images = map[string]string{"tap:1": "tap@sha256:00"} }},
	"already there":      {pod: there("tap:1", "tap:1", ""), reason: ReasonAlready},
	"of another version": {pod: there("tap@sha256:00", "tap@sha256:00", ""), reason: ReasonAlready},
	"an image that was seen": {pod: there("mirror/tap:1", "mirror/tap:1", ""), reason: ReasonAlready, ns: func(ns *Namespace) {
		ns.Images = map[string]string{"tap:1": "mirror/tap:1"}
	}},
	"foreign":                       {pod: `{spec: {containers: [{name: a, image: a}, {name: meshtls-tap, image: b}]}}`, reason: ReasonForeign, warnings: []string{"foreign_container"}},
	"foreign, in init":              {pod: `{spec: {initContainers: [{name: meshtls-tap, image: "tap:1", args: [run], restartPolicy: Always}], containers: [{name: a, image: a}]}}`, reason: ReasonForeign, warnings: []string{"foreign_container"}},
	"foreign, our note":             {pod: there("tap:1", "b", ""), reason: ReasonForeign, warnings: []string{"foreign_container"}},
	"foreign, their note":           {pod: there("b", "b", ""), reason: ReasonForeign, warnings: []string{"foreign_container"}},
	"of a registry that is listed":  {pod: there("mirror.example/meshtls/tap:1", "mirror.example/meshtls/tap:1", ""), reason: ReasonAlready},
	"of a listed registry, another": {pod: there("mirror.example/nginx:1", "mirror.example/nginx:1", ""), reason: ReasonForeign, warnings: []string{"foreign_container"}},
	"foreign, our name within":      {pod: there("evil/tap:1", "evil/tap:1", ""), reason: ReasonForeign, warnings: []string{"foreign_container"}},
	"foreign, our image idle":       {pod: there("tap:1", "tap:1", "command: [/tap, version], "), reason: ReasonForeign, warnings: []string{"foreign_container"}},
	"foreign, not asked":            {pod: `{spec: {containers: [{name: meshtls-tap, image: b}]}}`, ns: func(ns *Namespace) { ns.Labels = nil }, reason: ReasonNotAsked},
	"policy dropped":                {pod: dropped, reason: ReasonAlready, also: wantNative},
	"refused by all":                {pod: plain, ns: refuseAll, reason: ReasonRefused, warnings: []string{`refused: violates PodSecurity "restricted:latest"`}},
	"refused, profile":              {pod: plain, ns: refuseAll, config: func(c *Config) { c.Profile = ProfileRoot }, reason: ReasonRefused, warnings: []string{"refused: root"}},
	"refused at length": {pod: plain, ns: func(ns *Namespace) {
		refuseAll(ns)
		ns.Refusals[ProfileDefault] = strings.Repeat("é\xff", 200)
	}, reason: ReasonRefused, warnings: []string{"refused: é?é"}},
	"no containers": {pod: `{spec: {}}`, reason: ReasonUndecodable, warnings: []string{"undecodable"}},
	"guaranteed": {pod: `
spec:
  initContainers: [{name: i, image: i, resources: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: "1", memory: 1Gi}}}]
  containers: [{name: a, image: a, resources: {limits: {cpu: "2", memory: 1Gi}, requests: {cpu: "2", memory: 1Gi}}}]
`, also: wantResources("20m", "48Mi", "20m", "48Mi")},
	"nearly guaranteed": {pod: `
spec:
  containers:
  - {name: a, image: a, resources: {limits: {cpu: "2", memory: 1Gi}, requests: {cpu: "2", memory: 1Gi}}}
  - {name: b, image: b, resources: {limits: {cpu: "2", memory: 1Gi}, requests: {cpu: "1", memory: 1Gi}}}
`, also: wantResources("5m", "24Mi", "0", "128Mi")},
	"pod resources": {pod: `
spec:
  resources: {requests: {cpu: "1", memory: 100Mi}, limits: {cpu: 100m, memory: 100Mi}}
  containers: [{name: a, image: a, resources: {requests: {cpu: 995m, memory: 100Mi}}}]
`, also: wantResources("5m", "0", "0", "100Mi")},
	"resources by annotation": {pod: `
metadata: {annotations: {meshtls-tap/cpu-request: 50m, meshtls-tap/memory-request: 200Mi, meshtls-tap/cpu-limit: "1"}}
spec: {containers: [{name: a, image: a}]}
`, also: wantResources("50m", "200Mi", "1", "200Mi")},
	"resources too small": {pod: `
metadata: {annotations: {meshtls-tap/cpu-limit: 1m, meshtls-tap/memory-limit: 1Mi, meshtls-tap/cpu-request: x, meshtls-tap/memory-request: "-1"}}
spec: {containers: [{name: a, image: a}]}
`, warnings: []string{
		`cpu-limit="1m" is ignored: expected a quantity of at least 20m`, `cpu-request="x"`, `memory-limit="1Mi"`, `memory-request="-1"`,
	}, also: wantResources("5m", "24Mi", "0", "128Mi")},
	"limit range": {pod: plain, ns: func(ns *Namespace) {
		ns.LimitRanges = []corev1.LimitRangeItem{{Type: corev1.LimitTypePod}, {
			Type:                 corev1.LimitTypeContainer,
			Min:                  amounts("100m", "16Mi"),
			Max:                  amounts("150m", "1Gi"),
			MaxLimitRequestRatio: amounts("1.2", "1.5"),
		}}
	}, also: wantResources("100m", "33554432", "100m", "48Mi")},
	"disk": {pod: `{spec: {containers: [{name: a, image: a, resources: {limits: {ephemeral-storage: 1Gi}}}]}}`,
		settings: `{spool: {size: 64Mi}}`, also: wantDisk("0", "160Mi")},
	"disk for evidence": {pod: `{spec: {containers: [{name: a, image: a, resources: {limits: {ephemeral-storage: 1Gi}}}]}}`,
		settings: `{spool: {size: 64Mi}, evidence: {size: 16Mi}}`, also: wantDisk("0", "192Mi")},
	"disk requested": {pod: `{spec: {containers: [{name: a, image: a, resources: {requests: {ephemeral-storage: 1Gi}}}]}}`,
		also: wantDisk("32Mi", "0")},
	"disk without limits": {pod: plain, settings: `{spool: {size: 64Mi}}`, also: wantDisk("0", "0")},
	"limit range for pods": {pod: plain, ns: func(ns *Namespace) {
		ns.Caps = []Cap{{"limit range l", true, "memory", resource.MustParse("47Mi")}}
	}, reason: ReasonQuota, warnings: []string{"quota: limit range l has 47Mi of memory left"}},
	"limit range holds the least": {pod: plain, ns: func(ns *Namespace) {
		ns.Caps = []Cap{{"limit range l", true, "memory", resource.MustParse("48Mi")}, {"limit range l", false, "cpu", resource.MustParse("5m")}}
	}, also: wantResources("5m", "24Mi", "0", "48Mi")},
	"limit range refuses anyhow": {pod: `{spec: {containers: [{name: a, image: a, resources: {requests: {cpu: "1"}}}]}}`, ns: func(ns *Namespace) {
		ns.Caps = []Cap{{"limit range l", false, "cpu", resource.MustParse("500m")}}
	}},
	"limit range gives limits": {pod: plain, ns: func(ns *Namespace) {
		ns.LimitRanges = []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Default: amounts("2", "4Gi"), DefaultRequest: amounts("1", "1Gi")}}
	}, also: wantResources("5m", "24Mi", "200m", "128Mi")},
	"limit range, a ratio for pods": {pod: plain, ns: func(ns *Namespace) {
		ns.LimitRanges = []corev1.LimitRangeItem{{Type: corev1.LimitTypePod, MaxLimitRequestRatio: amounts("2", "2")}}
	}, also: wantResources("10m", "24Mi", "20m", "48Mi")},
	"quota of CPU limits": {pod: plain, ns: func(ns *Namespace) { ns.CPULimits = true }, also: wantResources("5m", "24Mi", "200m", "128Mi")},
	"port taken": {pod: `{spec: {containers: [{name: a, image: a, ports: [{containerPort: 29469}, {containerPort: 29470}]}]}}`, settings: `{metricsPort: 29469}`,
		also: func(t *testing.T, p corev1.Pod) {
			if v := env(p, "TAP_LISTEN"); v != ":29471" || p.Spec.InitContainers[0].Ports[0].ContainerPort != 29471 || env(p, "TAP_LISTEN_AFTER") != listenAfter {
				t.Errorf("TAP_LISTEN=%s", v)
			}
		}},
	"no port": {pod: plain, settings: `{configMap: ""}`, also: func(t *testing.T, p corev1.Pod) {
		if v := env(p, "TAP_LISTEN"); v != "none" || len(p.Spec.InitContainers[0].Ports) != 0 {
			t.Errorf("TAP_LISTEN=%s", v)
		}
	}},
	"tenant's annotations": {pod: tenant, warnings: []string{
		"annotation meshtls-tap/duration is ignored: pods may not set it", "meshtls-tap/expect is ignored", "meshtls-tap/filter is ignored",
		`annotation "meshtls-tap/fliter" is not known`, "meshtls-tap/mode is ignored", "meshtls-tap/until is ignored",
	}},
	"allowed annotations": {pod: tenant, config: func(c *Config) { c.Allowed = []string{"*"} }, warnings: []string{"fliter"},
		also: func(t *testing.T, p corev1.Pod) {
			wantUntil("TAP_OWN_UNTIL", "2026-11-24T12:10:00Z")(t, p)
			if v := env(p, "TAP_FILTER"); v != "not port 22" {
				t.Errorf("TAP_FILTER=%s", v)
			}
			if p.Spec.Containers[len(p.Spec.Containers)-1].Name != Name {
				t.Error("not a container")
			}
		}},
	"namespace's annotations": {pod: plain, settings: `{env: [{name: TAP_EXPECT, value: "::/0=any"}, {name: TAP_WINDOW, value: 5m}]}`,
		ns: func(ns *Namespace) {
			ns.Annotations = map[string]string{
				"meshtls-tap/expect": "10.0.0.0/8=mtls,[fd00::/8]:5432=tls", "meshtls-tap/mesh": "istio", "meshtls-tap/emit": "findings, flows",
				"meshtls-tap/profile": "baseline", "meshtls-tap/memory-limit": "256Mi", "other/annotation": "x", "meshtls-tap/image": "tap.example/taps/tap:2",
			}
			ns.Images = map[string]string{"tap:1": "tap:1", "tap.example/taps/tap:2": "tap.example/taps/tap:2"}
		}},
	"unusable annotations": {pod: plain, ns: func(ns *Namespace) {
		ns.Annotations = map[string]string{
			"meshtls-tap/until": "tomorrow", "meshtls-tap/duration": "-1h", "meshtls-tap/expect": "10.0.0.0=yes", "meshtls-tap/mesh": "mine", "meshtls-tap/emit": "all",
			"meshtls-tap/profile": "auto", "meshtls-tap/mode": "ambient", "meshtls-tap/filter": "port http", "meshtls-tap/image": "a b", "meshtls-tap/exclude-kafka-port": strings.Repeat("é", 99),
		}
	}, warnings: []string{"duration", "emit", "exclude-kafka-port", "expect", "filter", "image", "mesh", "mode", "profile", "until"}},
	"image of the namespace unproven": {pod: plain, ns: func(ns *Namespace) {
		ns.Annotations = map[string]string{"meshtls-tap/image": "mirror.example/tap:2"}
		ns.Images = map[string]string{"tap:1": "tap:1"}
	}, warnings: []string{"image \"mirror.example/tap:2\" is ignored"}},
	"image of a registry that is not listed": {pod: plain, ns: func(ns *Namespace) {
		ns.Annotations = map[string]string{"meshtls-tap/image": "tap.example/other/tap:2"}
	}, warnings: []string{"tap.example/other/tap:2\" is ignored: its registry is not allowed"}},
	"annotations that no namespace may set": {pod: plain, config: func(c *Config) { c.TenantMay = []string{"filter", "until"} }, ns: func(ns *Namespace) {
		ns.Annotations = map[string]string{
			"meshtls-tap/expect": "0.0.0.0/0=any", "meshtls-tap/emit": "posture", "meshtls-tap/image": "mirror.example/tap:2", "meshtls-tap/memory-limit": "256Mi", "meshtls-tap/filter": "tcp",
		}
	}, warnings: []string{"emit is ignored: namespaces may not set it", "expect is ignored", "image is ignored"}, also: func(t *testing.T, p corev1.Pod) {
		if env(p, "TAP_EXPECT") != "" || env(p, "TAP_EMIT") != "" || env(p, "TAP_FILTER") != "tcp" || p.Spec.InitContainers[0].Image != "tap:1" {
			t.Errorf("the tap: %+v", p.Spec.InitContainers[0])
		}
	}},
	"an end that no namespace may set": {pod: plain, config: func(c *Config) { c.TenantMay = []string{"filter"} }, ns: until(-time.Second),
		warnings: []string{"until is ignored: namespaces may not set it"}},
	"istio": {pod: `
metadata: {annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: "9092, 9093,x", traffic.sidecar.istio.io/excludeInboundPorts: "15020,9092"}}
spec: {initContainers: [{name: istio-proxy, image: p, restartPolicy: Always}], containers: [{name: a, image: a}]}
`, also: wantProxy("istio", "9092,9093,15020")},
	"linkerd by namespace": {pod: `{spec: {containers: [{name: a, image: a}, {name: linkerd-proxy, image: p}]}}`, ns: func(ns *Namespace) {
		ns.Annotations = map[string]string{"config.linkerd.io/skip-outbound-ports": "9092-9094"}
	}, also: wantProxy("linkerd", "9092,9093,9094")},
	"consul":               {pod: `{spec: {containers: [{name: a, image: a}, {name: consul-dataplane-web, image: p}]}}`, also: wantProxy("consul", "")},
	"kuma":                 {pod: `{spec: {containers: [{name: kuma-sidecar, image: p}]}}`, also: wantProxy("kuma", "")},
	"osm":                  {pod: `{metadata: {labels: {osm-proxy-uuid: x}}, spec: {containers: [{name: envoy, image: p}]}}`, also: wantProxy("osm", "")},
	"ambient by namespace": {pod: plain, ns: labeled(labelDataplane, "ambient"), also: wantAmbient("istio")},
	"ambient by pod": {pod: `
metadata: {labels: {istio.io/dataplane-mode: ambient}, annotations: {ambient.istio.io/bypass-inbound-capture: "true", ambient.istio.io/dns-capture: "false"}}
spec: {containers: [{name: a, image: a, readinessProbe: {httpGet: {port: 8080, path: /ready}}}]}
`, settings: `{metricsPort: 15006}`, also: func(t *testing.T, p corev1.Pod) {
		wantAmbient("istio")(t, p)
		if listen, probes := env(p, "TAP_LISTEN"), env(p, "TAP_PROBE_PORTS"); listen != ":15007" || probes != "8080/ready" {
			t.Errorf("TAP_LISTEN=%s, which ztunnel may need; TAP_PROBE_PORTS=%s", listen, probes)
		}
	}},
	"ambient by namespace, not for the pod": {pod: `{metadata: {labels: {istio.io/dataplane-mode: none}}, spec: {containers: [{name: a, image: a}]}}`, ns: labeled(labelDataplane, "ambient"), also: wantAmbient("")},
	"ambient in a namespace that says none": {pod: `{metadata: {labels: {istio.io/dataplane-mode: ambient}}, spec: {containers: [{name: a, image: a}]}}`, ns: labeled(labelDataplane, "none"), also: wantAmbient("istio")},
	"ambient by the annotation":             {pod: `{metadata: {annotations: {ambient.istio.io/redirection: enabled}}, spec: {containers: [{name: a, image: a}]}}`, also: wantAmbient("istio")},
	"not ambient any more":                  {pod: `{metadata: {labels: {istio.io/dataplane-mode: none}, annotations: {ambient.istio.io/redirection: enabled}}, spec: {containers: [{name: a, image: a}]}}`, also: wantAmbient("")},
	"ambient, with a sidecar": {pod: `
metadata: {annotations: {sidecar.istio.io/status: '{"initContainers":["istio-init"]}'}}
spec: {containers: [{name: a, image: a}, {name: istio-proxy, image: p}]}
`, ns: labeled(labelDataplane, "ambient"), also: func(t *testing.T, p corev1.Pod) { wantAmbient("")(t, p); wantProxy("istio", "")(t, p) }},
	"ambient, by the platform":                {pod: plain, settings: `{env: [{name: TAP_AMBIENT, value: cilium}]}`, ns: labeled(labelDataplane, "ambient"), also: wantAmbient("cilium")},
	"Cilium's ztunnel":                        {pod: plain, ns: labeled(labelCilium, "true"), also: wantAmbient("cilium")},
	"Cilium's ztunnel, off":                   {pod: plain, ns: labeled(labelCilium, "false"), also: wantAmbient("")},
	"Cilium's ztunnel, by a label of the pod": {pod: `{metadata: {labels: {io.cilium/mtls-enabled: "true"}}, spec: {containers: [{name: a, image: a}]}}`, also: wantAmbient("")},
	"an envoy":          {pod: `{spec: {containers: [{name: envoy, image: p}]}}`, also: wantProxy("", "")},
	"volumes of a copy": {pod: `{spec: {containers: [{name: a, image: a}], volumes: [{name: meshtls-tap-config, emptyDir: {}}, {name: meshtls-tap-no-token, emptyDir: {}}]}}`},
	"fields of the future": {pod: `
metadata: {generateName: a-, "new~field/x": {a: 1}}
spec: {fromTheFuture: [1], containers: [{name: a, image: a, alsoNew: {b: null}}]}
`},
}

// there returns a pod with a container named Name that has the given image. noted is the image that the webhook's
// annotation names.
func there(noted, image, more string) string {
	return `{metadata: {annotations: {meshtls-tap/status: '{"image":"` + noted + `"}'}}, spec: {initContainers: [` +
		`{name: meshtls-tap, image: "` + image + `", ` + more + `args: [run], restartPolicy: Always}], containers: [{name: a, image: a}]}}`
}

package chart_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// bad is a value that cannot work. The chart refuses the value, with a message that names it. The program that would
// read the value refuses it too.
type bad struct {
	values string // JSON; the outermost key is a path with dots
	by     string // the program that refuses it: webhook or tap; "": the API server, or nobody
}

// TestBadValues: the chart refuses values that the webhook or the tap would refuse at its start. Each value is also
// rendered without the chart's checks and given to the program. So the table contains only values that the programs
// refuse.
func TestBadValues(t *testing.T) {
	unchecked := uncheckedChart(t)
	for i, row := range []bad{
		{`{"tap.expect": ["foo=mtls"]}`, "webhook"},
		{`{"tap.expect": ["10.0.0.1/8=mtls"]}`, "webhook"},
		{`{"tap.expect": ["10.0.0.0/8:99999=mtls"]}`, "webhook"},
		{`{"tap.expect": ["10.0.0.0/8:0=mtls"]}`, "webhook"},
		{`{"tap.expect": ["10.0.0.0/33=mtls"]}`, "webhook"},
		{`{"tap.expect": ["10.0.0.0/08=mtls"]}`, "webhook"},
		{`{"tap.expect": ["10.0.0.256=mtls"]}`, "webhook"},
		{`{"tap.expect": ["10.0.0=mtls"]}`, "webhook"},
		{`{"tap.expect": ["010.0.0.0/8=mtls"]}`, "webhook"},
		{`{"tap.expect": ["10.0.0.0/8=mutual"]}`, "webhook"},
		{`{"tap.expect": ["10.0.0.0/8"]}`, "webhook"},
		{`{"tap.expect": ["fd00::1/8=tls"]}`, "webhook"},
		{`{"tap.expect": ["fd00::1::2=tls"]}`, "webhook"},
		{`{"tap.expect": ["fd00::/129=tls"]}`, "webhook"},
		{`{"tap.expect": ["[fd00::/8]443=tls"]}`, "webhook"},
		{`{"tap.expect": ["[fd00::/8]:=tls"]}`, "webhook"},
		{`{"tap.expect": ["[fd00::/8=tls"]}`, "webhook"},
		{`{"tap.expect": ["10.0.0.0/8=mtls", "0.0.0.0/0:=tls"]}`, "webhook"},
		{`{"tap.filter": "tcp prot 80"}`, "webhook"},
		{`{"tap.filter": "tcp port"}`, "webhook"},
		{`{"tap.filter": "port 99999"}`, "webhook"},
		{`{"tap.filter": "tcp port http"}`, "webhook"},
		{`{"tap.filter": "host example.com"}`, "webhook"},
		{`{"tap.filter": "net 10.0.0.1/8"}`, "webhook"},
		{`{"tap.filter": "net 10.0.0.1 mask 255.0.0.0"}`, "webhook"},
		{`{"tap.filter": "(tcp and port 80"}`, "webhook"},
		{`{"tap.filter": "tcp and and udp"}`, "webhook"},
		{`{"tap.filter": "tcp udp"}`, "webhook"},
		{`{"tap.filter": "80 or 443"}`, "webhook"},
		{`{"tap.filter": "tcp[13] & 2"}`, "webhook"},
		{`{"tap.filter": "icmp port 80"}`, "webhook"},
		{`{"tap.filter": "TCP"}`, "webhook"},
		{`{"tap.filter": "ip6 host 10.0.0.1"}`, "webhook"},
		{`{"tap.filter": "tcp; udp"}`, "webhook"},
		{`{"tap.filter": " "}`, "webhook"},
		{`{"tap.filter": "4,40 0 0 12"}`, "webhook"},
		{`{"tap.resources": {"limits": {"memory": "1Mi"}, "requests": {"memory": "1Mi"}}}`, "webhook"},
		{`{"tap.resources": {"limits": {"memory": "47Mi"}, "requests": {"memory": "8Mi"}}}`, "webhook"},
		{`{"tap.resources": {"limits": {"memory": 1000000}, "requests": {"memory": 1000000}}}`, "webhook"},
		{`{"tap.resources": {"requests": {"memory": "4Gi"}}}`, "webhook"},
		{`{"tap.resources": {"requests": {"memory": "7Mi"}}}`, "webhook"},
		{`{"tap.resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}`, "webhook"},
		{`{"tap.resources": {"requests": {"cpu": 0}}}`, "webhook"},
		{`{"tap.resources": {"limits": {"cpu": "19m"}}}`, "webhook"},
		{`{"tap.window": "1s"}`, "webhook"},
		{`{"tap.window": "9999ms"}`, "webhook"},
		{`{"tap.window": "0h"}`, "webhook"},
		{`{"tap.window": "10"}`, "webhook"},
		{`{"tap.window": "-10m"}`, "webhook"},
		{`{"tap.window": "1d"}`, "webhook"},
		{`{"tap.postureInterval": "9s"}`, "webhook"},
		{`{"tap.postureInterval": "1d"}`, "webhook"},
		{`{"tap.format": "cef"}`, "tap"},
		{`{"tap.format": ""}`, ""}, // the tap would use the default
		{`{"tap.announcements": 0}`, "tap"},
		{`{"tap.severities": {"plaintext-edge": 50}}`, "tap"},
		{`{"tap.severities": {"plaintext": 21}}`, "tap"},
		{`{"tap.mute": [{"rule": "plaintext-edge", "until": "2026-12-31"}]}`, ""}, // the reason would be rendered as %!s(<nil>)
		{`{"tap.mute": [{"rule": "plaintext-edge", "until": "2026-02-30", "reason": "x"}]}`, "tap"},
		{`{"tap.mute": [{"rule": "plaintext-edge", "until": "tomorrow", "reason": "x"}]}`, "tap"},
		{`{"tap.mute": [{"rule": "all", "until": "2026-12-31", "reason": "x"}]}`, "tap"},
		{`{"tap.mute": [{"rule": "plaintext-edge", "peers": ["10.0.0.1/8"], "until": "2026-12-31", "reason": "x"}]}`, "tap"},
		{`{"tap.mute": [{"rule": "plaintext-edge", "peers": ["10.0.0"], "until": "2026-12-31", "reason": "x"}]}`, "tap"},
		{`{"tap.mute": [{"rule": "plaintext-edge", "peers": ["fd00::1::2"], "until": "2026-12-31", "reason": "x"}]}`, "tap"},
		{`{"tap.mute": [{"rule": "plaintext-edge", "ports": [0], "until": "2026-12-31", "reason": "x"}]}`, "tap"},
		{`{"tap.mute": [{"rule": "plaintext-edge", "classes": ["workload"], "until": "2026-12-31", "reason": "x"}]}`, "tap"},
		{`{"tap.mute": [{"rule": "tap-blind", "ports": [80], "until": "2026-12-31", "reason": "x"}]}`, "tap"},
		{`{"tap.mute": [{"rule": "plaintext-edge", "until": "2026-12-31", "reason": "a;b"}]}`, "tap"},
		{`{"tap.mute": [{"rule": "plaintext-edge", "until": "2026-12-31", "reason": " "}]}`, "tap"},
		{`{"tap.evidence": "0Mi"}`, "webhook"},
		{`{"tap.evidence": "255Ki"}`, "webhook"},
		{`{"tap.evidence": "16Mi", "tap.redact": "strict"}`, ""}, // the programs accept this, but the tap then stores no evidence
		{`{"tap.spool": "0Mi"}`, "webhook"},
		{`{"tap.spool": "512Ki"}`, ""}, // the programs accept this value, but the tap then runs without a spool
		{`{"tap.clusterCIDRs": ["10.0.0.0/40"]}`, "tap"},
		{`{"tap.clusterCIDRs": ["1.2.3"]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_LISTEN", "value": ":80"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_UNTIL", "value": "2030-01-01T00:00:00Z"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_OWN_UNTIL", "value": "2030-01-01T00:00:00Z"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_FOR", "value": "10m"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_LISTEN_AFTER", "value": "1s"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_SPOOL_MAX", "value": "1Gi"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_WORKLOAD_NAME", "value": "x"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "GOMEMLIMIT", "value": "1"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_lower", "value": "1"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_FILTER", "value": "prot 80"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_EXPECT", "value": "10.0.0.0/8=tls,x=tls"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_WINDOW", "value": "1ms"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_POSTURE_INTERVAL", "value": "1ms"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_ANNOUNCEMENTS", "value": "0"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_EVIDENCE_AGE", "value": "1s"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_EVIDENCE_DIR", "value": "/x"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_MESH", "value": "cilium"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_EMIT", "value": "everything"}]}`, "webhook"},
		{`{"tap.extraEnv": [{"name": "TAP_FORMAT", "value": "cef"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_SINK", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_REDACT", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_LOG_LEVEL", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_THIN", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_FORWARDED", "value": "yes"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_SELF_TEST", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_GRACE", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_GRACE", "value": "-1s"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_MEMORY", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_MEMORY", "value": "0"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_MUTE", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_MUTE", "value": "plaintext-edge,x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_MUTE", "value": "rule=plaintext-edge,until=2026-12-31"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_MUTE", "value": "cipher-weak;rule=plaintext-edge,port=0,until=2026-12-31,reason=x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_MUTE", "value": "until=2026-12-31,reason=rule=plaintext-edge"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_SEVERITY", "value": "plaintext-edge=50"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_SEVERITY", "value": "x=21"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_SEVERITY", "value": "tap-blind=21"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_CONFIG_ALLOW", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_CONFIG_ALLOW", "value": "none,mute"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_METRICS_PORTS", "value": "80,none"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_PROBE_PORTS", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_PROBE_PORTS", "value": "0/x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_METRICS_PORTS", "value": "65536"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_KAFKA_TLS", "value": "maybe"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_AMBIENT", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_CLUSTER_CIDRS", "value": "1.2.3"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_KAFKA_BATCH_SIZE", "value": "many"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_KAFKA_BATCH_BYTES", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_KAFKA_BATCH_TIMEOUT", "value": "x"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_INTERFACES", "value": ","}]}`, "tap"},
		{`{"kafka.brokers": ["kafka:9093"], "tap.extraEnv": [{"name": "TAP_KAFKA_COMPRESSION", "value": "x"}]}`, "tap"},
		{`{"kafka.brokers": ["kafka:9093"], "tap.extraEnv": [{"name": "TAP_KAFKA_SASL_MECHANISM", "value": "x"}]}`, "tap"},
		{`{"kafka.brokers": ["kafka:9093"], "tap.extraEnv": [{"name": "TAP_KAFKA_BROKERS", "value": "kafka"}]}`, "tap"},
		{`{"kafka.brokers": ["kafka:9093"], "tap.extraEnv": [{"name": "TAP_KAFKA_TOPIC", "value": "a b"}]}`, "tap"},
		{`{"tap.extraEnv": [{"name": "TAP_FOO", "value": "1"}]}`, ""}, // `tap run` warns
		{`{"tap.runAsUser": 0}`, "webhook"},
		{`{"tap.metricsPort": 70000}`, "webhook"},
		{`{"tap.mesh": "cilium"}`, "webhook"},
		{`{"kafka.brokers": ["kafka:99999"]}`, "tap"},
		{`{"kafka": {"brokers": ["kafka:9093"], "sasl": {"mechanism": "plain", "username": "tap"}}}`, "tap"},
		{`{"kafka": {"brokers": ["kafka:9093"], "sasl": {"mechanism": "scram-sha-512", "username": "tap"}}}`, "tap"},
		{`{"kafka": {"brokers": ["kafka:9093"], "sasl": {"mechanism": "oauthbearer"}}}`, "tap"},
		{`{"kafka": {"sasl": {"mechanism": "oauthbearer", "token": {"audience": "kafka", "expirationSeconds": 60}}}}`, "webhook"},
		{`{"kafka": {"sasl": {"password": {"secretName": "x"}}}}`, ""},
		{`{"kafka": {"tls": {"ca": {"secretName": "x", "configMapName": "x"}}}}`, ""},
		{`{"webhook.podDisruptionBudget": {"maxUnavailable": 0}}`, ""},
		{`{"webhook.podDisruptionBudget": {"maxUnavailable": "0%"}}`, ""},
		{`{"webhook.podDisruptionBudget": {"maxUnavailable": "some"}}`, ""},
		{`{"webhook.tls": {"certManager": {"issuerRef": {"name": "x"}}}}`, ""},
		{`{"webhook.tls": {"mode": "certManager", "certManager": {"issuerRef": {"kind": "ClusterIssuer"}}}}`, ""},
		{`{"webhook.tls": {"secretName": "x"}}`, ""},
		{`{"webhook.resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "64Mi"}}}`, ""},
		{`{"webhook.extraEnv": [{"name": "WEBHOOK_IMAGE", "value": "x"}]}`, ""},
		{`{"webhook.extraEnv": [{"name": "POD_NAMESPACE", "value": "x"}]}`, ""},
		{`{"webhook.extraEnv": [{"name": "WEBHOOK_DRAIN", "value": "soon"}]}`, ""},
		{`{"webhook": {"hostNetwork": true, "port": 10250}}`, ""},
		{`{"webhook": {"hostNetwork": true, "metricsPort": 10250}}`, ""},
		{`{"webhook": {"hostNetwork": true, "hostUsers": false}}`, ""},
		{`{"webhook.clientNames": ["kube-apiserver"]}`, ""},
		{`{"webhook.url": {"host": "https://example.com"}}`, ""},
		{`{"injection.matchConditions": [{"name": "not-windows", "expression": "true"}]}`, ""},
		{`{"injection.namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}`, ""},
		{`{"injection.protect": {"enabled": true, "groups": [], "users": []}}`, ""},
		{`{"injection.protect.enabled": true, "tap.extraEnv": [{"name": "TAP_SINK", "value": "stdout"}]}`, ""},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) { // the name must work as the name of a folder
			t.Parallel()
			file, path := valuesOf(t, row.values)
			said := refusal(t, i, file)
			if last := path[strings.LastIndexByte(path, '.')+1:]; !strings.Contains(said, last) {
				t.Errorf("%s: Helm said %q, want something with %q", row.values, said, last)
			}
			if said, refused := reads(t, unchecked, file, row.by); row.by != "" && !refused {
				t.Errorf("%s: the %s takes it: %s", row.values, row.by, said)
			} else if strings.HasPrefix(said, "helm") {
				t.Errorf("%s: the chart without checks does not render: %s", row.values, said)
			}
		})
	}
}

// refusal returns Helm's error message about values, and checks that Helm prints nothing else. To save time, most
// cases use the packages of Helm 4 in this process. Every fourth case runs the command of Helm 3, and every tenth
// that of Helm 4. Both versions have the same template engine.
func refusal(t *testing.T, i int, values string) string {
	t.Helper()
	var helm string
	switch {
	case i%4 == 0:
		helm = "helm3"
	case i%10 == 1:
		helm = "helm4"
	default:
		if _, err := render(t, chart, values); err != nil {
			return err.Error()
		}
		return ""
	}
	out, err := run(t, helm, "template", release, chart, "--namespace", release, "--values", values)
	if err == nil || out != "" {
		return ""
	}
	_, said, _ := strings.Cut(err.Error(), "\n") // the first line is the command and is left out
	return said
}

// TestGoodValues: the chart refuses no value that the programs accept.
func TestGoodValues(t *testing.T) {
	for i, row := range []string{
		`{"tap.expect": ["10.0.0.0/8:5432=tls", "10.0.0.0/8=mtls", "0.0.0.0/0=any", "1.2.3.4=tls", "1.2.3.4:080=tls"]}`,
		`{"tap.expect": ["fd00::/8=mtls", "[fd00::/8]:443=tls", "[::1]=any", "::/0=any", "2001:db8::1=tls", "::ffff:10.0.0.0/104=tls", "1:2:3:4:5:6:7:8=tls"]}`,
		`{"tap.filter": "tcp port 80 or 443"}`,
		`{"tap.filter": "not (host 10.0.0.1 or fd00::1) and tcp[tcpflags] & (tcp-syn|tcp-fin) != 0"}`,
		`{"tap.filter": "net 10.0.0.0/8 and not portrange 8000-8080 or ip proto \\tcp and len > 100"}`,
		`{"tap.filter": "net 192.168.0.0 mask 255.255.0.0 or 10.1 mask 255.255"}`,
		`{"tap.filter": "4,40 0 0 12,21 0 1 2048,6 0 0 262144,6 0 0 0"}`,
		`{"tap.resources": {"requests": {"cpu": "5m", "memory": "24Mi"}, "limits": {"cpu": "20m", "memory": "48Mi"}}}`,
		`{"tap.resources": {"requests": {"cpu": 0.5, "memory": 134217728}, "limits": {"cpu": 1, "memory": "1Gi"}}}`,
		`{"tap.window": "1h30m"}`,
		`{"tap.window": "10s"}`,
		`{"tap.postureInterval": "10m"}`,
		`{"tap.format": "ocsf"}`,
		`{"tap.announcements": 100, "tap.severities": {"tls-version-weak": 0, "plaintext-edge": 99, "mtls-downgrade": 99}}`,
		`{"tap.spool": "1Mi"}`,
		`{"tap.evidence": "256Ki", "tap.extraEnv": [{"name": "TAP_EVIDENCE_AGE", "value": "1h30m"}]}`,
		`{"tap.runAsUser": 1000650000, "kafka": {"brokers": ["kafka:9093"], "sasl": {"mechanism": "oauthbearer", "token": {"audience": "kafka", "expirationSeconds": 10000000}}}}`,
		`{"tap.clusterCIDRs": ["100.64.0.0/10", "2001:db8::/32", "11.0.0.1/8"]}`,
		`{"tap.extraEnv": [{"name": "TAP_GRACE", "value": "5s"}, {"name": "TAP_THIN", "value": "false"}, {"name": "TAP_EXPECT", "value": "10.0.0.0/8=tls, ::/0=any"}]}`,
		`{"kafka": {"brokers": ["kafka:9093", "[fd00::1]:9092"], "sasl": {"mechanism": "plain", "username": "tap"}}, "tap.extraEnv": [{"name": "TAP_KAFKA_SASL_PASSWORD", "value": "x"}]}`,
		`{"tap.extraEnv": [{"name": "TAP_LOG_LEVEL", "value": "Debug+2"}, {"name": "TAP_GRACE", "value": "1m1.5s"}, {"name": "TAP_MEMORY", "value": "48Mi"}, {"name": "TAP_SELF_TEST", "value": "F"}]}`,
		`{"tap.extraEnv": [{"name": "TAP_MUTE", "value": "plaintext-edge, tap-blind,"}, {"name": "TAP_SEVERITY", "value": "cipher-weak=0,mtls-downgrade=99"}, {"name": "TAP_CONFIG_ALLOW", "value": "none"}]}`,
		`{"tap.mute": [{"rule": "plaintext-edge", "peers": ["10.0.0.0/8", "fd00::/8", "::1", "cache.shop", "spiffe://a/ns/b/sa/C"], "ports": [6379], "classes": ["metrics"], "until": "2027-01-31", "reason": "a, \"é\" = b"}, {"rule": "tap-blind", "until": "2026-12-31", "reason": "x"}]}`,
		`{"tap.extraEnv": [{"name": "TAP_MUTE", "value": "plaintext-edge; rule=cipher-weak, peer=fd00::/8, port=80,port=81,class=metrics,until=2026-12-31,reason=a, b;\ntls-not-mutual, tap-blind"}]}`,
		`{"tap.extraEnv": [{"name": "TAP_PROBE_PORTS", "value": "80/live, 65535"}, {"name": "TAP_METRICS_PORTS", "value": "9090, 9091,"}, {"name": "TAP_CLUSTER_CIDRS", "value": "100.64.0.0/10, 2001:db8::1"}, {"name": "TAP_ANNOUNCEMENTS", "value": "5"}]}`,
		`{"kafka.brokers": ["kafka:9093"], "tap.extraEnv": [{"name": "TAP_KAFKA_COMPRESSION", "value": "lz4"}, {"name": "TAP_KAFKA_TOPIC", "value": "tap.{namespace}"}, {"name": "TAP_KAFKA_BATCH_TIMEOUT", "value": "0"}]}`,
		`{"tap.extraEnv": [{"name": "TAP_CONFIG_ALLOW", "value": "enabled, mute"}, {"name": "TAP_METRICS_PORTS", "value": "none"}]}`,
		`{"tap.extraEnv": [{"name": "TAP_REDACT", "value": ""}, {"name": "TAP_MESH", "value": "kuma"}, {"name": "TAP_AMBIENT", "value": "istio"}]}`,
		`{"kafka": {"brokers": ["kafka:9093"], "topics": {"findings": "tap.{namespace}.findings"}}}`,
		`{"webhook.podDisruptionBudget": {"maxUnavailable": "50%"}}`,
		`{"webhook": {"hostNetwork": true}}`,
		`{"webhook.extraEnv": [{"name": "KUBERNETES_SERVICE_HOST", "value": "api.example.com"}, {"name": "WEBHOOK_DRAIN", "value": "1.5s"}]}`,
		`{"global": {"imageRegistry": "registry.example.com", "imagePullSecrets": ["a", {"name": "b"}], "ours": {"x": 1}}}`,
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			file, _ := valuesOf(t, row)
			for _, by := range []string{"webhook", "tap"} {
				if said, refused := reads(t, chart, file, by); refused {
					t.Errorf("%s: the %s refuses it: %s", row, by, said)
				}
			}
		})
	}
}

// valuesOf writes a values file. It returns the path of the file and the name of the value that it sets.
func valuesOf(t *testing.T, text string) (file, path string) {
	t.Helper()
	var values map[string]any
	if err := json.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(values)) { // sorted, so that path is always the last name if there are two
		value := values[name]
		path = name
		at := out
		parts := strings.Split(name, ".")
		for _, part := range parts[:len(parts)-1] {
			inner, ok := at[part].(map[string]any)
			if !ok {
				inner = map[string]any{}
				at[part] = inner
			}
			at = inner
		}
		at[parts[len(parts)-1]] = value
	}
	b, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, path
}

// uncheckedChart returns the path of a copy of the chart without its schema and checks.
func uncheckedChart(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "tap")
	if err := os.CopyFS(folder, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "values.schema.json")); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(folder, "templates", "settings.yaml")
	const call = `{{- include "tap.checks" . }}`
	text, err := os.ReadFile(settings)
	if err != nil || !strings.Contains(string(text), call) {
		t.Fatalf("%v: %s does not begin with %s", err, settings, call)
	}
	if err := os.WriteFile(settings, []byte(strings.Replace(string(text), call, "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// reads renders the settings with a chart and gives them to a program; by names the program. It returns the program's
// output, and reports whether the program refused the settings.
func reads(t *testing.T, chart, values, by string) (said string, refused bool) {
	t.Helper()
	if by == "" {
		return "", false
	}
	rendered, err := render(t, chart, values)
	if err != nil {
		return "helm: " + err.Error(), true
	}
	var object struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(rendered["tap/templates/settings.yaml"]), &object); err != nil {
		t.Fatal(err)
	}
	settings := object.Data["settings.yaml"]
	var cmd *exec.Cmd
	if by == "webhook" {
		cmd = webhookCheck(t, settings)
	} else {
		cmd = tapCheck(t, settings)
	}
	out, err := cmd.CombinedOutput()
	return fmt.Sprintf("%s\n%s", out, settings), err != nil
}

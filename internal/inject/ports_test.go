package inject

import (
	"slices"
	"testing"
)

func TestDeclaredPorts(t *testing.T) {
	p, err := decode([]byte(`{"metadata": {"annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": " 9102 "}}, "spec": {
		"initContainers": [{"name": "s", "restartPolicy": "Always", "startupProbe": {"grpc": {"port": 7000}}}],
		"containers": [
			{"name": "a", "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9100}],
			 "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}}, "readinessProbe": {"httpGet": {"port": 8080}}, "startupProbe": {"httpGet": {"path": "live?x=1", "port": 8080}}},
			{"name": "b", "ports": [{"name": "prom", "containerPort": 9100}], "readinessProbe": {"tcpSocket": {"port": "5432"}}, "livenessProbe": {"exec": {"command": ["true"]}}},
			{"name": "c", "readinessProbe": {"tcpSocket": {"port": 5432}}, "livenessProbe": {"tcpSocket": {"port": 70000}}, "startupProbe": {"httpGet": {"port": "nowhere"}}}
		]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.probed(), []string{"7000", "8080/live", "8080/", "5432"}; !slices.Equal(got, want) {
		t.Errorf("probed %v, want %v", got, want)
	}
	if got, want := p.scraped(), []string{"9100", "9102"}; !slices.Equal(got, want) {
		t.Errorf("scraped %v, want %v", got, want)
	}
	p.Metadata.Annotations["prometheus.io/scrape"] = "false"
	if got := p.scraped(); !slices.Equal(got, []string{"9100"}) {
		t.Errorf("not scraped: %v", got)
	}
}

// The platform's settings override the ports that a pod declares.
func TestDeclaredPortsOfThePlatform(t *testing.T) {
	raw := `{"metadata": {}, "spec": {"containers": [{"name": "a", "ports": [{"name": "metrics", "containerPort": 9100}], "readinessProbe": {"tcpSocket": {"port": 80}}}]}}`
	p, err := decode([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ settings, probes, metrics string }{
		{"{}", "80", "9100"},
		{"env: [{name: TAP_METRICS_PORTS, value: none}]", "80", "none"},
		{"env: [{name: TAP_PROBE_PORTS, value: '81'}]", "81", "9100"},
	} {
		s, err := ParseSettings([]byte(c.settings))
		if err != nil {
			t.Fatal(err)
		}
		r := &run{cfg: &Config{Settings: s}, pod: p, ns: &Namespace{}}
		got := map[string]string{}
		for _, e := range r.env() {
			if _, twice := got[e.Name]; twice {
				t.Errorf("%s twice", e.Name)
			}
			got[e.Name] = e.Value
		}
		if got["TAP_PROBE_PORTS"] != c.probes || got["TAP_METRICS_PORTS"] != c.metrics {
			t.Errorf("%s: %q, %q", c.settings, got["TAP_PROBE_PORTS"], got["TAP_METRICS_PORTS"])
		}
	}
}

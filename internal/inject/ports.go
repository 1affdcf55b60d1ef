package inject

import (
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// probe has the fields that determine where a probe connects.
type probe struct {
	HTTPGet   *target `json:"httpGet"`
	TCPSocket *target `json:"tcpSocket"`
	GRPC      *target `json:"grpc"`
}

type target struct {
	Port intstr.IntOrString `json:"port"`
	Path string             `json:"path"`
}

// maxDeclared bounds the ports in TAP_PROBE_PORTS and in TAP_METRICS_PORTS.
const maxDeclared = 64

// metricsNames are the usual names of ports with metrics.
var metricsNames = []string{"metrics", "http-metrics", "https-metrics", "http-envoy-prom", "prometheus", "prom", "monitoring"}

// Annotations that Prometheus' usual configuration reads.
const (
	annotationScrape = "prometheus.io/scrape"
	annotationPort   = "prometheus.io/port"
)

// probed returns the ports and paths of the pod's probes, as PORT[/PATH], in the order of the containers.
func (p *pod) probed() []string {
	var out []string
	p.each(func(c *container) {
		for _, x := range []*probe{c.Startup, c.Readiness, c.Liveness} {
			if x == nil {
				continue
			}
			if x.HTTPGet != nil {
				out = declare(out, c.port(x.HTTPGet.Port), pathOf(x.HTTPGet.Path))
			}
			for _, t := range []*target{x.TCPSocket, x.GRPC} {
				if t != nil {
					out = declare(out, c.port(t.Port), "")
				}
			}
		}
	})
	return out
}

// pathOf returns a probe's path without its query, or "" if the path cannot be in a comma-separated variable.
func pathOf(path string) string {
	path, _, _ = strings.Cut("/"+strings.TrimPrefix(path, "/"), "?")
	if strings.ContainsAny(path, ", $") {
		return ""
	}
	return path
}

// scraped returns the ports at which the pod declares metrics, by the name of a container's port or by an
// annotation.
func (p *pod) scraped() []string {
	var out []string
	p.each(func(c *container) {
		for _, port := range c.Ports {
			if slices.Contains(metricsNames, port.Name) {
				out = declare(out, port.ContainerPort, "")
			}
		}
	})
	if a := p.Metadata.Annotations; a[annotationScrape] == "true" {
		if port, err := parsePort(strings.TrimSpace(a[annotationPort])); err == nil {
			out = declare(out, int(port), "")
		}
	}
	return out
}

// port returns the number of a port that is given by number or name; 0 if the container has no port of that name.
func (c *container) port(port intstr.IntOrString) int {
	if port.Type == intstr.Int {
		return port.IntValue()
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return p.ContainerPort
		}
	}
	return 0
}

// declare appends a port with its path to a list. It ignores a port that is invalid or already in the list, and all
// ports once the list is full.
func declare(list []string, port int, path string) []string {
	text := strconv.Itoa(port) + path
	if port < 1 || port > 65535 || len(list) >= maxDeclared || slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}

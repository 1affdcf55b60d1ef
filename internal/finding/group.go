package finding

import (
	"strconv"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// groupID returns a hash of rule, cluster, server and port. It is the same for one problem on all
// replicas, and at both ends if they name the server alike. The server is the tapped workload as
// name.namespace if it serves, else the peer's name in the same form, else the peer's address.
func (e *Engine) groupID(r int, j *verdict.Judged) string {
	return digestOf(rules[r].id, e.cfg.Identity.Cluster, e.server(j), strconv.Itoa(int(j.Destination.Port)))
}

func (e *Engine) server(j *verdict.Judged) string {
	id := &e.cfg.Identity
	if j.Direction == verdict.DirectionIngress {
		if name := id.workload(); name != "" {
			namespace, name, ok := strings.Cut(name, "/")
			if !ok {
				return strings.ToLower(namespace)
			}
			return strings.ToLower(name + "." + namespace)
		}
		return j.Destination.Addr.Unmap().String()
	}
	if named(j) {
		return serviceName(string(appendName(nil, j.PeerName)), id.Namespace)
	}
	return string(e.appendFolded(nil, j.Destination.Addr))
}

// serviceName returns the form name.namespace of the names that a Kubernetes service has: "web",
// "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", and Istio's form of them in SNI. It returns
// other names unchanged.
func serviceName(name, namespace string) string {
	if rest, ok := strings.CutPrefix(name, "outbound_."); ok { // outbound_.PORT_.SUBSET_.HOST
		if _, host, ok := strings.Cut(rest, "_."); ok {
			if _, host, ok = strings.Cut(host, "_."); ok {
				name = host
			}
		}
	}
	labels := strings.Split(name, ".")
	switch {
	case len(labels) == 1 && namespace != "":
		return name + "." + namespace
	case len(labels) >= 3 && labels[2] == "svc":
		return labels[0] + "." + labels[1]
	}
	return name
}

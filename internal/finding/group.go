package finding

import (
	"strconv"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// groupID returns a hash of rule, cluster, server and port. One problem has the same ID on all
// replicas, and at both ends if both use the same name for the server. If the tapped workload is
// the server, its name is hashed as name.namespace. Otherwise the peer's name is hashed in the same
// form, or the peer's address if it has no name.
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

// serviceName returns the name of a Kubernetes service as name.namespace. It accepts the forms "web",
// "web.shop", "web.shop.svc" and "web.shop.svc.cluster.local", and Istio's form of these names in SNI.
// Other names are returned unchanged.
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

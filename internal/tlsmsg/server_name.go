package tlsmsg

import (
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/names"
)

// serverName returns the name of a server_name extension in the form to publish, and reports whether it is valid: a host name (RFC 6066
// section 3; an address is not one), or a name of Kuma's proxies.
func serverName(name string) (string, bool) {
	if host, ok := names.Hostname(name); ok {
		return host, true
	}
	return name, isTagged(name)
}

// isTagged reports whether name has the form SERVICE{KEY=VALUE,...} that Kuma's proxies send as their SNI (kuma pkg/tls/sni.go). One
// key must name the mesh.
func isTagged(name string) bool {
	service, tags, ok := strings.Cut(name, "{")
	tags, closed := strings.CutSuffix(tags, "}")
	if _, host := names.Hostname(service); !ok || !closed || !host || len(name) > names.MaxHostname {
		return false
	}
	mesh := false
	for tag := range strings.SplitSeq(tags, ",") {
		key, value, ok := strings.Cut(tag, "=")
		if !ok || key == "" || strings.Trim(key, tagKey) != "" || strings.Trim(value, tagValue) != "" {
			return false
		}
		mesh = mesh || key == "mesh" || strings.HasPrefix(key, "kuma.io/")
	}
	return mesh
}

// Characters that the tags of a name consist of.
const (
	tagValue = "abcdefghijklmnopqrstuvwxyz0123456789.-_"
	tagKey   = tagValue + "/"
)

package finding

import (
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// hasIdentities reports whether a session shows both the name that the client wanted and all names of the server's
// certificate. An encrypted hello (ECH) may hide another name, and of a certificate with very many names some are not kept.
func hasIdentities(j *verdict.Judged) bool {
	t := j.TLS
	if t.ServerName == "" || t.ECHOffered || t.Server == nil || t.Server.Broken {
		return false
	}
	return len(t.Server.AlternativeNames) > 0 && !t.Server.NamesOmitted && !slices.Contains(j.Reasons, "certificate_names_left_out")
}

// mismatched reports whether the server showed a certificate of somebody else than the client asked for by SNI.
func mismatched(j *verdict.Judged) bool {
	if !hasSession(j) || !hasIdentities(j) {
		return false
	}
	want := strings.ToLower(j.TLS.ServerName)
	return !slices.ContainsFunc(j.TLS.Server.AlternativeNames, func(name string) bool { return identifies(strings.ToLower(name), want) })
}

// identifies reports whether an alternative name of a certificate fits a server name. A DNS name fits as RFC 9525,
// section 6.3, says. The identity of a workload (a SPIFFE ID, or "account.namespace.domain" of Open Service Mesh) has the
// name of its account and not of its service, so it fits every service of its namespace. It also fits a server name that
// has no namespace.
func identifies(name, want string) bool {
	if id, ok := strings.CutPrefix(name, "spiffe://"); ok {
		namespace := namespaceOf(want)
		return namespace == "" || !strings.Contains(id, "/ns/") || strings.Contains(id+"/", "/ns/"+namespace+"/")
	}
	if name == want || strings.HasPrefix(name, "*.") && parent(want) == name[2:] {
		return true
	}
	labels := strings.Split(name, ".")
	return len(labels) == 4 && strings.HasSuffix(name, ".cluster.local") && labels[1] == namespaceOf(want)
}

// parent returns a name without its first label.
func parent(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	return rest
}

// namespaceOf returns the namespace of a server name that names a Kubernetes service, or a service of Consul
// ("web.default.dc1.internal.TRUSTDOMAIN.consul"). It returns "" for other names.
func namespaceOf(want string) string {
	labels := strings.Split(serviceName(want, ""), ".")
	switch {
	case len(labels) == 2 && strings.Contains(want, ".svc"):
		return labels[1]
	case len(labels) >= 5 && strings.HasSuffix(want, ".consul") && slices.Contains(labels, "internal"):
		return labels[1]
	}
	return ""
}

func mismatchWords(j *verdict.Judged) breach {
	c := j.TLS.Server
	shown := string(appendName(nil, c.AlternativeNames[0]))
	if len(c.AlternativeNames) > 1 {
		shown += " and others"
	}
	return breach{
		"spoke", versionOf(j.TLS) + " with the certificate of another server",
		"; the client asked for " + string(appendName(nil, j.TLS.ServerName)) + ", and the certificate is of " + shown,
	}
}

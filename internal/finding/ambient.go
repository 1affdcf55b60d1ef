package finding

import "github.com/meshtls-tap/meshtls-tap/internal/verdict"

// Values of meshtls.enrolled: how it is known that the tapped end of a connection takes
// part in an ambient mesh. Empty: it is not known, which is not "no".
const (
	enrolledDeclared = "declared" // by the pod's labels, as the webhook read them (Identity.Ambient)
	enrolledSeen     = "seen"     // mutual TLS that looks like HBONE began or ended at the pod itself
)

// meshAmbient is meshtls.mesh of HBONE.
const meshAmbient = "istio_ambient"

// enrolled returns how it is known that the tapped end of j is in an ambient mesh. Words
// and the expectation follow from it, and neither silences a finding.
func (p *policy) enrolled(j *verdict.Judged) string {
	if j.Scope == verdict.ScopePod || j.Direction == "" {
		return ""
	}
	if p.ambient != "" {
		return enrolledDeclared
	}
	ends, n := p.tapped(j)
	for _, a := range ends[:n] {
		if _, ok := p.hbone[a]; ok {
			return enrolledSeen
		}
	}
	return ""
}

// enroll remembers that the tapped end of j speaks HBONE. It is called for established
// mutual TLS of a mesh on the wire, of which one end is the pod's own: what passes between
// other hosts enrolls nobody, and neither does a capture that does not know which end is
// the pod's. A pod with a sidecar is not enrolled, since sidecars can speak HBONE too.
func (p *policy) enroll(j *verdict.Judged) {
	if j.Mesh != meshAmbient || j.Direction == "" || p.sidecar {
		return
	}
	ends, n := p.tapped(j)
	for _, a := range ends[:n] {
		if len(p.hbone) < maxMeshAddrs {
			p.hbone[a] = struct{}{}
		}
	}
}

// unprotected says in a sentence that plaintext of an enrolled pod is how enrollment fails:
// empty, or a clause that begins with a semicolon. It is empty where nothing better is
// expected: ambient leaves the kubelet's probes and link-local addresses alone by design.
func (p *policy) unprotected(j *verdict.Judged, x Expect) string {
	if j.Verdict != verdict.Plaintext || x != ExpectMTLS && x != ExpectTLS {
		return ""
	}
	how := map[string]string{verdict.DirectionEgress: "left", verdict.DirectionIngress: "arrived"}[j.Direction]
	switch p.enrolled(j) {
	case enrolledDeclared:
		return "; the pod is enrolled in ambient, but this connection " + how + " in plaintext"
	case enrolledSeen:
		return "; the pod speaks HBONE of an ambient mesh, but this connection " + how + " in plaintext"
	}
	return ""
}

// perhapsOwn says in a sentence that plaintext to a broker may be the tap's own: empty, or a
// clause that begins with a semicolon.
func perhapsOwn(j *verdict.Judged) string {
	if j.Verdict != verdict.Plaintext || j.Claimed != "tap" {
		return ""
	}
	return "; a proxy in the pod takes the tap's own connections to this broker, so this may be one of them: TAP_KAFKA_TLS encrypts them"
}

package finding

import "github.com/meshtls-tap/meshtls-tap/internal/verdict"

// Values of meshtls.enrolled: the evidence that the tapped end of a connection takes part in
// an ambient mesh. Empty means unknown, not "no".
const (
	enrolledDeclared = "declared" // the pod's labels declare it, as the webhook read them (Identity.Ambient)
	enrolledSeen     = "seen"     // mutual TLS that looks like HBONE began or ended at the pod itself
)

// meshAmbient is the value of meshtls.mesh for HBONE.
const meshAmbient = "istio_ambient"

// enrolled returns the evidence that the tapped end of j is in an ambient mesh. The evidence affects the
// text of findings and the expectation, and never suppresses a finding.
func (p *policy) enrolled(j *verdict.Judged) string {
	if j.Scope == verdict.ScopePod || j.Direction == "" {
		return ""
	}
	if p.ambient != "" {
		return enrolledDeclared
	}
	ends, n := p.tapped(j)
	for _, a := range ends[:n] {
		if _, ok := p.hboneAddrs[a]; ok {
			return enrolledSeen
		}
	}
	return ""
}

// enroll records that the tapped end of j speaks HBONE. It is called for established mutual TLS of
// a mesh on the wire, if the pod is one end. It enrolls no pod for a connection between other
// hosts, or if the capture does not show which end is the pod. Nor does it enroll a pod with a
// sidecar, because sidecars can speak HBONE too.
func (p *policy) enroll(j *verdict.Judged) {
	if j.Mesh != meshAmbient || j.Direction == "" || p.sidecar {
		return
	}
	ends, n := p.tapped(j)
	for _, a := range ends[:n] {
		if len(p.hboneAddrs) < maxMeshAddrs {
			p.hboneAddrs[a] = struct{}{}
		}
	}
}

// unprotected returns a clause for the message of a finding: the pod is enrolled, but the
// connection is plaintext. The clause starts with a semicolon. It is empty if no TLS is expected,
// because an ambient mesh does not encrypt the kubelet's probes and link-local traffic by design.
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

// perhapsOwn returns a clause for the message of a finding: plaintext to a broker may be the tap's
// own. The clause starts with a semicolon. It is empty for other connections.
func perhapsOwn(j *verdict.Judged) string {
	if j.Verdict != verdict.Plaintext || j.Claimed != "tap" {
		return ""
	}
	return "; a proxy in the pod takes the tap's own connections to this broker, so this may be one of them: TAP_KAFKA_TLS encrypts them"
}

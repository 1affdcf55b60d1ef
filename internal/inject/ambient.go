package inject

// Labels and annotations that enroll a pod in an ambient mesh. istio-cni reads Istio's (istio/istio
// cni/pkg/util/podutil.go, PodRedirectionEnabled). Cilium reads Cilium's (cilium/cilium
// Documentation/security/network/encryption-ztunnel.rst).
const (
	labelDataplane        = "istio.io/dataplane-mode"      // "ambient" on a namespace or pod enrolls pods; "none" on a pod excludes it
	annotationSidecar     = "sidecar.istio.io/status"      // Istio's injector writes it; a pod with a sidecar is not redirected
	annotationRedirection = "ambient.istio.io/redirection" // istio-cni writes it when it redirects the pod
	labelCilium           = "io.cilium/mtls-enabled"       // on a namespace
)

// Values of TAP_AMBIENT.
const (
	ambientIstio  = "istio"
	ambientCilium = "cilium"
)

// ztunnelPorts are the ports at which ztunnel listens in the network of a pod (istio/ztunnel
// ARCHITECTURE.md; 15053 is for DNS, istio/istio cni/pkg/config). No container of the pod declares
// them.
var ztunnelPorts = []int{15001, 15006, 15008, 15053, 15080}

// ambient returns the ambient mesh that enrolls the pod when the pod is created, or "". The labels of the pod and its
// namespace decide. istio-cni redirects an enrolled pod before its first container starts. istio-cni also redirects a
// pod that gets the label later, but the webhook does not see such a change.
func (p *pod) ambient(ns *Namespace) string {
	if p.Spec.HostNetwork { // a mesh does not redirect the node's network
		return ""
	}
	if p.redirected(ns) {
		return ambientIstio
	}
	if ns.Labels[labelCilium] == "true" {
		return ambientCilium
	}
	return ""
}

// redirected reports whether istio-cni redirects the pod.
func (p *pod) redirected(ns *Namespace) bool {
	_, sidecar := p.Metadata.Annotations[annotationSidecar]
	if proxy, _ := p.proxy(ns); sidecar || proxy == "istio" {
		return false
	}
	if p.Metadata.Labels[labelDataplane] == "none" {
		return false
	}
	return p.Metadata.Labels[labelDataplane] == "ambient" || ns.Labels[labelDataplane] == "ambient" || p.Metadata.Annotations[annotationRedirection] == "enabled"
}

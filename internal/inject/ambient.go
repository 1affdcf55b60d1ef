package inject

// Labels and annotations by which a pod is in an ambient mesh, as istio-cni reads them
// (istio/istio cni/pkg/util/podutil.go, PodRedirectionEnabled) and as Cilium does
// (cilium/cilium Documentation/security/network/encryption-ztunnel.rst).
const (
	labelDataplane        = "istio.io/dataplane-mode"      // of the namespace or the pod: ambient; of the pod also none
	annotationSidecar     = "sidecar.istio.io/status"      // written by Istio's injector: a pod with a sidecar is not redirected
	annotationRedirection = "ambient.istio.io/redirection" // written by istio-cni once it redirects the pod
	labelCilium           = "io.cilium/mtls-enabled"       // of the namespace
)

// Values of TAP_AMBIENT.
const (
	ambientIstio  = "istio"
	ambientCilium = "cilium"
)

// ztunnelPorts are those at which ztunnel listens in the network of a pod (istio/ztunnel
// ARCHITECTURE.md; 15053 is for DNS, istio/istio cni/pkg/config). Nothing in the pod declares
// them.
var ztunnelPorts = []int{15001, 15006, 15008, 15053, 15080}

// ambient returns the ambient mesh that the pod will be in, by what its labels ask for when it
// is created, or "". Neither mesh has to be asked to redirect the pod before the tap starts:
// istio-cni does so before the first container, and again later where the label comes later,
// which the webhook does not see.
func (p *pod) ambient(ns *Namespace) string {
	if p.Spec.HostNetwork { // neither enters the node's network
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

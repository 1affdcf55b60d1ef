package attach

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// pageSize is the number of objects that are requested at once.
const pageSize = 500

// Inventory returns the pods, services and nodes of the cluster. If the user may not list those of the whole cluster, it lists those of the namespace,
// and a note says what is missing. namespace limits what reports are about; empty means all namespaces. taps has the taps of the listed pods, with
// those that have ended. The error says that not even the pods of the namespace can be listed.
func (c *Client) Inventory(ctx context.Context, namespace string, now time.Time) (inv topology.Inventory, taps []Tap, err error) {
	l := &lister{Client: c, namespace: namespace, complete: true}
	inv.Namespace = namespace
	pods, err := list(ctx, l, "pods", func(ns string, o metav1.ListOptions) ([]corev1.Pod, string, error) {
		x, err := c.Kube.CoreV1().Pods(ns).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return x.Items, x.Continue, nil
	})
	if err != nil {
		return inv, nil, err
	}
	for i := range pods {
		taps = append(taps, Taps(&pods[i])...)
	}
	services, err := list(ctx, l, "services", func(ns string, o metav1.ListOptions) ([]corev1.Service, string, error) {
		x, err := c.Kube.CoreV1().Services(ns).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return x.Items, x.Continue, nil
	})
	l.note(err, "services", "so a service's address has no name")
	slicesOf, err := list(ctx, l, "endpointslices.discovery.k8s.io", func(ns string, o metav1.ListOptions) ([]discoveryv1.EndpointSlice, string, error) {
		x, err := c.Kube.DiscoveryV1().EndpointSlices(ns).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return x.Items, x.Continue, nil
	})
	l.note(err, "endpointslices", "so the pods of services are not known")
	l.clusterOnly = true
	nodes, err := list(ctx, l, "nodes", func(_ string, o metav1.ListOptions) ([]corev1.Node, string, error) {
		x, err := c.Kube.CoreV1().Nodes().List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return x.Items, x.Continue, nil
	})
	l.note(err, "nodes", "so a node's address has no name")
	namespaces, err := list(ctx, l, "namespaces", func(_ string, o metav1.ListOptions) ([]corev1.Namespace, string, error) {
		x, err := c.Kube.CoreV1().Namespaces().List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return x.Items, x.Continue, nil
	})
	l.note(err, "namespaces", "so the enrollment in a mesh by a namespace's labels is not known")
	inv.Pods, err = podsOf(pods, namespaces, now)
	if err != nil {
		return inv, nil, err
	}
	inv.Services, inv.Nodes = servicesOf(services, slicesOf, inv.Pods), nodesOf(nodes)
	inv.Complete, inv.Notes = l.complete, l.notes
	return inv, taps, ctx.Err()
}

// lister lists objects, of the whole cluster if it may.
type lister struct {
	*Client
	namespace   string
	clusterOnly bool // the objects have no namespace
	complete    bool
	notes       []string
}

func (l *lister) note(err error, what, consequence string) {
	if err != nil {
		l.complete = false
		l.notes = append(l.notes, fmt.Sprintf("The %s could not be listed (%s), %s.", what, reasonOf(err), consequence))
	}
}

// reasonOf returns the reason of a refusal in a few words, otherwise the error.
func reasonOf(err error) string {
	if apierrors.IsForbidden(err) {
		return "no right to list them"
	}
	return err.Error()
}

// list returns all objects of a kind, page by page.
func list[T any](ctx context.Context, l *lister, resource string, page func(ns string, o metav1.ListOptions) ([]T, string, error)) ([]T, error) {
	all, err := pages(ctx, metav1.NamespaceAll, page)
	if err == nil || l.clusterOnly || l.namespace == "" || !apierrors.IsForbidden(err) {
		return all, Explain(err, "list", resource, l.namespace)
	}
	l.complete = false
	if all, err = pages(ctx, l.namespace, page); err != nil {
		return nil, Explain(err, "list", resource, l.namespace)
	}
	l.notes = append(l.notes, fmt.Sprintf("Only the %s of namespace %s could be listed (no right for the others): other ends have no name unless their tap gives it.", resource, l.namespace))
	return all, nil
}

func pages[T any](ctx context.Context, ns string, page func(ns string, o metav1.ListOptions) ([]T, string, error)) (all []T, err error) {
	o := metav1.ListOptions{Limit: pageSize}
	for restarted := false; ; {
		items, next, err := page(ns, o)
		switch {
		case apierrors.IsResourceExpired(err) && !restarted: // the pages are of one state of the cluster, which the server has forgotten
			restarted, all, o = true, nil, metav1.ListOptions{}
			continue
		case err != nil:
			return nil, err
		}
		all = append(all, items...)
		if o.Continue = next; next == "" || ctx.Err() != nil {
			return all, ctx.Err()
		}
	}
}

// podsOf returns the pods that have not ended.
func podsOf(pods []corev1.Pod, namespaces []corev1.Namespace, now time.Time) ([]topology.Pod, error) {
	spaces := map[string]*inject.Namespace{}
	for i := range namespaces {
		n := &namespaces[i]
		spaces[n.Name] = &inject.Namespace{Name: n.Name, Labels: n.Labels, Annotations: n.Annotations}
	}
	var out []topology.Pod
	for i := range pods {
		p := &pods[i]
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		ns := spaces[p.Namespace]
		if ns == nil {
			ns = &inject.Namespace{Name: p.Namespace}
		}
		x, err := podOf(p, ns, now)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

func podOf(p *corev1.Pod, ns *inject.Namespace, now time.Time) (topology.Pod, error) {
	out := topology.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Labels: p.Labels, HostNetwork: p.Spec.HostNetwork,
		Workload: topology.Workload{Namespace: p.Namespace, Kind: "Pod", Name: p.Name},
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return out, fmt.Errorf("pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	facts, err := inject.PodFacts(ns, raw, now)
	if err != nil {
		return out, fmt.Errorf("pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	if facts.WorkloadName != "" {
		out.Workload.Kind, out.Workload.Name = facts.WorkloadKind, facts.WorkloadName
	}
	out.Mesh, out.Skip = facts.Mesh, facts.Skip
	for _, a := range p.Status.PodIPs {
		out.Addresses = appendAddr(out.Addresses, a.IP)
	}
	if len(out.Addresses) == 0 {
		out.Addresses = appendAddr(nil, p.Status.PodIP)
	}
	if p.Status.StartTime != nil {
		out.Started = p.Status.StartTime.Time
	}
	out.Tapped, out.Untapped = tapped(p, now)
	for i := range p.Spec.Containers {
		for _, port := range p.Spec.Containers[i].Ports {
			if n := port.ContainerPort; n > 0 && n < 1<<16 && (port.Protocol == corev1.ProtocolTCP || port.Protocol == "") && !isProxy(p.Spec.Containers[i].Name) {
				out.Ports = append(out.Ports, uint16(n))
			}
		}
	}
	slices.Sort(out.Ports)
	out.Ports = slices.Compact(out.Ports)
	out.Probes = probes(p)
	return out, nil
}

// isProxy reports whether a container is the proxy of a mesh or the tap, whose ports are none of the workload's.
func isProxy(name string) bool {
	return name == "istio-proxy" || name == "linkerd-proxy" || name == "envoy-sidecar" || name == "kuma-sidecar" || strings.HasPrefix(name, "consul-dataplane") || name == inject.Name
}

// probes returns the ports that the kubelet probes, sorted.
func probes(p *corev1.Pod) []uint16 {
	var out []uint16
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
			if probe == nil {
				continue
			}
			name, n := "", int32(0)
			switch {
			case probe.HTTPGet != nil:
				name, n = probe.HTTPGet.Port.StrVal, probe.HTTPGet.Port.IntVal
			case probe.TCPSocket != nil:
				name, n = probe.TCPSocket.Port.StrVal, probe.TCPSocket.Port.IntVal
			case probe.GRPC != nil:
				n = probe.GRPC.Port
			}
			for _, port := range c.Ports {
				if name != "" && port.Name == name {
					n = port.ContainerPort
				}
			}
			if n > 0 && n < 1<<16 {
				out = append(out, uint16(n))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tapped reports whether a tap captures in a pod, or why none does.
func tapped(p *corev1.Pod, now time.Time) (yes bool, why string) {
	why = "no tap runs in it"
	for _, t := range Taps(p) {
		switch {
		case t.Program != ProgramRun:
		case t.State == Running && t.Over(now):
			why = "the time of its tap is over"
		case t.State == Running:
			return true, ""
		case t.State == Terminated:
			why = "its tap has ended"
		default:
			why = "its tap has not started"
			if t.Reason != "" {
				why += " (" + t.Reason + ")"
			}
		}
	}
	return false, why
}

func appendAddr(list []netip.Addr, text string) []netip.Addr {
	if a, err := netip.ParseAddr(text); err == nil {
		list = append(list, a)
	}
	return list
}

// servicesOf returns the services with the workloads of their endpoints.
func servicesOf(services []corev1.Service, endpoints []discoveryv1.EndpointSlice, pods []topology.Pod) []topology.Service {
	byUID := map[string]*topology.Pod{}
	for i := range pods {
		byUID[pods[i].UID] = &pods[i]
	}
	of := map[string][]*discoveryv1.EndpointSlice{}
	for i := range endpoints {
		s := &endpoints[i]
		k := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
		of[k] = append(of[k], s)
	}
	var out []topology.Service
	for i := range services {
		s := &services[i]
		x := topology.Service{Namespace: s.Namespace, Name: s.Name}
		for _, text := range slices.Concat(s.Spec.ClusterIPs, []string{s.Spec.ClusterIP}, s.Spec.ExternalIPs, balancers(s)) {
			if a, err := netip.ParseAddr(text); err == nil && !slices.Contains(x.Addresses, a) {
				x.Addresses = append(x.Addresses, a)
			}
		}
		x.Ports = targetPorts(s, of[s.Namespace+"/"+s.Name])
		for _, slice := range of[s.Namespace+"/"+s.Name] {
			for _, e := range slice.Endpoints {
				var p *topology.Pod
				if e.TargetRef != nil {
					p = byUID[string(e.TargetRef.UID)]
				}
				x.Others = x.Others || p == nil
				if p != nil && !slices.ContainsFunc(x.Workloads, func(w topology.Workload) bool { return w.Kind == p.Workload.Kind && w.Name == p.Workload.Name }) {
					x.Workloads = append(x.Workloads, p.Workload)
				}
			}
		}
		slices.SortFunc(x.Workloads, func(a, b topology.Workload) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
		})
		out = append(out, x)
	}
	return out
}

func balancers(s *corev1.Service) (out []string) {
	for _, b := range s.Status.LoadBalancer.Ingress {
		out = append(out, b.IP)
	}
	return out
}

// targetPorts maps a service's TCP ports to those of its pods. A port whose pods differ is left out.
func targetPorts(s *corev1.Service, endpoints []*discoveryv1.EndpointSlice) map[uint16]uint16 {
	out := map[uint16]uint16{}
	for _, p := range s.Spec.Ports {
		if p.Protocol != corev1.ProtocolTCP && p.Protocol != "" || p.Port <= 0 || p.Port >= 1<<16 {
			continue
		}
		var targets []int32
		for _, e := range endpoints {
			for _, t := range e.Ports {
				if t.Port != nil && t.Name != nil && *t.Name == p.Name && !slices.Contains(targets, *t.Port) {
					targets = append(targets, *t.Port)
				}
			}
		}
		if len(targets) == 0 && p.TargetPort.IntVal > 0 {
			targets = []int32{p.TargetPort.IntVal}
		}
		if len(targets) == 1 && targets[0] > 0 && targets[0] < 1<<16 {
			out[uint16(p.Port)] = uint16(targets[0])
		}
	}
	return out
}

func nodesOf(nodes []corev1.Node) []topology.Node {
	var out []topology.Node
	for i := range nodes {
		n := topology.Node{Name: nodes[i].Name}
		for _, a := range nodes[i].Status.Addresses {
			n.Addresses = appendAddr(n.Addresses, a.Address)
		}
		out = append(out, n)
	}
	return out
}

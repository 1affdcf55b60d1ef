package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
)

// ends are both ends of the connection that is verified.
type ends struct {
	from    corev1.Pod
	to      string       // NAMESPACE/NAME of what the user named
	servers []corev1.Pod // those that are ready
	service []netip.Addr // addresses of the service
	ports   []uint16     // the port that the client connects to first, then the pods' port
	targets []string     // HOST:PORT of the request, the best first
	notes   []string
}

// pods returns the pods of both ends, each once.
func (e *ends) pods() []corev1.Pod {
	all := []corev1.Pod{e.from}
	for i := range e.servers {
		if e.servers[i].UID != e.from.UID {
			all = append(all, e.servers[i])
		}
	}
	return all
}

// reference is a resource that the user named.
type reference struct{ namespace, kind, name string }

// kindNames are the types that may precede a name. An unknown first word is a namespace.
var kindNames = []string{
	"po", "pod", "pods", "deploy", "deployment", "deployments", "deployment.apps", "sts", "statefulset", "statefulsets", "statefulset.apps", "ds", "daemonset", "daemonsets",
	"daemonset.apps", "rs", "replicaset", "replicasets", "replicaset.apps", "job", "jobs", "job.batch", "cj", "cronjob", "cronjobs", "cronjob.batch", "svc", "service", "services",
}

// parseReference parses POD, TYPE/NAME, NAMESPACE/POD or NAMESPACE/TYPE/NAME.
func parseReference(text, namespace string) (reference, error) {
	parts := strings.Split(text, "/")
	if slices.Contains(parts, "") || len(parts) > 3 {
		return reference{}, usageErrorf("%q: expected POD, TYPE/NAME, NAMESPACE/POD or NAMESPACE/TYPE/NAME", text)
	}
	switch {
	case len(parts) == 1:
		return reference{namespace, "", parts[0]}, nil
	case len(parts) == 3:
		return reference{parts[0], parts[1], parts[2]}, nil
	case slices.Contains(kindNames, strings.ToLower(parts[0])):
		return reference{namespace, parts[0], parts[1]}, nil
	}
	return reference{parts[0], "", parts[1]}, nil
}

func (r *reference) isService() bool {
	return slices.Contains([]string{"svc", "service", "services"}, strings.ToLower(r.kind))
}

// resolveEnds finds the pods of both ends and the target of the request. port is 0 if the user named none.
func (o *options) resolveEnds(ctx context.Context, client kubernetes.Interface, from, to string, port uint16) (*ends, error) {
	ns, err := o.namespace()
	if err != nil {
		return nil, err
	}
	f, err := parseReference(from, ns)
	if err != nil {
		return nil, err
	}
	t, err := parseReference(to, ns)
	if err != nil {
		return nil, err
	}
	if f.isService() {
		return nil, usageErrorf("FROM %s: a service opens no connections: expected a pod or the TYPE/NAME of a workload", from)
	}
	clients, err := o.readyPods(ctx, client, &f)
	if err != nil {
		return nil, err
	}
	e := &ends{from: clients[0], to: t.namespace + "/" + t.name}
	if n := len(clients); n > 1 {
		e.notes = append(e.notes, fmt.Sprintf("The client is %s/%s, one of the %s of %s.", f.namespace, e.from.Name, plural(n, "pod"), from))
	}
	service, err := o.resolveServer(ctx, client, e, &t, port)
	if err != nil {
		return nil, err
	}
	if service != nil {
		err = e.useService(service, port)
	} else {
		err = e.usePod(port)
	}
	return e, err
}

// readyPods returns the ready pods of a reference, at least one.
func (o *options) readyPods(ctx context.Context, client kubernetes.Interface, r *reference) ([]corev1.Pod, error) {
	name := r.name
	if r.kind != "" {
		name = r.kind + "/" + r.name
	}
	all, err := o.named(ctx, client, r.namespace, []string{name})
	if err != nil {
		return nil, err
	}
	return readyOf(all, r)
}

// readyOf returns those of the pods of a reference that are ready, at least one, sorted by name.
func readyOf(all []corev1.Pod, r *reference) ([]corev1.Pod, error) {
	ready := slices.DeleteFunc(all, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil || !isReady(&p) })
	if len(ready) == 0 {
		return nil, fmt.Errorf("%s in namespace %s has no pod that is ready: check the name, or wait until a pod is ready", r.name, r.namespace)
	}
	slices.SortFunc(ready, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return ready, nil
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// resolveServer finds the server's pods, and the service through which the client reaches them, if there is one. A name without a type is a
// pod, or else a service. A workload is reached through a service that selects its pods, because a mesh may treat the addresses of pods
// otherwise than the application's target.
func (o *options) resolveServer(ctx context.Context, client kubernetes.Interface, e *ends, t *reference, port uint16) (service *corev1.Service, err error) {
	if t.kind == "" {
		e.servers, err = o.readyPods(ctx, client, t)
		if !apierrors.IsNotFound(err) {
			return nil, err
		}
		pod := err
		service, err = client.CoreV1().Services(t.namespace).Get(ctx, t.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, errors.Join(pod, err)
		}
	} else if t.isService() {
		service, err = client.CoreV1().Services(t.namespace).Get(ctx, t.name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, attach.Explain(err, "get", "services", t.namespace)
	}
	if service != nil {
		pods, err := podsOf(ctx, client, service, t.namespace)
		if err == nil {
			e.servers, err = readyOf(pods, t)
		}
		return service, err
	}
	if e.servers, err = o.readyPods(ctx, client, t); err != nil {
		return nil, err
	}
	if slices.Contains([]string{"po", "pod", "pods"}, strings.ToLower(t.kind)) {
		return nil, nil
	}
	list, err := client.CoreV1().Services(t.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		e.notes = append(e.notes, fmt.Sprintf("The services of namespace %s cannot be listed, so the request goes to the address of a pod, which a mesh may treat differently from a service.", t.namespace))
		return nil, nil
	}
	for i := range list.Items {
		s := &list.Items[i]
		if len(s.Spec.Selector) == 0 || !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(e.servers[0].Labels)) {
			continue
		}
		if _, err := servicePort(s, port, &e.servers[0]); err == nil {
			e.notes = append(e.notes, fmt.Sprintf("The request goes to service %s/%s, which selects the pods.", s.Namespace, s.Name))
			return s, nil
		}
	}
	return nil, nil
}

// useService sets the target to a service.
func (e *ends) useService(s *corev1.Service, port uint16) error {
	p, err := servicePort(s, port, &e.servers[0])
	if err != nil {
		return err
	}
	number := uint16(p.Port)
	e.ports = []uint16{number}
	for i := range e.servers { // a name may stand for another number in each pod
		if target := targetPort(p, &e.servers[i]); !slices.Contains(e.ports, target) {
			e.ports = append(e.ports, target)
		}
	}
	e.targets = []string{net.JoinHostPort(s.Name+"."+s.Namespace, strconv.Itoa(int(number)))}
	for _, text := range s.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(text); err == nil {
			e.service = append(e.service, a.Unmap())
			e.targets = append(e.targets, netip.AddrPortFrom(a, number).String())
		}
	}
	return nil
}

// servicePort returns the port of a service that a number means: its port, or the target port of one; for 0 its only one.
func servicePort(s *corev1.Service, port uint16, pod *corev1.Pod) (*corev1.ServicePort, error) {
	var numbers []string
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.Protocol != corev1.ProtocolTCP && p.Protocol != "" {
			continue
		}
		if port == uint16(p.Port) || port == targetPort(p, pod) || port == 0 && len(s.Spec.Ports) == 1 {
			return p, nil
		}
		numbers = append(numbers, strconv.Itoa(int(p.Port)))
	}
	what := fmt.Sprintf("--port %d", port)
	if port == 0 {
		what = "--port is required"
	}
	return nil, usageErrorf("%s: service %s/%s: expected one of its TCP ports: %s", what, s.Namespace, s.Name, cmp.Or(strings.Join(numbers, ", "), "it has none"))
}

// targetPort returns the port of a pod that a port of a service stands for.
func targetPort(p *corev1.ServicePort, pod *corev1.Pod) uint16 {
	if p.TargetPort.Type == intstr.Int {
		if n := p.TargetPort.IntVal; n != 0 {
			return uint16(n)
		}
		return uint16(p.Port)
	}
	for _, containers := range [...][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range containers {
			for _, c := range containers[i].Ports {
				if c.Name == p.TargetPort.StrVal && (c.Protocol == p.Protocol || c.Protocol == "" || p.Protocol == "") {
					return uint16(c.ContainerPort)
				}
			}
		}
	}
	return uint16(p.Port)
}

// proxies are the names of containers of meshes, whose ports are not the application's.
var proxies = []string{"istio-proxy", "linkerd-proxy", "envoy", "kuma-sidecar", "consul-dataplane"}

// usePod sets the target to the first pod.
func (e *ends) usePod(port uint16) error {
	e.servers = e.servers[:1]
	pod := &e.servers[0]
	if port == 0 {
		var declared []uint16
		for i := range pod.Spec.Containers {
			for _, p := range pod.Spec.Containers[i].Ports {
				if p.Protocol == corev1.ProtocolTCP && !slices.Contains(proxies, pod.Spec.Containers[i].Name) {
					declared = append(declared, uint16(p.ContainerPort))
				}
			}
		}
		if len(declared) != 1 {
			return usageErrorf("--port is required: expected the port of pod %s/%s, which declares %s", pod.Namespace, pod.Name, cmp.Or(strings.ReplaceAll(strings.Trim(fmt.Sprint(declared), "[]"), " ", ", "), "none"))
		}
		port = declared[0]
	}
	e.ports = []uint16{port}
	addresses := addressesOf(pod)
	if len(addresses) == 0 {
		return fmt.Errorf("pod %s/%s has no address: wait until it runs", pod.Namespace, pod.Name)
	}
	e.targets = []string{netip.AddrPortFrom(addresses[0], port).String()}
	return nil
}

func addressesOf(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

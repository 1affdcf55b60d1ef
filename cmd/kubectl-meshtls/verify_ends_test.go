package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes/fake"
)

func TestParseReference(t *testing.T) {
	for text, want := range map[string]reference{
		"web":               {"here", "", "web"},
		"deploy/web":        {"here", "deploy", "web"},
		"SVC/web":           {"here", "SVC", "web"},
		"shop/web-1":        {"shop", "", "web-1"},
		"shop/svc/checkout": {"shop", "svc", "checkout"},
	} {
		if got, err := parseReference(text, "here"); got != want || err != nil {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "/web", "shop/", "a/b/c/d", "shop//web"} {
		if got, err := parseReference(text, "here"); exitStatus(err) != exitUsage {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
}

// serverPod returns a ready pod with an application's port and a proxy's.
func serverPod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "checkout"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "app", Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}},
			{Name: "istio-proxy", Ports: []corev1.ContainerPort{{ContainerPort: 15090, Protocol: corev1.ProtocolTCP}}},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.1.0.9"}}, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func notReady(p *corev1.Pod) { p.Status.Conditions = nil }

func checkoutService(ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "checkout"}, ClusterIPs: []string{"10.96.0.20"}, Ports: ports},
	}
}

// TestResolveEnds: pods, ports and targets for what a user may name.
func TestResolveEnds(t *testing.T) {
	web := serverPod("web-1", func(p *corev1.Pod) { p.Labels, p.Status.PodIPs = nil, []corev1.PodIP{{IP: "10.1.0.4"}} })
	one := corev1.ServicePort{Port: 80, TargetPort: intstr.FromString("web"), Protocol: corev1.ProtocolTCP}
	two := corev1.ServicePort{Port: 81, TargetPort: intstr.FromInt32(9090)}
	for _, c := range []struct {
		name    string
		objects []runtime.Object
		to      string
		port    uint16
		want    string // servers, ports and targets, or a part of the error
	}{
		{"a pod", []runtime.Object{serverPod("checkout-1")}, "checkout-1", 0, "[checkout-1] [8080] [10.1.0.9:8080]"},
		{"a pod, another port", []runtime.Object{serverPod("checkout-1"), checkoutService(one)}, "pod/checkout-1", 9, "[checkout-1] [9] [10.1.0.9:9]"},
		{"a pod with IPv6", []runtime.Object{serverPod("checkout-1", func(p *corev1.Pod) { p.Status.PodIPs[0].IP = "fd00::9" })}, "checkout-1", 0, "[checkout-1] [8080] [[fd00::9]:8080]"},
		{"a service", []runtime.Object{serverPod("checkout-1"), serverPod("checkout-2"), serverPod("checkout-3", notReady), checkoutService(one)}, "svc/checkout", 0, "[checkout-1 checkout-2] [80 8080] [checkout.shop:80 10.96.0.20:80]"},
		{"a service whose pods give another number to the port's name", []runtime.Object{serverPod("checkout-1"), serverPod("checkout-2", func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 8081 }), checkoutService(one)}, "svc/checkout", 0, "[checkout-1 checkout-2] [80 8080 8081] [checkout.shop:80 10.96.0.20:80]"},
		{"a service without its type", []runtime.Object{serverPod("checkout-1"), checkoutService(one)}, "checkout", 0, "[checkout-1] [80 8080] [checkout.shop:80 10.96.0.20:80]"},
		{"a service by its target port", []runtime.Object{serverPod("checkout-1"), checkoutService(one, two)}, "checkout", 9090, "[checkout-1] [81 9090] [checkout.shop:81 10.96.0.20:81]"},
		{"a service with several ports", []runtime.Object{serverPod("checkout-1"), checkoutService(one, two)}, "checkout", 0, "expected one of its TCP ports: 80, 81"},
		{"a service without ready pods", []runtime.Object{serverPod("checkout-1", notReady), checkoutService(one)}, "checkout", 0, "no pod that is ready"},
		{"neither", nil, "checkout", 0, `pods "checkout" not found`},
		{"a pod with several ports", []runtime.Object{serverPod("checkout-1", func(p *corev1.Pod) { p.Spec.Containers[1].Name = "b" })}, "checkout-1", 0, "declares 8080, 15090"},
	} {
		client := fake.NewClientset(append(c.objects, web)...)
		ns := "shop"
		config := genericclioptions.NewConfigFlags(false)
		config.Namespace = &ns
		o := &options{config: config}
		e, err := o.resolveEnds(t.Context(), client, "web-1", c.to, c.port)
		got := fmt.Sprint(err)
		if err == nil {
			var names []string
			for _, p := range e.servers {
				names = append(names, p.Name)
			}
			got = fmt.Sprint(names, " ", e.ports, " ", e.targets)
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

// TestWorkloadByItsService: a workload is reached through a service that selects its pods.
func TestWorkloadByItsService(t *testing.T) {
	pod := serverPod("checkout-1")
	e := &ends{servers: []corev1.Pod{*pod}}
	if err := e.useService(checkoutService(corev1.ServicePort{Port: 80}), 80); err != nil || !slices.Equal(e.ports, []uint16{80}) {
		t.Errorf("%v %v", e.ports, err)
	}
	deployment := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "checkout"}}}}
	pods, err := podsOf(t.Context(), fake.NewClientset(pod), deployment, "shop")
	if err != nil || len(pods) != 1 {
		t.Errorf("%d pods, %v", len(pods), err)
	}
	var usage *statusError
	if err := e.usePod(0); err != nil && !errors.As(err, &usage) {
		t.Error(err)
	}
}

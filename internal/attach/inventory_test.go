package attach_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

var inventoryNow = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func inventoryPod(ns, name, ip string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func owned(kind, name string, labels map[string]string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: kind, Name: name, UID: "o", Controller: &yes}}
		p.Labels = labels
	}
}

func inventoryObjects() []runtime.Object {
	checkout := inventoryPod("shop", "checkout-7d9f-x", "10.0.0.1", func(p *corev1.Pod) {
		owned("ReplicaSet", "checkout-7d9f", map[string]string{"pod-template-hash": "7d9f"})(p)
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}, {ContainerPort: 9, Protocol: corev1.ProtocolUDP}}
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{}}}
		p.Spec.Containers[0].ReadinessProbe.HTTPGet.Port.StrVal = "web"
		p.Spec.Containers[0].ReadinessProbe.HTTPGet.Port.Type = 1
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: "proxy", Ports: []corev1.ContainerPort{{ContainerPort: 15090}}})
		p.Annotations = map[string]string{"traffic.sidecar.istio.io/excludeInboundPorts": "9000"}
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "meshtls-tap-1", Image: "meshtls-tap", Args: []string{"run"}}}}
		p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "meshtls-tap-1", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	})
	return []runtime.Object{
		checkout,
		inventoryPod("shop", "nightly-29406000-a", "10.0.0.2", owned("Job", fmt.Sprintf("nightly-%d", inventoryNow.Unix()/60), nil)),
		inventoryPod("mesh", "db-0", "10.0.0.3", owned("StatefulSet", "db", nil)),
		inventoryPod("shop", "bare", "10.0.0.4", nil),
		inventoryPod("kube-system", "proxy", "192.168.0.1", func(p *corev1.Pod) {
			owned("DaemonSet", "proxy", nil)(p)
			p.Spec.HostNetwork = true
		}),
		inventoryPod("shop", "done", "10.0.0.9", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "mesh", Labels: map[string]string{"istio.io/dataplane-mode": "ambient"}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"},
			Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "x", Port: 81}}},
		},
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout-1", Labels: map[string]string{discoveryv1.LabelServiceName: "checkout"}},
			Endpoints:  []discoveryv1.Endpoint{{TargetRef: &corev1.ObjectReference{UID: "uid-checkout-7d9f-x"}}, {}},
			Ports:      []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}},
		},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Address: "192.168.0.1"}, {Address: "n1"}}}},
	}
}

func TestInventory(t *testing.T) {
	c := &attach.Client{Kube: fake.NewClientset(inventoryObjects()...)}
	inv, taps, err := c.Inventory(context.Background(), "", inventoryNow)
	if err != nil || !inv.Complete || len(inv.Notes) > 0 || len(taps) != 1 {
		t.Fatalf("%v, %+v", err, inv)
	}
	var got []string
	for _, p := range inv.Pods {
		got = append(got, fmt.Sprint(p.Workload.String(), " ", p.Workload.Kind, " ", p.Addresses, p.HostNetwork, p.Tapped, " ", p.Mesh, p.Ports, p.Probes, p.Skip))
	}
	slices.Sort(got)
	want := []string{
		"kube-system/proxy DaemonSet [192.168.0.1] true false [] [] []",
		"mesh/db StatefulSet [10.0.0.3] false false istio_ambient[] [] []",
		"shop/bare Pod [10.0.0.4] false false [] [] []",
		"shop/checkout Deployment [10.0.0.1] false true istio[8080] [8080] [9000]",
		"shop/nightly CronJob [10.0.0.2] false false [] [] []",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		for i := range got {
			t.Errorf("%q", got[i])
		}
	}
	s := inv.Services[0]
	if !s.Others { // an endpoint without a pod
		t.Errorf("%+v", s)
	}
	if len(s.Workloads) != 1 || s.Workloads[0].Name != "checkout" || len(s.Ports) != 1 || s.Ports[80] != 8080 || !slices.Equal(s.Addresses, []netip.Addr{netip.MustParseAddr("10.96.0.1")}) {
		t.Errorf("%+v", s)
	}
	if len(inv.Nodes) != 1 || len(inv.Nodes[0].Addresses) != 1 {
		t.Errorf("%+v", inv.Nodes)
	}
	if text := topology.New(inv).Answer(); text != "Nothing is known: no tap has reported anything; 4 workloads are not tapped." {
		t.Error(text)
	}
}

// TestInventoryRights: without rights to the cluster the namespace is listed, and notes say what is missing.
func TestInventoryRights(t *testing.T) {
	kube := fake.NewClientset(inventoryObjects()...)
	refuse := func(resource string, all bool) {
		kube.PrependReactor("list", resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
			if all || a.GetNamespace() == "" {
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
			}
			return false, nil, nil
		})
	}
	refuse("pods", false)
	refuse("nodes", true)
	refuse("endpointslices", true)
	c := &attach.Client{Kube: kube}
	inv, _, err := c.Inventory(context.Background(), "shop", inventoryNow)
	if err != nil || inv.Complete || len(inv.Pods) != 3 {
		t.Fatalf("%v, %d pods", err, len(inv.Pods))
	}
	if notes := strings.Join(inv.Notes, "\n"); len(inv.Notes) != 3 || !strings.Contains(notes, "Only the pods of namespace shop") || !strings.Contains(notes, "The nodes could not be listed (no right to list them)") {
		t.Error(notes)
	}
	refuse("pods", true)
	if _, _, err := c.Inventory(context.Background(), "shop", inventoryNow); err == nil || !strings.Contains(err.Error(), `verb "list" on "pods" in namespace "shop"`) {
		t.Error(err)
	}
}

// TestInventoryPages: all pages are read; a list whose pages have expired starts again.
func TestInventoryPages(t *testing.T) {
	kube := fake.NewClientset()
	calls := 0
	kube.PrependReactor("list", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		calls++
		o := a.(clienttesting.ListActionImpl).ListOptions
		if calls == 2 {
			return true, nil, apierrors.NewResourceExpired("expired")
		}
		n := len(o.Continue)
		l := &corev1.PodList{Items: []corev1.Pod{*inventoryPod("a", fmt.Sprint("p", n), "10.0.0.1", nil)}}
		if n < 2 {
			l.Continue = o.Continue + "x"
		}
		return true, l, nil
	})
	c := &attach.Client{Kube: kube}
	if inv, _, err := c.Inventory(context.Background(), "", inventoryNow); err != nil || len(inv.Pods) != 3 || calls != 5 {
		t.Errorf("%v, %d pods in %d calls", err, len(inv.Pods), calls)
	}
}

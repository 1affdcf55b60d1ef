package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// workloads returns the Deployment of aPod and further workloads.
func workloads() []runtime.Object {
	yes := true
	return []runtime.Object{
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout"}},
		&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "checkout-1", OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "checkout", Controller: &yes}}}},
		&appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}, Spec: appsv1.StatefulSetSpec{UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}}},
	}
}

func ofDatabase(p *corev1.Pod) {
	yes := true
	p.Name, p.UID = "db-0", "db"
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "sts", Controller: &yes}}
}

// switched runs enable or disable with a fake cluster. It returns what was printed, and the kinds of objects that were changed.
func switched(t *testing.T, f *switchFlags, enable bool, objects ...runtime.Object) (client *fake.Clientset, stdout, stderr string, changed []string, err error) {
	t.Helper()
	client = fake.NewClientset(append(append(hookObjects(), workloads()...), objects...)...)
	streams, _, out, errs := genericiooptions.NewTestIOStreams()
	o := &options{IOStreams: streams}
	if f.dryRun == "" {
		f.dryRun = "none"
	}
	if enable {
		err = o.enable(t.Context(), client, "shop", f)
	} else {
		err = o.disable(t.Context(), client, "shop", f)
	}
	for _, a := range client.Actions() {
		if slices.Contains([]string{"patch", "create", "update", "delete"}, a.GetVerb()) {
			changed = append(changed, a.GetVerb()+" "+a.GetResource().Resource)
		}
	}
	return client, out.String(), errs.String(), changed, err
}

func TestEnable(t *testing.T) {
	plain := shop("until", "2020-01-01T00:00:00Z", "duration", "2h")
	plain.Labels = nil
	client, out, _, changed, err := switched(t, &switchFlags{restart: true}, true, plain, settings(map[string]string{"enabled": "false", "until": "2020-01-01T00:00:00Z"}),
		aPod(), aPod(ofDatabase), aPod(func(p *corev1.Pod) { p.Name, p.UID, p.Spec.HostNetwork = "host", "host", true }),
		aPod(func(p *corev1.Pod) { p.Name, p.UID, p.OwnerReferences = "alone", "alone", nil }))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"patch namespaces", "patch configmaps", "patch deployments"}; !slices.Equal(changed, want) {
		t.Errorf("changed %q, want %q", changed, want)
	}
	for _, part := range []string{
		"the previous meshtls-tap/until=2020-01-01T00:00:00Z is removed", "taps requested, without a time limit", "taps that were turned off resume",
		"deployment/checkout: restarted (1 pod)", "statefulset/db: not restarted (1 pod): its strategy is OnDelete", "pod/alone: not restarted (1 pod): it has no controller",
	} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is missing in\n%s", part, out)
		}
	}
	ns, err := client.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil || ns.Labels[inject.Label] != inject.Enabled || len(ns.Annotations) != 0 {
		t.Errorf("%v: labels %v, annotations %v", err, ns.Labels, ns.Annotations)
	}
	m, err := client.CoreV1().ConfigMaps("shop").Get(t.Context(), "meshtls-tap", metav1.GetOptions{})
	if err != nil || m.Data["enabled"] != "true" || m.Data["until"] != "" {
		t.Errorf("%v: %v", err, m.Data)
	}
	d, err := client.AppsV1().Deployments("shop").Get(t.Context(), "checkout", metav1.GetOptions{})
	if err != nil || d.Spec.Template.Annotations[restartedAt] == "" {
		t.Errorf("%v: %v", err, d.Spec.Template.Annotations)
	}
}

func TestEnableWithoutRestart(t *testing.T) {
	_, out, _, changed, err := switched(t, &switchFlags{}, true, shop(), aPod())
	if err != nil || !slices.Equal(changed, []string{"patch namespaces"}) || !strings.Contains(out, "1 running pod without a tap is not restarted; --restart would restart deployment/checkout") {
		t.Errorf("%v, %q, %s", err, changed, out)
	}
}

// TestEnableRefused: nothing is changed where no tap would come, or where it would not end.
func TestEnableRefused(t *testing.T) {
	for name, c := range map[string]struct {
		ns      string
		hook    []runtime.Object
		flags   switchFlags
		message string
	}{
		"system":            {"kube-system", hookObjects(), switchFlags{}, "never tapped"},
		"the webhook's":     {"meshtls-tap", hookObjects(), switchFlags{}, "never tapped"},
		"no end allowed":    {"shop", hookObjects(corev1.EnvVar{Name: "WEBHOOK_TENANT_MAY", Value: "enabled"}), switchFlags{lasts: time.Hour}, `tap.tenantMay in the chart lacks "until"`},
		"no webhook":        {"shop", nil, switchFlags{restart: true}, "a restart would not add taps"},
		"no such namespace": {"shoop", hookObjects(), switchFlags{}, `"shoop" not found`},
	} {
		client := fake.NewClientset(append(c.hook, shop(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "meshtls-tap"}})...)
		streams, _, _, _ := genericiooptions.NewTestIOStreams()
		c.flags.dryRun = "none"
		err := (&options{IOStreams: streams}).enable(t.Context(), client, c.ns, &c.flags)
		if err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v, want %q", name, err, c.message)
		}
		for _, a := range client.Actions() {
			if a.GetVerb() != "get" && a.GetVerb() != "list" {
				t.Errorf("%s: %s %s", name, a.GetVerb(), a.GetResource().Resource)
			}
		}
	}
}

// TestDisable: running taps are turned off before the label is removed, and stay off.
func TestDisable(t *testing.T) {
	client, out, _, changed, err := switched(t, &switchFlags{restart: true}, false, shop("until", "2026-12-01T00:00:00Z"), aPod(tappedPod(running())), aPod(ofDatabase))
	if want := []string{"patch configmaps", "create configmaps", "patch namespaces", "patch deployments"}; err != nil || !slices.Equal(changed, want) {
		t.Errorf("%v, changed %q, want %q", err, changed, want)
	}
	m, err := client.CoreV1().ConfigMaps("shop").Get(t.Context(), "meshtls-tap", metav1.GetOptions{})
	if err != nil || m.Data["enabled"] != "false" {
		t.Errorf("%v: %v", err, m.Data)
	}
	ns, err := client.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil || ns.Labels[inject.Label] != "" || len(ns.Annotations) != 0 {
		t.Errorf("%v: labels %v, annotations %v", err, ns.Labels, ns.Annotations)
	}
	if !strings.Contains(out, "deployment/checkout: restarted (1 pod)") || strings.Contains(out, "statefulset/db") {
		t.Error(out)
	}
}

// TestDisableIgnored: if the platform does not let namespaces turn taps off, disable does not claim that they end.
func TestDisableIgnored(t *testing.T) {
	client := fake.NewClientset(append(hookObjects(corev1.EnvVar{Name: "WEBHOOK_TENANT_MAY", Value: "until"}), append(workloads(), shop(), aPod(tappedPod(running())))...)...)
	streams, _, out, errs := genericiooptions.NewTestIOStreams()
	if err := (&options{IOStreams: streams}).disable(t.Context(), client, "shop", &switchFlags{dryRun: "none"}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(errs.String(), "only a restart ends them") || strings.Contains(out.String(), "stay off") || !strings.Contains(out.String(), "which running taps of namespace shop ignore") {
		t.Errorf("%s%s", errs, out)
	}
}

func TestDryRun(t *testing.T) {
	for _, enable := range []bool{true, false} {
		_, out, said, changed, err := switched(t, &switchFlags{dryRun: "client", restart: true, format: "yaml"}, enable, shop(), aPod(), aPod(ofDatabase, tappedPod(running())))
		if err != nil || changed != nil || !strings.Contains(out, "metadata:\n") || !strings.Contains(said, "(dry run)") || strings.Contains(out, "dry run") {
			t.Errorf("%v, changed %q\n%s\n%s", err, changed, out, said)
		}
	}
}

package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// hookObjects returns the objects of an installed webhook, with variables of its Deployment.
func hookObjects(env ...corev1.EnvVar) []runtime.Object {
	path := injectPath
	env = append(env, corev1.EnvVar{Name: "WEBHOOK_IMAGE", Value: "registry.example/meshtls-tap:1"})
	return []runtime.Object{
		&admissionv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "zz-meshtls-tap", CreationTimestamp: metav1.NewTime(noon.Add(-2 * time.Hour))},
			Webhooks: []admissionv1.MutatingWebhook{{
				Name: "zz" + webhookSuffix,
				ClientConfig: admissionv1.WebhookClientConfig{CABundle: []byte("ca"), Service: &admissionv1.ServiceReference{
					Namespace: "meshtls-tap", Name: "meshtls-tap", Path: &path,
				}},
			}},
		},
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "meshtls-tap", Name: "meshtls-tap"},
			Spec:       appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "webhook", Env: env}}}}},
		},
	}
}

// shop returns the namespace shop, with the label since an hour.
func shop(annotations ...string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "shop", Labels: map[string]string{inject.Label: inject.Enabled}, Annotations: map[string]string{},
		ManagedFields: []metav1.ManagedFieldsEntry{{
			Manager: "kubectl", Time: new(metav1.NewTime(noon.Add(-time.Hour))),
			FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:meshtls-tap":{}}}}`),
		}},
	}}
	for i := 0; i+1 < len(annotations); i += 2 {
		ns.Annotations[inject.Prefix+annotations[i]] = annotations[i+1]
	}
	return ns
}

func settings(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "meshtls-tap"}, Data: data}
}

// aPod returns a pod of the ReplicaSet checkout-1, half an hour old.
func aPod(change ...func(*corev1.Pod)) *corev1.Pod {
	yes := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "checkout-1-x", UID: "u", CreationTimestamp: metav1.NewTime(noon.Add(-30 * time.Minute)),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "checkout-1", UID: "rs", Controller: &yes}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

// tapped makes a pod one that the webhook has tapped.
func tappedPod(state corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Annotations = map[string]string{inject.Prefix + inject.AnnotationStatus: `{"version":"1","mode":"native","profile":"default","image":"registry.example/meshtls-tap:1","config":"x"}`}
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.InitContainers = []corev1.Container{{Name: inject.Name, Image: "registry.example/meshtls-tap:1", Args: []string{"run"}, RestartPolicy: &always}}
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: inject.Name, State: state}}
	}
}

func running() corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(noon)}}
}

// notTapped returns the webhook's Event about the pod of aPod.
func notTapped(reason inject.Reason, detail string) *corev1.Event {
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "e"}, Reason: inject.EventNotTapped, Message: fmt.Sprintf(inject.NotTappedNote, reason, detail),
		InvolvedObject: corev1.ObjectReference{Kind: "ReplicaSet", Name: "checkout-1", UID: "rs"}, EventTime: metav1.NewMicroTime(noon.Add(-30*time.Minute + time.Second)),
	}
}

func TestExplain(t *testing.T) {
	label := func(value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Labels = map[string]string{inject.Label: value} }
	}
	hook := hookObjects()
	all := func(objects ...runtime.Object) []runtime.Object { return append(objects, hook...) }
	unlabeled := shop()
	unlabeled.Labels = nil
	for name, c := range map[string]struct {
		objects []runtime.Object
		pod     *corev1.Pod
		answer  string
		reason  inject.Reason
		says    []string // facts and remedies
		tapped  bool
	}{
		"tapped":            {all(shop()), aPod(tappedPod(running())), "tapped", inject.ReasonAlready, []string{"profile default", "outdated"}, true},
		"tapped until":      {all(shop("until", "2026-11-30T14:00:00Z")), aPod(tappedPod(running())), "tapped until 2026-11-30T14:00:00Z", inject.ReasonAlready, nil, true},
		"over":              {all(shop("until", "2026-11-30T11:00:00Z")), aPod(tappedPod(running())), "it has a tap, whose time was up at 2026-11-30T11:00:00Z", inject.ReasonAlready, []string{"kubectl meshtls enable shop --for"}, false},
		"turned off":        {all(shop(), settings(map[string]string{"enabled": "false"})), aPod(tappedPod(running())), "it has a tap, which is turned off", inject.ReasonAlready, nil, false},
		"over by ConfigMap": {all(shop("duration", "1h"), settings(map[string]string{"enabled": "false", "until": "2026-11-30T11:00:00Z"})), aPod(), "not tapped: the time for which taps were requested is over", inject.ReasonExpired, nil, false},
		"image missing": {all(shop()), aPod(tappedPod(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}})), "it has a tap, which does not run",
			inject.ReasonAlready, []string{"meshtls-tap is waiting (ImagePullBackOff)", "kubectl describe pod checkout-1-x -n shop"}, false},
		"not asked":        {all(unlabeled), aPod(), "not tapped: neither its namespace nor the pod requests a tap", inject.ReasonNotAsked, []string{"kubectl meshtls enable shop"}, false},
		"its own label":    {all(unlabeled), aPod(label(inject.Enabled)), "not tapped: neither its namespace", inject.ReasonNotAsked, []string{"injection.podOptIn"}, false},
		"opted out":        {all(shop()), aPod(label(inject.Disabled)), "not tapped: its label meshtls-tap=disabled opts out", inject.ReasonOptedOut, nil, false},
		"host network":     {all(shop()), aPod(func(p *corev1.Pod) { p.Spec.HostNetwork = true }), "not tapped: it uses its node's network", inject.ReasonHostNetwork, nil, false},
		"off":              {all(shop(), settings(map[string]string{"enabled": "false"})), aPod(), "not tapped: the ConfigMap of its namespace turns taps off", inject.ReasonOff, nil, false},
		"foreign":          {all(shop()), aPod(func(p *corev1.Pod) { p.Spec.Containers[0].Name = inject.Name }), "not tapped: it has a container named meshtls-tap that is not the tap", inject.ReasonForeign, nil, false},
		"before the hook":  {all(shop()), aPod(func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(noon.Add(-3 * time.Hour)) }), "not tapped: it was created before the webhook was installed", "", []string{"enable shop --restart"}, false},
		"before the label": {all(shop()), aPod(func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(noon.Add(-90 * time.Minute)) }), "not tapped: it was created before its namespace got the label", "", nil, false},
		"missed":           {all(shop()), aPod(), "not tapped: it would get a tap if it were created now, so the webhook was not called", "", []string{"kubectl meshtls check -n shop"}, false},
		"no webhook":       {[]runtime.Object{shop()}, aPod(), "not tapped: its namespace requests taps, but no webhook of meshtls-tap is installed", "", []string{"Install the chart"}, false},
		"refused":          {all(shop(), notTapped(inject.ReasonRefused, "violates PodSecurity")), aPod(), "not tapped: Pod Security, a policy or another webhook refuses", inject.ReasonRefused, []string{"violates PodSecurity"}, false},
		"image unproven":   {all(shop(), notTapped(inject.ReasonImageUnproven, "image a")), aPod(), "not tapped: the webhook has not yet seen the tap's image run", inject.ReasonImageUnproven, nil, false},
		"quota":            {all(shop(), notTapped(inject.ReasonQuota, "5 more pods")), aPod(), "not tapped: a quota or a limit range has no room", inject.ReasonQuota, []string{"5 more pods"}, false},
		"another pod's Event": {all(shop(), notTapped(inject.ReasonQuota, "x")), aPod(func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(noon.Add(-10 * time.Minute)) }),
			"not tapped: it would get a tap if it were created now", "", nil, false},
		"no namespace": {all(), aPod(), "not tapped; the reason is not known, because its namespace could not be read", "", nil, false},
		"attached": {all(shop()), aPod(func(p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "meshtls-tap-1", Image: "r/meshtls-tap:1", Args: []string{"run"}}}}
			p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "meshtls-tap-1", State: running()}}
		}), "tapped by an attached tap; without that: not tapped", "", []string{"attached: meshtls-tap-1 has been running"}, true},
		"attached and ended": {all(shop()), aPod(func(p *corev1.Pod) {
			p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "meshtls-tap-1", Image: "r/meshtls-tap:1", Args: []string{"run"}}}}
			p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "meshtls-tap-1", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(noon)}}}}
		}), "not tapped: it would get a tap", "", []string{"meshtls-tap-1 has ended with status 0"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(c.objects...)
			install, err := readInstallation(t.Context(), client)
			if err != nil {
				t.Fatal(err)
			}
			e := &explainer{client: client, install: install, now: noon, states: map[string]*tapsState{}}
			x := e.explain(t.Context(), c.pod)
			if !strings.HasPrefix(x.Answer, c.answer) || x.Reason != string(c.reason) || x.Tapped != c.tapped {
				t.Errorf("%q (%s), tapped %v; want %q (%s), %v", x.Answer, x.Reason, x.Tapped, c.answer, c.reason, c.tapped)
			}
			var b bytes.Buffer
			x.print(&b)
			for _, part := range c.says {
				if !strings.Contains(b.String(), part) {
					t.Errorf("%q is missing in\n%s", part, &b)
				}
			}
			if strings.Contains(b.String(), "NAMESPACE") {
				t.Errorf("a placeholder was printed:\n%s", &b)
			}
		})
	}
}

// TestSettingsOfTheWebhook: the webhook's variables decide what is explained.
func TestSettingsOfTheWebhook(t *testing.T) {
	shared := aPod(func(p *corev1.Pod) { p.Spec.ShareProcessNamespace = new(true) })
	for value, want := range map[string]string{"false": string(inject.ReasonShared), "true": ""} {
		client := fake.NewClientset(append(hookObjects(corev1.EnvVar{Name: "WEBHOOK_SHARE_PROCESS_NAMESPACE", Value: value}), shop())...)
		install, err := readInstallation(t.Context(), client)
		if err != nil || install.assumed != "" {
			t.Fatal(err, install.assumed)
		}
		e := &explainer{client: client, install: install, now: noon, states: map[string]*tapsState{}}
		if x := e.explain(t.Context(), shared); x.Reason != want {
			t.Errorf("%s: %q: %s", value, x.Reason, x.Answer)
		}
	}
}

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
)

// checks runs check with a fake cluster of a version, in which the user lacks the named rights. It returns the results by name.
func checks(t *testing.T, minor string, lacks []string, before bool, objects ...runtime.Object) (map[string]checked, string, error) {
	t.Helper()
	client := fake.NewClientset(objects...)
	client.Discovery().(*fakediscovery.FakeDiscovery).FakedServerVersion = &apiversion.Info{Major: "1", Minor: minor, GitVersion: "v1." + minor + ".0"}
	client.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview)
		q := review.Spec.ResourceAttributes
		name := strings.TrimSuffix(q.Verb+" "+q.Resource+"/"+q.Subresource, "/")
		review.Status.Allowed = !slices.Contains(lacks, name)
		return true, review, nil
	})
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	c := &checker{client: client, config: &rest.Config{}, ns: "shop"}
	err := (&options{IOStreams: streams}).check(t.Context(), c, before, "table")
	results := map[string]checked{}
	for _, r := range c.results {
		results[r.Check] = r
	}
	return results, out.String(), err
}

func TestCheck(t *testing.T) {
	quiet := shop() // does not request taps, so no pod is tried
	quiet.Labels = map[string]string{}
	ready := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "meshtls-tap", Name: "s", Labels: map[string]string{discoveryv1.LabelServiceName: "meshtls-tap"}},
		Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}},
	}
	restricted := quiet.DeepCopy()
	restricted.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	baseline := quiet.DeepCopy()
	baseline.Labels["pod-security.kubernetes.io/enforce"] = "baseline"
	broken := hookObjects()
	hook := &broken[0].(*admissionv1.MutatingWebhookConfiguration).Webhooks[0]
	hook.ClientConfig.CABundle, hook.FailurePolicy = nil, new(admissionv1.Fail)
	stuck := aPod(tappedPod(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}))
	good := append(hookObjects(), quiet, ready)

	for name, c := range map[string]struct {
		minor   string
		lacks   []string
		objects []runtime.Object
		check   string
		result  string
		says    string
		fails   bool
	}{
		"version":        {"31", nil, good, "API server", resultOK, "v1.31.0", false},
		"old version":    {"28", nil, good, "API server", resultFailed, "expected 1.29 or newer", true},
		"rights":         {"31", nil, good, "rights to attach taps in shop", resultOK, "", false},
		"a right":        {"31", []string{"patch pods/ephemeralcontainers"}, good, "rights to attach taps in shop", resultFailed, "missing: patch pods/ephemeralcontainers", true},
		"a useful right": {"31", []string{"get services"}, good, "further rights in shop", resultWarning, "missing: get services", false},
		"enable":         {"31", []string{"patch namespaces"}, good, "rights for enable and disable", resultWarning, "missing: patch namespaces", false},
		"webhook":        {"31", nil, good, "webhook", resultOK, "zz-meshtls-tap", false},
		"no webhook":     {"31", nil, []runtime.Object{quiet}, "webhook", resultWarning, "not installed", false},
		"no CA":          {"31", nil, append(broken, quiet, ready), "webhook", resultFailed, "no caBundle", true},
		"failurePolicy":  {"31", nil, append(broken, quiet, ready), "webhook's failurePolicy", resultWarning, "no pod of a tapped namespace starts", true},
		"endpoints":      {"31", nil, good, "webhook's endpoints", resultOK, "1 ready", false},
		"no endpoints":   {"31", nil, append(hookObjects(), quiet), "webhook's endpoints", resultFailed, "no pod of Service meshtls-tap/meshtls-tap is ready", true},
		"restricted":     {"31", nil, append(hookObjects(), restricted, ready), "admission of attached taps", resultFailed, "forbids NET_RAW", true},
		"baseline":       {"31", nil, append(hookObjects(), baseline, ready), "admission of attached taps", resultWarning, "container runtime", false},
		"nothing to try": {"31", nil, good, "admission of attached taps", resultUnknown, "no running pod to try", false},
		"host network":   {"31", nil, append(slices.Clone(good), aPod(func(p *corev1.Pod) { p.Spec.HostNetwork, p.Status.Phase = true, corev1.PodRunning })), "admission of attached taps", resultFailed, "checkout-1-x", true},
		"host network, and another": {"31", nil, append(slices.Clone(good), aPod(func(p *corev1.Pod) { p.Spec.HostNetwork, p.Status.Phase = true, corev1.PodRunning }), aPod(func(p *corev1.Pod) {
			p.Name, p.UID, p.Status.Phase = "other", "other", corev1.PodRunning
		})), "admission of attached taps", resultOK, "a dry run for pod other was admitted", false},
		"a stuck attached tap":    {"31", nil, append(slices.Clone(good), aPod(attachedPod("ImagePullBackOff"))), "taps that do not run", resultFailed, "checkout-1-x (ImagePullBackOff)", true},
		"a starting attached tap": {"31", nil, append(slices.Clone(good), aPod(attachedPod("ContainerCreating"))), "taps", resultOK, "0 running taps in 1 pod", false},
		"a stuck tap":             {"31", nil, append(slices.Clone(good), stuck), "taps that do not run", resultFailed, "checkout-1-x (ImagePullBackOff)", true},
		"an outdated tap":         {"31", nil, append(slices.Clone(good), aPod(tappedPod(running()))), "outdated taps", resultWarning, "checkout-1-x", false},
		"no metrics":              {"31", nil, good, "metrics.k8s.io", resultWarning, "absent", false},
		"no tap requested":        {"31", nil, good, "a new pod gets a tap", resultOK, "does not request taps", false},
	} {
		t.Run(name, func(t *testing.T) {
			results, out, err := checks(t, c.minor, c.lacks, false, c.objects...)
			if got := results[c.check]; got.Result != c.result || !strings.Contains(got.Detail, c.says) {
				t.Errorf("%s: %s: %q; want %s: %q", c.check, got.Result, got.Detail, c.result, c.says)
			}
			if (err != nil) != c.fails {
				t.Errorf("%v; to fail: %v\n%s", err, c.fails, out)
			}
			for check, r := range results {
				if (r.Result == resultFailed || r.Result == resultWarning) && r.Do == "" && r.Result == resultFailed {
					t.Errorf("%s: it does not say what to do", check)
				}
			}
		})
	}
}

// attachedPod adds an attached tap that waits to a pod.
func attachedPod(reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "meshtls-tap-1", Image: "meshtls-tap:1"}}}
		p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "meshtls-tap-1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
	}
}

// TestCheckUnreadLog: a log that could not be read is not counted as one without trouble.
func TestCheckUnreadLog(t *testing.T) {
	pod := aPod(attachedPod(""))
	pod.Status.EphemeralContainerStatuses[0].State = running()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/log") {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{*pod}})
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{client: client, config: config, ns: "shop"}
	c.taps(t.Context(), nil)
	if len(c.results) != 2 || c.results[0].Result != resultUnknown || !strings.Contains(c.results[0].Detail, "checkout-1-x") || !strings.Contains(c.results[1].Detail, "; 0 logs read") {
		t.Errorf("%+v", c.results)
	}
}

func TestCheckBefore(t *testing.T) {
	node := func(kubelet, system string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: kubelet, OperatingSystem: system}}}
	}
	results, _, err := checks(t, "31+", nil, true, node("v1.31.2", "linux"))
	for _, check := range []string{"API server", "rights to install the chart", "nodes", "installed"} {
		if results[check].Result != resultOK {
			t.Errorf("%s: %+v", check, results[check])
		}
	}
	if err != nil {
		t.Error(err)
	}
	if results, _, err = checks(t, "31", []string{"create clusterroles"}, true, append(hookObjects(), node("v1.28.1", "linux"))...); err == nil || results["nodes"].Result != resultFailed ||
		results["rights to install the chart"].Result != resultFailed || results["installed"].Result != resultWarning {
		t.Errorf("%v, %+v", err, results)
	}
	if results, _, _ = checks(t, "31", nil, true, node("v1.31.1", "windows")); results["nodes"].Result != resultWarning {
		t.Errorf("%+v", results["nodes"])
	}
}

package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

type op struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// mutator installs another webhook, which the API server calls for the pods of one namespace.
func mutator(t *testing.T, c *kit.Cluster, name, namespace string, mutate func(*corev1.Pod) []op) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Request    struct {
				UID    string     `json:"uid"`
				Object corev1.Pod `json:"object"`
			} `json:"request"`
		}
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		response := map[string]any{"uid": review.Request.UID, "allowed": true}
		if patch := mutate(&review.Request.Object); len(patch) > 0 {
			text, err := json.Marshal(patch)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			response["patchType"], response["patch"] = "JSONPatch", text
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"apiVersion": review.APIVersion, "kind": review.Kind, "response": response})
	}))
	t.Cleanup(server.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	c.Apply(t, "default", fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: %s}
webhooks:
- name: mesh.example.test
  clientConfig: {url: %q, caBundle: %s}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  reinvocationPolicy: %s
`, name, server.URL, base64.StdEncoding.EncodeToString(authority), namespace, again(name)))
	t.Cleanup(func() {
		err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(context.Background(), name, metav1.DeleteOptions{})
		if err != nil {
			t.Error(err)
		}
	})
}

// again returns the reinvocationPolicy of a webhook.
func again(name string) string {
	if name == "zzzz-old" {
		return "Never"
	}
	return "IfNeeded"
}

// sidecar adds a native sidecar before the other init containers, as meshes do. A pod that has the sidecar already
// stays unchanged.
func sidecar(name string) func(*corev1.Pod) []op {
	return func(p *corev1.Pod) []op {
		if found, _ := kit.Container(p, name); found != nil {
			return nil
		}
		container := map[string]any{"name": name, "image": "mesh", "restartPolicy": "Always"}
		if len(p.Spec.InitContainers) == 0 {
			return []op{{"add", "/spec/initContainers", []any{container}}}
		}
		return []op{{"add", "/spec/initContainers/0", container}}
	}
}

// forgetful is a webhook with an API older than native sidecars. The webhook writes the init containers
// back without restartPolicy, a field that is unknown to its API.
func forgetful(p *corev1.Pod) []op {
	dropped := false
	var known []corev1.Container
	for _, c := range p.Spec.InitContainers {
		dropped = dropped || c.RestartPolicy != nil
		c.RestartPolicy = nil
		known = append(known, c)
	}
	if !dropped {
		return nil
	}
	return []op{{"replace", "/spec/initContainers", known}}
}

// TestOtherWebhooks tests pods for which the API server also calls other webhooks: those of meshes, before and after
// the tap's, and one with an API older than native sidecars.
func TestOtherWebhooks(t *testing.T) {
	c, _ := installed(t)
	// The API server calls webhooks in the order of their names. If a later webhook has changed the pod, the API
	// server calls some earlier ones once more.
	for name, test := range map[string]struct {
		others map[string]func(*corev1.Pod) []op
		first  bool // the tap is the first init container
	}{
		"before":            {map[string]func(*corev1.Pod) []op{"istio-like": sidecar("istio-proxy")}, true},
		"after":             {map[string]func(*corev1.Pod) []op{"zzzz-late": sidecar("late-proxy")}, false},
		"before and after":  {map[string]func(*corev1.Pod) []op{"istio-like": sidecar("istio-proxy"), "zzzz-late": sidecar("late-proxy")}, false},
		"old API, before":   {map[string]func(*corev1.Pod) []op{"old": forgetful}, true},
		"old API, after":    {map[string]func(*corev1.Pod) []op{"zzzz-old": forgetful}, true},
		"old API, and mesh": {map[string]func(*corev1.Pod) []op{"istio-like": sidecar("istio-proxy"), "old": forgetful}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ns := c.Namespace(t, tapped)
			for other, mutate := range test.others {
				mutator(t, c, other, ns, mutate)
			}
			kit.Eventually(t, kit.Limit, "all webhooks to be called", func() error {
				r := c.DryRun(t, ns, kit.NewPod("p"))
				if r.Err != nil {
					return r.Err
				}
				var taps, proxies int
				for _, i := range r.Pod.Spec.InitContainers {
					if i.Name == kit.Tap {
						taps++
						if i.RestartPolicy == nil {
							return fmt.Errorf("the tap would block its pod for ever: %s", names(r.Pod))
						}
					} else {
						proxies++
					}
				}
				want := 0
				for other := range test.others {
					if !strings.HasSuffix(other, "old") {
						want++
					}
				}
				if taps != 1 || proxies != want {
					return fmt.Errorf("%s", names(r.Pod))
				}
				first := slices.IndexFunc(r.Pod.Spec.InitContainers, func(i corev1.Container) bool { return i.Name == kit.Tap }) == 0
				if test.first && !first {
					return fmt.Errorf("the tap is not first: %s", names(r.Pod))
				}
				return nil
			})
		})
	}
}

// TestLastWord: a webhook with an API older than native sidecars is called after the tap's, and again after the tap's
// has repaired the pod. So the pod remains broken. Dry runs find this out. In that namespace the tap is then an
// ordinary container, and Jobs get no tap, because with such a tap they could not complete.
func TestLastWord(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, tapped)
	mutator(t, c, "zzzz-old-again", ns, forgetful)
	kit.Eventually(t, kit.Limit, "the tap to be a plain container", func() error {
		r := c.DryRun(t, ns, kit.NewPod("p"))
		if r.Err != nil {
			return r.Err
		}
		if names(r.Pod) != "app, "+kit.Tap || len(r.Warnings) > 0 {
			return fmt.Errorf("%s; %q", names(r.Pod), r.Warnings)
		}
		return nil
	})
	r := c.DryRun(t, ns, kit.NewPod("p", owned("batch/v1", "Job", "once")))
	if r.Err != nil || names(r.Pod) != "app" || !strings.Contains(strings.Join(r.Warnings, " "), "job") {
		t.Errorf("of a Job: %v, %s, %q", r.Err, names(r.Pod), r.Warnings)
	}
}

// TestBrokersPort: an annotation requests to exclude the brokers' port from the mesh. The mesh's webhook then sees
// two ports to exclude: the brokers' port, and the one that the pod excludes itself.
func TestBrokersPort(t *testing.T) {
	c, _ := installed(t)
	ns := c.Namespace(t, map[string]string{label: "enabled", "istio-injection": "enabled"})
	const excluded = "traffic.sidecar.istio.io/excludeOutboundPorts"
	seen := make(chan string, 100)
	mutator(t, c, "istio-like", ns, func(p *corev1.Pod) []op {
		select {
		case seen <- p.Annotations[excluded]:
		default:
		}
		return nil
	})
	kit.Eventually(t, kit.Limit, "the mesh to see the port", func() error {
		r := c.DryRun(t, ns, kit.NewPod("p", func(p *corev1.Pod) {
			p.Annotations = map[string]string{excluded: "5432", "meshtls-tap/exclude-kafka-port": "true"}
		}))
		if r.Err != nil {
			return r.Err
		}
		select {
		case got := <-seen:
			if got != "5432,9094" {
				return fmt.Errorf("it sees %q", got)
			}
			return nil
		default:
			return errors.New("it was not called")
		}
	})
}

package attach

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// server is a stand-in for an API server with a few pods.
type server struct {
	mu    sync.Mutex
	pods  map[string]*corev1.Pod // by NAMESPACE/NAME
	calls []string               // METHOD PATH, with ?dryRun for dry runs

	refuse func(c *corev1.EphemeralContainer) *metav1.Status // of a patch; nil: admits all
	log    http.HandlerFunc                                  // of pods/log
	usage  string                                            // memory that metrics.k8s.io reports; "": it is not installed
	labels map[string]string                                 // of all namespaces
	status func(pod *corev1.Pod)                             // sets the status of a pod before it is sent; nil: leaves it
}

// newServer starts the server and returns a client of it.
func newServer(t *testing.T, s *server, pods ...*corev1.Pod) *Client {
	t.Helper()
	s.pods = map[string]*corev1.Pod{}
	for _, p := range pods {
		s.pods[p.Namespace+"/"+p.Name] = p
	}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	config := &rest.Config{Host: h.URL, QPS: 1000, Burst: 1000}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &Client{Kube: client, Config: config}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := r.Method + " " + r.URL.Path
	if r.URL.Query().Has("dryRun") {
		call += "?dryRun"
	}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case part[0] == "apis": // metrics.k8s.io
		if s.usage == "" {
			reply(w, refusal404())
			return
		}
		fmt.Fprintf(w, `{"containers":[{"usage":{"memory":%q}}]}`, s.usage)
	case len(part) == 4:
		reply(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: part[3], Labels: s.labels}})
	case part[len(part)-1] == "log":
		s.log(w, r)
	default:
		s.pod(w, r, part)
	}
}

// pod serves a pod and its ephemeral containers.
func (s *server) pod(w http.ResponseWriter, r *http.Request, part []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pod := s.pods[part[3]+"/"+part[5]]
	if pod == nil {
		reply(w, refusal404())
		return
	}
	if r.Method == http.MethodPatch {
		var patch corev1.Pod
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &patch); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c := &patch.Spec.EphemeralContainers[0]
		if s.refuse != nil {
			if st := s.refuse(c); st != nil {
				reply(w, st)
				return
			}
		}
		if !r.URL.Query().Has("dryRun") {
			pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, *c)
		}
	}
	if s.status != nil {
		s.status(pod)
	}
	reply(w, pod)
}

func refusal404() *metav1.Status {
	return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: "not found"}
}

func forbidden(message string) *metav1.Status {
	return &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message}
}

func reply(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	if s, ok := object.(*metav1.Status); ok {
		s.Kind, s.APIVersion = "Status", "v1"
		w.WriteHeader(int(s.Code))
	}
	if p, ok := object.(*corev1.Pod); ok {
		p.Kind, p.APIVersion = "Pod", "v1"
	}
	json.NewEncoder(w).Encode(object)
}

// count returns how often a call was received.
func (s *server) count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(s.calls), func(c string) bool { return c != call }))
}

// newPod returns a running pod in the namespace shop.
func newPod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "shop/app:1"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

// attached adds an ephemeral tap with a state to a pod.
func attached(name string, state corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: name, Image: "meshtls-tap:1", Command: []string{"/tap", "run"}, Env: []corev1.EnvVar{{Name: "TAP_FOR", Value: "10m"}},
		}})
		p.Status.EphemeralContainerStatuses = append(p.Status.EphemeralContainerStatuses, corev1.ContainerStatus{Name: name, State: state})
	}
}

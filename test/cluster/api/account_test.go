package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// imagePod returns a pod like those that the webhook creates in its own namespace to try an image.
func imagePod() *corev1.Pod {
	yes, no := true, false
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: release, Name: "meshtls-tap-image-0123456789"},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{
				Name: "meshtls-tap", Image: "x", Env: []corev1.EnvVar{{Name: "TAP_EMIT", Value: "findings"}},
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsNonRoot: &yes},
			}},
			Volumes: []corev1.Volume{
				{Name: "a", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "b", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{}}},
				{Name: "c", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "meshtls-tap"}}}},
			},
		},
	}
}

func volume(source corev1.VolumeSource) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "more", VolumeSource: source})
	}
}

func projected(source corev1.VolumeProjection) func(*corev1.Pod) {
	return volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{source}}})
}

// TestOwnNamespace: the webhook's account can create a pod in its namespace only if the pod has no more rights than
// the pods that try an image.
func TestOwnNamespace(t *testing.T) {
	c, h := installed(t)
	h.narrowed(t, c)
	account := as(t, c, release, "system:serviceaccount:"+release+":"+release, "system:serviceaccounts")
	yes, root, hour := true, int64(0), int64(3600)
	secret := corev1.LocalObjectReference{Name: release + "-ca"}
	first := func(p *corev1.Pod) *corev1.Container { return &p.Spec.Containers[0] }
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		want   string // a part of the refusal; empty if the pod is admitted
	}{
		"as the webhook makes it": {func(*corev1.Pod) {}, ""},
		"another name":            {func(p *corev1.Pod) { p.Name = "evil" }, "meshtls-tap-image-*"},
		"a generated name":        {func(p *corev1.Pod) { p.Name, p.GenerateName = "", "evil-" }, "meshtls-tap-image-*"},
		"host network":            {func(p *corev1.Pod) { p.Spec.HostNetwork = true }, "a namespace of the host"},
		"host PID":                {func(p *corev1.Pod) { p.Spec.HostPID = true }, "a namespace of the host"},
		"host IPC":                {func(p *corev1.Pod) { p.Spec.HostIPC = true }, "a namespace of the host"},
		"privileged": {func(p *corev1.Pod) {
			first(p).SecurityContext.Privileged, first(p).SecurityContext.AllowPrivilegeEscalation = &yes, &yes
		}, "privileg"}, // the API server of these tests also refuses privileged pods
		"escalation":          {func(p *corev1.Pod) { first(p).SecurityContext.AllowPrivilegeEscalation = &yes }, "without privileges"},
		"no security context": {func(p *corev1.Pod) { first(p).SecurityContext = nil }, "without privileges"},
		"a capability": {func(p *corev1.Pod) {
			first(p).SecurityContext.Capabilities = &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}
		}, "without privileges"},
		"root": {func(p *corev1.Pod) {
			first(p).SecurityContext.RunAsNonRoot, first(p).SecurityContext.RunAsUser = nil, &root
		}, "without privileges"},
		"an init container": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "evil", Image: "x"}}
		}, "ordinary containers"},
		"a second container": {func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "evil", Image: "x"})
		}, "without privileges"},
		"a Secret as environment": {func(p *corev1.Pod) {
			first(p).Env = append(first(p).Env, corev1.EnvVar{Name: "K", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: secret, Key: "tls.key"}}})
		}, "no environment from Secrets"},
		"a Secret's keys as environment": {func(p *corev1.Pod) {
			first(p).EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: secret}}}
		}, "no environment from Secrets"},
		"another account":     {func(p *corev1.Pod) { p.Spec.ServiceAccountName = release }, "the service account default"},
		"the account's token": {func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = &yes }, "no token"},
		"a token by default":  {func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = nil }, "no token"},
		"a host path":         {volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}), "only the tap's volumes"},
		"a Secret":            {volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret.Name}}), "only the tap's volumes"},
		"a claim":             {volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "x"}}), "only the tap's volumes"},
		"a projected Secret":  {projected(corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: secret}}), "only the tap's volumes"},
		"a projected token": {func(p *corev1.Pod) {
			p.Spec.ServiceAccountName = "default"
			projected(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &hour}})(p)
		}, "only the tap's volumes"},
	} {
		t.Run(name, func(t *testing.T) {
			p := imagePod()
			test.change(p)
			b, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			o := &unstructured.Unstructured{}
			if err := o.UnmarshalJSON(b); err != nil {
				t.Fatal(err)
			}
			_, err = account.of("pods").Create(t.Context(), o, metav1.CreateOptions{})
			if err == nil {
				if e := c.CoreV1().Pods(release).Delete(t.Context(), p.Name, *metav1.NewDeleteOptions(0)); e != nil {
					t.Error(e)
				}
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("it said %v; want %q", err, test.want)
			}
		})
	}
}

// narrowed waits until the API server enforces the policy for the webhook's account.
func (h *hook) narrowed(t *testing.T, c *kit.Cluster) {
	t.Helper()
	kit.Eventually(t, kit.Limit, "the policy of the webhook's account", func() error {
		out, err := c.Kubectl(t, "--kubeconfig", h.kubeconfig(t), "create", "configmap", "mine", "--namespace", release, "--dry-run=server")
		if err == nil || !strings.Contains(out, "only the ConfigMap") {
			return fmt.Errorf("a ConfigMap of another name: %v, %s", err, out)
		}
		return nil
	})
}

// kubeconfig writes a kubeconfig that impersonates the webhook's account. It returns the path of the file.
func (h *hook) kubeconfig(t *testing.T) string {
	t.Helper()
	for _, e := range h.env {
		if v, ok := strings.CutPrefix(e, "KUBECONFIG="); ok {
			return v
		}
	}
	t.Fatal("the webhook has no KUBECONFIG")
	return ""
}

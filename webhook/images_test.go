package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// prover returns the images of one replica, in a cluster without kubelets.
func prover(c client.Client, k *clock, policy corev1.PullPolicy) *images {
	settings, _ := inject.ParseSettings([]byte(`imagePullSecrets: [registry]`))
	return &images{
		client: c, check: true, log: slog.New(slog.DiscardHandler), now: k.now, usage: map[string]string{}, ran: map[string]string{}, failed: map[string]types.UID{},
		cfg:   &inject.Config{Own: "tap", Image: "reg.example:5000/tap:1", PullPolicy: policy, Settings: settings},
		owner: func(context.Context) *metav1.OwnerReference { return nil },
	}
}

// tried returns the pods that try images, by image.
func tried(t *testing.T, c client.Client) map[string]*corev1.Pod {
	t.Helper()
	var list corev1.PodList
	if err := c.List(t.Context(), &list, client.InNamespace("tap")); err != nil {
		t.Fatal(err)
	}
	out := map[string]*corev1.Pod{}
	for i := range list.Items {
		out[list.Items[i].Annotations[annotationTried]] = &list.Items[i]
	}
	return out
}

// kubelet ends a pod in the given phase. If the phase is Succeeded, all containers succeed. If it is Failed and imageID
// is set, only the tap succeeds. If it is Failed and imageID is empty, all containers fail.
func kubelet(t *testing.T, c client.Client, pod *corev1.Pod, phase corev1.PodPhase, imageID string) {
	t.Helper()
	pod.Status.Phase, pod.Status.ContainerStatuses = phase, nil
	for _, of := range pod.Spec.Containers {
		ended := &corev1.ContainerStateTerminated{ExitCode: 2}
		if phase == corev1.PodSucceeded || imageID != "" && of.Name == inject.Name {
			ended.ExitCode = 0
		}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: of.Name, ImageID: imageID, State: corev1.ContainerState{Terminated: ended},
		})
	}
	if err := c.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

const (
	byName  = "reg.example:5000/tap:1"
	digest  = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	pinned  = "reg.example:5000/tap@" + digest
	another = "reg.example:5000/tap:2"
)

func TestImages(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithStatusSubresource(&corev1.Pod{}).Build()
	i := prover(c, k, corev1.PullIfNotPresent)
	round := func() {
		t.Helper()
		do(t, i.follow, func(ctx context.Context) error { return i.try(ctx, []string{byName}) })
	}
	round()
	if i.proven() || len(i.usable()) != 0 {
		t.Fatal("proven before anything ran")
	}
	pods := tried(t, c)
	if len(pods) != 1 || pods[byName] == nil {
		t.Fatalf("tried: %v", slices.Collect(maps.Keys(pods)))
	}
	if p := pods[byName]; p.Spec.ImagePullSecrets[0].Name != "registry" || *p.Spec.AutomountServiceAccountToken || p.Labels[inject.Label] != inject.Disabled {
		t.Errorf("the pod: %+v", p)
	}
	round() // a second round changes nothing
	kubelet(t, c, tried(t, c)[byName], corev1.PodSucceeded, "mirror.example/tap@"+digest)
	round()
	if got := i.usable()[byName]; got != byName || !i.proven() {
		t.Fatalf("use %q", got)
	}
	kubelet(t, c, tried(t, c)[pinned], corev1.PodSucceeded, "reg.example:5000/tap@"+digest)
	round()
	if got := i.usable()[byName]; got != pinned {
		t.Fatalf("use %q, want %q", got, pinned)
	}
	// After the pods were deleted, this replica still knows the results. Another replica does not.
	for _, p := range tried(t, c) {
		if err := c.Delete(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	round()
	if got := i.usable()[byName]; got != pinned || len(tried(t, c)) != 0 {
		t.Errorf("use %q, tried %v", got, tried(t, c))
	}
	// With other settings the image has to run again.
	changed := prover(c, k, corev1.PullIfNotPresent)
	changed.cfg.Settings.Env = []corev1.EnvVar{{Name: "TAP_WINDOW", Value: "5m"}}
	do(t, changed.follow, func(ctx context.Context) error { return changed.try(ctx, []string{byName}) })
	if p := tried(t, c)[byName]; changed.proven() || p == nil || !slices.Contains(p.Spec.Containers[0].Env, changed.cfg.Settings.Env[0]) || p.Spec.Containers[0].Args[1] != "--check" {
		t.Errorf("proven %v by %+v", changed.proven(), p)
	}
	if other := prover(c, k, corev1.PullIfNotPresent); other.proven() {
		t.Error("another replica believes what it did not see")
	}
}

// TestImageOfOthers: an image that a namespace requests is tried without the platform's credentials.
func TestImageOfOthers(t *testing.T) {
	c := fake.NewClientBuilder().WithStatusSubresource(&corev1.Pod{}).Build()
	i := prover(c, newClock(), corev1.PullIfNotPresent)
	settings, err := inject.ParseSettings([]byte(`kafka: {ca: {secret: ca, key: ca.crt}, password: {secret: sasl, key: password}, token: {audience: kafka, expirationSeconds: 600}}`))
	if err != nil {
		t.Fatal(err)
	}
	i.cfg.Settings = settings
	i.ran[byName] = digest
	do(t, func(ctx context.Context) error { return i.try(ctx, []string{byName, another}) })
	pods := tried(t, c)
	for image, want := range map[string]bool{pinned: true, another: false} {
		pod := pods[image]
		if pod == nil {
			t.Fatalf("%s is not tried", image)
		}
		has, mounted := false, false
		for _, v := range pod.Spec.Volumes {
			has = has || v.Projected != nil || v.Secret != nil
		}
		for _, m := range pod.Spec.Containers[0].VolumeMounts {
			mounted = mounted || m.MountPath == "/etc/meshtls-tap/kafka"
		}
		if has != want || !mounted {
			t.Errorf("%s: credentials %t, mounted %t", image, has, mounted)
		}
	}
}

// TestImageThatCannotWait: an image without the command `tap wait` is used without the hook, and is not tried repeatedly. An image
// with the command gets the hook, by its name and by its digest.
func TestImageThatCannotWait(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithStatusSubresource(&corev1.Pod{}).Build()
	i := prover(c, k, corev1.PullIfNotPresent)
	round := func() {
		t.Helper()
		do(t, i.follow, func(ctx context.Context) error { return i.try(ctx, []string{byName, another}) })
	}
	round()
	if w := i.waiting(); w == nil || len(w) != 0 {
		t.Fatalf("waiting before anything ran: %v", w)
	}
	kubelet(t, c, tried(t, c)[byName], corev1.PodSucceeded, "reg.example:5000/tap@"+digest)
	kubelet(t, c, tried(t, c)[another], corev1.PodFailed, "reg.example:5000/tap@"+digest)
	if p := tried(t, c)[another]; p.Spec.Containers[1].Command[1] != "wait" || len(p.Spec.Containers[1].Args) != 0 {
		t.Fatalf("the pod: %+v", p.Spec.Containers)
	}
	round()
	kubelet(t, c, tried(t, c)[pinned], corev1.PodSucceeded, "reg.example:5000/tap@"+digest)
	k.forward(tryAgain + time.Second)
	round()
	if i.usable()[another] == "" || tried(t, c)[another] == nil || i.waiting()[another] {
		t.Errorf("of an old image: use %q, pod %v, hook %t", i.usable()[another], tried(t, c)[another] != nil, i.waiting()[another])
	}
	if w := i.waiting(); !w[byName] || !w[pinned] {
		t.Errorf("of the webhook's own: %v", w)
	}
	i.check, i.waits = false, nil
	if i.waiting() != nil {
		t.Error("images are said to have been tried")
	}
}

func TestImageFails(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithStatusSubresource(&corev1.Pod{}).Build()
	i := prover(c, k, corev1.PullIfNotPresent)
	round := func() {
		t.Helper()
		do(t, i.follow, func(ctx context.Context) error { return i.try(ctx, []string{byName}) })
	}
	round()
	pod := tried(t, c)[byName]
	pod.CreationTimestamp = metav1.NewTime(k.now())
	if err := c.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	kubelet(t, c, pod, corev1.PodFailed, "")
	round()
	if i.proven() || tried(t, c)[byName] == nil {
		t.Fatal("proven, or cleared away at once")
	}
	k.forward(tryAgain + time.Second)
	round()
	if tried(t, c)[byName] != nil {
		t.Fatal("a pod that failed was not cleared away")
	}
	round()
	if p := tried(t, c)[byName]; p == nil || p.Status.Phase == corev1.PodFailed {
		t.Error("not tried again")
	}
}

// TestUnwantedImages: pods of images that nobody requests any more are deleted.
func TestUnwantedImages(t *testing.T) {
	k := newClock()
	c := fake.NewClientBuilder().WithStatusSubresource(&corev1.Pod{}).Build()
	i := prover(c, k, corev1.PullNever)
	do(t, func(ctx context.Context) error { return i.try(ctx, []string{byName, another}) })
	for image, p := range tried(t, c) {
		p.CreationTimestamp = metav1.NewTime(k.now())
		if err := c.Update(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		kubelet(t, c, tried(t, c)[image], corev1.PodSucceeded, "reg.example:5000/tap@"+digest)
	}
	do(t, i.follow)
	k.forward(deleteUnwantedAfter + time.Second)
	do(t, func(ctx context.Context) error { return i.try(ctx, []string{byName}) })
	if pods := tried(t, c); len(pods) != 1 || pods[byName] == nil { // with the pull policy Never, no pod by digest is created, because nothing is pulled
		t.Errorf("tried: %v", slices.Collect(maps.Keys(pods)))
	}
}

func TestByDigest(t *testing.T) {
	for _, c := range [][3]string{
		{"tap", digest, "tap@" + digest},
		{"tap:1", digest, "tap@" + digest},
		{"reg:5000/a/tap", digest, "reg:5000/a/tap@" + digest},
		{"reg:5000/a/tap:1", digest, "reg:5000/a/tap@" + digest},
		{"tap:1", "", ""},
		{"tap@" + digest, digest, ""},
	} {
		if got := byDigest(c[0], c[1]); got != c[2] {
			t.Errorf("%s: %s, want %s", c[0], got, c[2])
		}
	}
}

func TestWanted(t *testing.T) {
	ns := func(label, image string) corev1.Namespace {
		return corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Labels: map[string]string{inject.Label: label}, Annotations: map[string]string{"meshtls-tap/image": image},
		}}
	}
	list := []corev1.Namespace{ns("enabled", "reg/b"), ns("enabled", ""), ns("disabled", "reg/c"), ns("enabled", "a"), ns("enabled", "evil/b"), ns("enabled", "reg.evil/b")}
	for _, c := range []struct {
		may  []string
		want []string
	}{{[]string{inject.AnnotationImage}, []string{"a", "reg/b"}}, {nil, []string{"a"}}} {
		if got := wanted(&inject.Config{Image: "a", TenantMay: c.may, Registries: []string{"reg"}}, list); !slices.Equal(got, c.want) {
			t.Errorf("may %v: wanted %v, want %v", c.may, got, c.want)
		}
	}
}

// TestOwnImageFirst: the platform's image is tried even if namespaces request many others.
func TestOwnImageFirst(t *testing.T) {
	i := prover(fake.NewClientBuilder().Build(), newClock(), corev1.PullAlways)
	wishes := []string{byName}
	for n := range 2 * maxImages {
		wishes = append(wishes, fmt.Sprintf("a.example/tap:%02d", n))
	}
	if got := i.missing(wishes); len(got) != maxImages || got[0] != byName {
		t.Errorf("tried: %v", got)
	}
	i.ran[byName] = digest
	if got, want := i.missing(wishes), byDigest(byName, digest); len(got) != maxImages || got[0] != want {
		t.Errorf("tried: %v, want %s first", got, want)
	}
}

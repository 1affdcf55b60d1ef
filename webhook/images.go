package webhook

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// images knows which images of the tap may be used: those that were seen to run, and to
// understand the settings. Each is run once in a pod of the own namespace, first by the
// name that was configured, then by its digest; every replica reads how that ended from
// these pods, which stay. A native sidecar that cannot be pulled, or that ends at once, would
// keep its pod from starting.
type images struct {
	client client.Client
	cfg    *inject.Config
	check  bool // false: every image may be used
	owner  func(context.Context) *metav1.OwnerReference
	log    *slog.Logger
	now    func() time.Time

	mu    sync.Mutex
	usage map[string]string // from a configured image to the one to use; replaced, never changed
	waits map[string]bool   // images that were seen to run inject.Wait; replaced, never changed
	ran   map[string]string // from an image that was seen to run to its digest, "" unknown

	failed map[string]types.UID // the pod whose failure was told, by image
}

// What marks the pods that try an image.
const (
	labelComponent      = "app.kubernetes.io/component"
	componentImage      = "image-check"
	annotationTried     = "meshtls-tap/image" // of the pod: the image it tries
	annotationWith      = "meshtls-tap/env"   // and the hash of the tap's settings with which
	tryAgain            = 5 * time.Minute     // after a pod failed
	tryPinAgain         = time.Hour           // where the image runs by its name already
	patienceForPull     = 3 * time.Minute
	deleteUnwantedAfter = time.Hour
	maxImages           = 16 // that are tried at the same time
)

// usable returns the images to use; nil is all.
func (i *images) usable() map[string]string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.check {
		return nil
	}
	return i.usage
}

// waiting returns the images that were seen to run inject.Wait; nil where none is tried.
func (i *images) waiting() map[string]bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.check && i.waits == nil {
		return map[string]bool{}
	}
	return i.waits
}

// follow reads how the pods ended. It runs on every replica.
func (i *images) follow(ctx context.Context) error {
	list, err := i.pods(ctx)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	waits := maps.Clone(i.waits)
	if waits == nil {
		waits = map[string]bool{}
	}
	for p := range list {
		pod := &list[p]
		if pod.Annotations[annotationWith] != i.settingsHash() {
			continue // of a replica with other settings
		}
		image := pod.Annotations[annotationTried]
		i.logFailure(image, pod)
		if digest, ok := ran(pod); ok {
			if _, known := i.ran[image]; !known {
				i.log.Info("image was seen to run", "image", image, "digest", digest)
			}
			i.ran[image], waits[image] = digest, exited(pod, waitName)
		}
	}
	i.waits = waits
	usage := map[string]string{}
	for image := range i.ran {
		usage[image] = i.best(image)
	}
	i.usage = usage
	return nil
}

// settingsHash is a hash of the tap's settings, and of what is tried.
func (i *images) settingsHash() string {
	sum := sha256.Sum256(append(i.cfg.Settings.JSON(), waitName...))
	return hex.EncodeToString(sum[:6])
}

// logFailure says once why a pod failed; i.mu is held.
func (i *images) logFailure(image string, pod *corev1.Pod) {
	if _, ok := ran(pod); ok || pod.Status.Phase != corev1.PodFailed || i.failed[image] == pod.UID {
		return
	}
	i.failed[image] = pod.UID
	why := pod.Status.Reason + " " + pod.Status.Message
	for _, s := range pod.Status.ContainerStatuses {
		if s.Name == waitName {
			continue
		}
		if t := s.State.Terminated; t != nil {
			why = fmt.Sprintf("exit status %d: %s", t.ExitCode, t.Message)
		} else if w := s.State.Waiting; w != nil {
			why += " " + w.Reason + " " + w.Message
		}
	}
	i.log.Error("image does not run with these settings", "image", image, "why", strings.TrimSpace(why))
}

// best is the image by digest, if it was seen to run so; i.mu is held.
func (i *images) best(image string) string {
	if pinned := byDigest(image, i.ran[image]); pinned != "" {
		if _, ok := i.ran[pinned]; ok {
			return pinned
		}
	}
	return image
}

// byDigest returns an image's name with a digest, or "" if it has one or there is none.
func byDigest(image, digest string) string {
	if digest == "" || strings.Contains(image, "@") {
		return ""
	}
	name := image
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		name = image[:colon]
	}
	return name + "@" + digest
}

// ran reports whether the pod's tap has run, and the digest of its image where the runtime tells
// one that a registry knows. It is told once all of the pod has ended.
func ran(pod *corev1.Pod) (digest string, ok bool) {
	over := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
	if !over || !exited(pod, inject.Name) {
		return "", false
	}
	for _, s := range pod.Status.ContainerStatuses {
		if _, after, found := strings.Cut(s.ImageID, "@"); found && s.Name == inject.Name {
			digest = after
		}
	}
	return digest, true
}

// exited reports whether a container of the pod has ended with status 0.
func exited(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
		return s.Name == name && s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
	})
}

func (i *images) pods(ctx context.Context) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := i.client.List(ctx, &list, client.InNamespace(i.cfg.Own), client.MatchingLabels{labelComponent: componentImage})
	return list.Items, err
}

// proven reports whether the configured image was seen to run.
func (i *images) proven() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.check || i.usage[i.cfg.Image] != ""
}

// try makes the pods that are missing, and clears away those that nobody wants. It runs on every
// replica: while one version replaces another, each tries its own image.
func (i *images) try(ctx context.Context, wanted []string) error {
	if !i.check {
		return nil
	}
	list, err := i.pods(ctx)
	if err != nil {
		return err
	}
	have := map[string]*corev1.Pod{}
	for p := range list {
		have[list[p].Name] = &list[p]
	}
	missing := i.missing(wanted)
	for _, image := range missing {
		again := tryPinAgain
		if slices.Contains(wanted, image) {
			again = tryAgain
		}
		if err := i.attempt(ctx, image, have[i.podName(image)], again); err != nil {
			return err
		}
	}
	for p := range list {
		image := list[p].Annotations[annotationTried]
		needed := list[p].Annotations[annotationWith] == i.settingsHash() &&
			(slices.Contains(wanted, image) || slices.Contains(missing, image) || i.pins(wanted, image))
		if !needed && i.age(&list[p]) > deleteUnwantedAfter {
			if err := client.IgnoreNotFound(i.client.Delete(ctx, &list[p])); err != nil {
				return err
			}
		}
	}
	return nil
}

func (i *images) age(pod *corev1.Pod) time.Duration { return i.now().Sub(pod.CreationTimestamp.Time) }

// pins reports whether an image is one of those that are wanted, by its digest.
func (i *images) pins(wanted []string, image string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.ContainsFunc(wanted, func(name string) bool { return byDigest(name, i.ran[name]) == image })
}

// missing returns what was not seen to run, bounded: images by name, and by digest once
// that is known.
func (i *images) missing(wanted []string) []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []string
	for _, image := range wanted {
		digest, ok := i.ran[image]
		if !ok {
			out = append(out, image)
			continue
		}
		if i.cfg.PullPolicy == corev1.PullNever {
			continue // what was loaded by hand has no digest that a node could look up
		}
		if pinned := byDigest(image, digest); pinned != "" {
			if _, ok := i.ran[pinned]; !ok {
				out = append(out, pinned)
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	// The platform's own first, however many others are wished for.
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(i.rank(a), i.rank(b)) })
	return out[:min(len(out), maxImages)]
}

// attempt makes the pod that tries an image, or clears one away that failed.
func (i *images) attempt(ctx context.Context, image string, pod *corev1.Pod, again time.Duration) error {
	if pod == nil {
		i.log.Info("image is tried", "image", image)
		pod, err := i.pod(ctx, image)
		if err != nil {
			return err
		}
		err = i.client.Create(ctx, pod, fieldOwner)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
	if _, ok := ran(pod); !ok && pod.Status.Phase == corev1.PodFailed && i.age(pod) > again {
		return client.IgnoreNotFound(i.client.Delete(ctx, pod))
	}
	return nil
}

// pod is the pod that tries an image: the tap as it will be in pods, with its environment and its
// volumes, but restricted, and over at once.
func (i *images) pod(ctx context.Context, image string) (*corev1.Pod, error) {
	cfg := *i.cfg
	cfg.Image = image
	pod, err := tapped(&cfg, &inject.Namespace{Name: cfg.Own, NoNative: true}, dryRunPod(cfg.Own, image), inject.ProfileOpenShift, i.now())
	if err != nil {
		return nil, err
	}
	if !i.configured(image) {
		withoutCredentials(pod)
	}
	c, _ := tapOf(pod)
	c.Args = append(c.Args, "--check")
	c.SecurityContext = restricted()
	c.Ports = nil
	deadline := int64(patienceForPull.Seconds())
	pod.ObjectMeta = metav1.ObjectMeta{
		Namespace: cfg.Own, Name: i.podName(image),
		Labels: map[string]string{
			labelComponent: componentImage, "app.kubernetes.io/name": "meshtls-tap", "app.kubernetes.io/managed-by": managedBy,
			inject.Label: inject.Disabled,
		},
		Annotations: map[string]string{annotationTried: image, annotationWith: i.settingsHash()},
	}
	pod.Spec.Containers = []corev1.Container{*c, waiter(c)}
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.Spec.ActiveDeadlineSeconds = &deadline
	pod.Spec.EnableServiceLinks = new(bool)
	pod.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: string(corev1.Linux)}
	if owner := i.owner(ctx); owner != nil {
		pod.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	return pod, nil
}

// waitName is the container that tries inject.Wait. An image of another version, or of
// another kind, may not have it: it is used all the same, without the hook.
const waitName = "wait"

// waiter is the tap's container with inject.Wait in place of the tap.
func waiter(c *corev1.Container) corev1.Container {
	w := *c.DeepCopy()
	w.Name, w.Command, w.Args = waitName, inject.Wait, nil
	return w
}

// configured reports whether an image is the platform's own, by name or by digest. Others are a
// namespace's wish.
func (i *images) configured(image string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.rank(image) == 0
}

// rank is 0 for the platform's own image and 1 for others; i.mu is held.
func (i *images) rank(image string) int {
	if image == i.cfg.Image || image == byDigest(i.cfg.Image, i.ran[i.cfg.Image]) {
		return 0
	}
	return 1
}

// withoutCredentials empties the volumes that hold the platform's credentials: an image that
// somebody else chose runs in the webhook's namespace, and finds it as if they were absent.
func withoutCredentials(pod *corev1.Pod) {
	for n := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[n]; v.Projected != nil || v.Secret != nil {
			v.VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
		}
	}
}

func (i *images) podName(image string) string {
	sum := sha256.Sum256([]byte(image + i.settingsHash()))
	return "meshtls-tap-image-" + hex.EncodeToString(sum[:5])
}

// wanted returns the images that are asked for: the configured one and, of listed registries, the
// namespaces' own, where they may choose.
func wanted(cfg *inject.Config, list []corev1.Namespace) []string {
	set := map[string]bool{cfg.Image: true}
	for i := range list {
		v := list[i].Annotations[inject.Prefix+inject.AnnotationImage]
		if list[i].Labels[inject.Label] == inject.Enabled && v != "" && cfg.NamespaceMay(inject.AnnotationImage) && cfg.AllowsImage(v) {
			set[v] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

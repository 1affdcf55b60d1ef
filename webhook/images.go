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

// images finds out which images of the tap may be used: those that have run and accepted the settings. Without this
// check, an image that cannot be pulled or that ends at once would keep pods from starting, because the tap is a native
// sidecar. Pods of the webhook's namespace run each image once by its configured name, then once by its digest. These
// pods are kept, and every replica reads the results from them.
type images struct {
	client client.Client
	cfg    *inject.Config
	check  bool // false: every image may be used without a check
	owner  func(context.Context) *metav1.OwnerReference
	log    *slog.Logger
	now    func() time.Time

	mu    sync.Mutex
	usage map[string]string // for each requested image the one to use; the map is replaced, never changed
	waits map[string]bool   // images that have run inject.Wait; the map is replaced, never changed
	ran   map[string]string // from an image that has run to its digest; "": unknown

	failed map[string]types.UID // for each image, the UID of the last pod whose failure was logged
}

// The labels and annotations of pods that try an image, and the times and bounds of trying.
const (
	labelComponent      = "app.kubernetes.io/component"
	componentImage      = "image-check"
	annotationTried     = "meshtls-tap/image" // the image that the pod tries
	annotationWith      = "meshtls-tap/env"   // settingsHash of the replica that created the pod; a replica ignores pods with another hash
	tryAgain            = 5 * time.Minute     // pause after the failure of a pod
	tryPinAgain         = time.Hour           // the same pause for an image by digest, if the image has run by its name
	patienceForPull     = 3 * time.Minute     // bounds the life of a pod, including its pull
	deleteUnwantedAfter = time.Hour           // the age at which a pod is deleted if nobody requests its image
	maxImages           = 16                  // bounds how many images are tried at the same time
)

// usable maps each requested image that may be used to the image to use in its place. If images are not checked, it
// returns nil, and every image may be used.
func (i *images) usable() map[string]string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.check {
		return nil
	}
	return i.usage
}

// waiting returns the images that have run inject.Wait; nil if images are not checked.
func (i *images) waiting() map[string]bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.check && i.waits == nil {
		return map[string]bool{}
	}
	return i.waits
}

// follow reads the results of the pods. It runs on every replica.
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
			continue // a replica with other settings created the pod
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

// settingsHash returns a hash of the tap's settings and of the names of the containers that try images.
func (i *images) settingsHash() string {
	sum := sha256.Sum256(append(i.cfg.Settings.JSON(), waitName...))
	return hex.EncodeToString(sum[:6])
}

// logFailure logs why a pod failed, once for each pod. i.mu must be locked.
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

// best returns the image by its digest if it has run under that name, otherwise image. i.mu must be locked.
func (i *images) best(image string) string {
	if pinned := byDigest(image, i.ran[image]); pinned != "" {
		if _, ok := i.ran[pinned]; ok {
			return pinned
		}
	}
	return image
}

// byDigest returns the name of an image with a digest in place of its tag. It returns "" if the image has a digest
// already or digest is "".
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

// ran reports whether the pod has ended and its tap ran without an error. digest is the image's digest in the
// registry, or "" if the runtime does not report it.
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

// proven reports whether the configured image has run, or images are not checked.
func (i *images) proven() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.check || i.usage[i.cfg.Image] != ""
}

// try creates the missing pods for wanted images and deletes the pods of images that nobody requests any more. It
// runs on every replica: during an upgrade the old and the new version each try their own image.
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

// pins reports whether image is the digest form of a wanted image.
func (i *images) pins(wanted []string, image string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.ContainsFunc(wanted, func(name string) bool { return byDigest(name, i.ran[name]) == image })
}

// missing returns the images that have not run, at most maxImages: the wanted images by name, and by digest if the
// digest is known. The platform's own image is first.
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
			continue // the image was loaded by hand, and no node could find it by a digest
		}
		if pinned := byDigest(image, digest); pinned != "" {
			if _, ok := i.ran[pinned]; !ok {
				out = append(out, pinned)
			}
		}
	}

	slices.Sort(out)
	out = slices.Compact(out)
	// With the platform's own image first, other images cannot displace it.
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(i.rank(a), i.rank(b)) })
	return out[:min(len(out), maxImages)]
}

// attempt creates the pod that tries an image if pod is nil. Otherwise it deletes a pod that has failed, unless
// its tap ran without an error (ran) or the pod is younger than the argument again.
func (i *images) attempt(ctx context.Context, image string, pod *corev1.Pod, again time.Duration) error {
	if pod == nil {
		i.log.Info("trying image", "image", image)
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

// pod returns the pod that tries an image. Its tap has the same environment and volumes as in other pods, but a
// restricted security context and an option that makes it end at once.
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

// waitName is the name of the container that tries the command inject.Wait. An image that lacks the command, such as
// one of another version, is used without the hook.
const waitName = "wait"

// waiter returns a copy of the tap's container that runs inject.Wait.
func waiter(c *corev1.Container) corev1.Container {
	w := *c.DeepCopy()
	w.Name, w.Command, w.Args = waitName, inject.Wait, nil
	return w
}

// configured reports whether an image is the platform's own, by name or by digest. Other images are requested by
// namespaces.
func (i *images) configured(image string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.rank(image) == 0
}

// rank returns 0 for the platform's own image and 1 for others. i.mu must be locked.
func (i *images) rank(image string) int {
	if image == i.cfg.Image || image == byDigest(i.cfg.Image, i.ran[i.cfg.Image]) {
		return 0
	}
	return 1
}

// withoutCredentials replaces the volumes with the platform's credentials by empty ones: the pod runs in the
// webhook's namespace, and a tenant chose its image. The tap behaves as if the Secrets did not exist.
func withoutCredentials(pod *corev1.Pod) {
	for n := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[n]; v.Projected != nil || v.Secret != nil {
			v.VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
		}
	}
}

// podName returns the name of the pod that tries an image with the current settings.
func (i *images) podName(image string) string {
	sum := sha256.Sum256([]byte(image + i.settingsHash()))
	return "meshtls-tap-image-" + hex.EncodeToString(sum[:5])
}

// wanted returns the requested images, sorted: the configured one, and the images of namespaces that may choose one,
// from allowed registries.
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

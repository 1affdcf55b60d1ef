package attach

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// Plan describes what [Client.Run] will do. Making a plan changes nothing in the cluster.
type Plan struct {
	Options Options
	Pods    []PodPlan
	notes   []string // about namespaces
}

// PodPlan is the plan for one pod: exactly one of Reuse, Container and Refusal is set.
type PodPlan struct {
	Pod       *corev1.Pod
	Reuse     *Tap                       // a tap that runs already, whose log is read; it is not ended
	Container *corev1.EphemeralContainer // will be added
	Profile   inject.Profile             // of Container
	Refusal   string                     // why no tap is attached
	Notes     []string                   // sentences about the pod that the user should read beforehand
	namespace *inject.Namespace
}

// Refused reports whether no pod of the plan is or will be tapped.
func (p *Plan) Refused() bool {
	return !slices.ContainsFunc(p.Pods, func(x PodPlan) bool { return x.Refusal == "" })
}

// TooManyPodsError reports that more pods were selected than may be tapped.
type TooManyPodsError struct{ Pods, Max int }

func (e *TooManyPodsError) Error() string {
	return fmt.Sprintf("%s are selected, but at most %d may be tapped: select fewer, or set --max-pods", count(e.Pods, "pod"), e.Max)
}

// parallel is the number of pods for which requests are sent at the same time.
const parallel = 5

// Plan decides for each pod whether a tap is attached, and how. It sends dry runs to find out. An error concerns all pods, such as
// *[TooManyPodsError]; a problem of a single pod is that pod's Refusal. The plan retains pods and o.
func (c *Client) Plan(ctx context.Context, pods []corev1.Pod, o Options) (*Plan, error) {
	if limit := cmp.Or(o.MaxPods, DefaultMaxPods); len(pods) > limit {
		return nil, &TooManyPodsError{len(pods), limit}
	}
	if o.For <= 0 {
		return nil, fmt.Errorf("taps that run for %v: expected more than 0", o.For)
	}
	p := &Plan{Options: o, Pods: make([]PodPlan, len(pods))}
	namespaces := map[string]*inject.Namespace{}
	for i := range pods {
		name := pods[i].Namespace
		if namespaces[name] == nil {
			ns, note := c.namespace(ctx, name)
			namespaces[name] = ns
			if note != "" {
				p.notes = append(p.notes, note)
			}
		}
		p.Pods[i] = PodPlan{Pod: &pods[i], namespace: namespaces[name]}
	}
	err := each(ctx, p.Pods, func(x *PodPlan) error { return c.plan(ctx, x, &p.Options) })
	if err != nil {
		return nil, err
	}
	return p, nil
}

// each calls f for all members of a list, at most [parallel] at the same time. It returns the first error.
func each[T any](ctx context.Context, list []T, f func(*T) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(list))
	slots := make(chan struct{}, parallel)
	for i := range list {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			errs[i] = ctx.Err()
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = f(&list[i])
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// namespace returns a namespace's labels and annotations. If they cannot be read, it returns a sentence too: a mesh that only they declare is
// then not known to the tap.
func (c *Client) namespace(ctx context.Context, name string) (ns *inject.Namespace, note string) {
	ns = &inject.Namespace{Name: name}
	o, err := c.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return ns, fmt.Sprintf("the labels of namespace %s cannot be read, so an ambient mesh that only they declare is not known to the tap", name)
	}
	ns.Labels, ns.Annotations = o.Labels, o.Annotations
	return ns, ""
}

// plan decides about one pod.
func (c *Client) plan(ctx context.Context, x *PodPlan, o *Options) error {
	if x.Refusal = refusal(x.Pod); x.Refusal != "" {
		return nil
	}
	if o.Command == nil && x.reuse(o) {
		return nil
	}
	name, before, err := nextName(x.Pod)
	if err != nil {
		x.Refusal = err.Error()
		return nil
	}
	if before > 0 {
		x.note("earlier taps stay in the pod's spec until the pod is deleted, so this one is named %s; a pod can have at most %d of them", name, maxEphemeral)
	}
	var note string
	if x.Refusal, note = c.memory(ctx, x.Pod); x.Refusal != "" {
		return nil
	}
	if note != "" {
		x.note("%s", note)
	}
	return c.admit(ctx, x, o, name)
}

func (x *PodPlan) note(format string, args ...any) {
	x.Notes = append(x.Notes, fmt.Sprintf(format, args...))
}

// refusal returns why no tap can be attached to a pod, or "".
func refusal(pod *corev1.Pod) string {
	switch {
	case pod.DeletionTimestamp != nil:
		return "it is being deleted"
	case pod.Spec.HostNetwork:
		return "it uses the node's network, so a tap would see the traffic of the whole node and could not tell which traffic is the pod's"
	case pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows, pod.Spec.NodeSelector[corev1.LabelOSStable] == string(corev1.Windows):
		return "it runs on Windows, and a tap needs Linux"
	case pod.Annotations[corev1.MirrorPodAnnotationKey] != "":
		return "it is a static pod, and Kubernetes adds no ephemeral containers to those"
	case pod.Status.Phase != corev1.PodRunning:
		return fmt.Sprintf("it is %s, not Running", cmp.Or(string(pod.Status.Phase), "not started"))
	}
	return ""
}

// reuse sets x.Reuse if a tap runs in the pod whose records can be read.
func (x *PodPlan) reuse(o *Options) bool {
	taps := Taps(x.Pod)
	for i := range taps {
		t := &taps[i]
		switch {
		case t.State == Terminated || t.Program != ProgramRun:
		case t.Ephemeral && t.stuck():
			x.note("its tap %s cannot start (%s), so another one is attached", t.Container, t.Reason)
		case !t.HasLog:
			x.note("its tap %s writes no records to its log, so another one is attached", t.Container)
		case t.Over(time.Now()):
			x.note("the time of its tap %s is up, so another one is attached", t.Container)
		default:
			x.Reuse = t
			if !t.Ephemeral {
				x.note("the records of its sidecar %s are read. The sidecar keeps running, and reports less often than an attached tap", t.Container)
				return true
			}
			x.note("the records of its tap %s, which was attached before, are read. This command does not end that tap", t.Container)
			if left := time.Until(t.Ends); !t.Ends.IsZero() && left < o.For && short(left) != short(o.For) {
				x.note("that tap ends in %s, before the %s of --for", short(left), short(o.For))
			}
			return true
		}
	}
	return false
}

// admit finds the first profile that the namespace admits.
func (c *Client) admit(ctx context.Context, x *PodPlan, o *Options, name string) error {
	var refusals []string
	for _, profile := range profiles {
		container, err := o.container(x.Pod, x.namespace, name, profile)
		if err != nil {
			return err
		}
		if !o.Unchecked {
			_, err = c.add(ctx, x.Pod, container, true)
		}
		switch {
		case err == nil:
		case isPolicy(err):
			refusals = append(refusals, err.Error())
			continue
		case apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "dry run"):
			x.note("could not check whether the cluster admits the tap (%v)", err)
		case apierrors.IsNotFound(err):
			x.Refusal = "it no longer exists, or this cluster has no ephemeral containers, which need Kubernetes 1.25 or newer"
			return nil
		case apierrors.IsForbidden(err):
			x.Refusal = Explain(err, "patch", "pods/ephemeralcontainers", x.Pod.Namespace).Error()
			return nil
		default:
			return fmt.Errorf("pod %s/%s: %w", x.Pod.Namespace, x.Pod.Name, err)
		}
		x.Container, x.Profile = container, profile
		return nil
	}
	x.Refusal = x.refused(refusals)
	return nil
}

// add adds an ephemeral container to a pod, or tries it as a dry run.
func (c *Client) add(ctx context.Context, pod *corev1.Pod, container *corev1.EphemeralContainer, dry bool) (*corev1.Pod, error) {
	patch, err := Patch(container, pod)
	if err != nil {
		return nil, err
	}
	return c.Kube.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, patchType, patch, dryRun(dry), "ephemeralcontainers")
}

// isPolicy reports whether an admission policy refused a request. A missing right is a refusal too, but by the authorizer.
func isPolicy(err error) bool {
	if apierrors.IsForbidden(err) {
		return !strings.Contains(err.Error(), "cannot patch resource")
	}
	return strings.Contains(err.Error(), "admission webhook") && !unreachable(err) || apierrors.IsInvalid(err)
}

const enforceLabel = "pod-security.kubernetes.io/enforce"

// refused returns the refusal for a pod to which the cluster admits no profile, with the way out.
func (x *PodPlan) refused(refusals []string) string {
	first := refusals[0]
	if strings.Contains(first, "PodSecurity") {
		level := cmp.Or(x.namespace.Labels[enforceLabel], "restricted")
		if why := x.aboveBaseline(level); why != "" {
			return fmt.Sprintf("Pod Security of namespace %[1]s (%[2]s) does not admit a tap: %[4]s. The level privileged does: run `kubectl label namespace %[1]s %[3]s=privileged --overwrite`, which changes nothing for running pods, and set the label to %[2]s again afterwards. Or tap another replica, or let the owner replace the pod",
				x.Pod.Namespace, level, enforceLabel, why)
		}
		return fmt.Sprintf("Pod Security of namespace %[1]s (%[2]s) does not admit a tap. The level baseline does: run `kubectl label namespace %[1]s %[3]s=baseline --overwrite`, which changes nothing for running pods, and set the label to %[2]s again afterwards. Or capture on the node and use `tap read`",
			x.Pod.Namespace, level, enforceLabel)
	}
	return fmt.Sprintf("the cluster does not admit a tap: %s. If a policy causes this, its owner can exempt ephemeral containers named %s-*. Or capture on the node and use `tap read`", first, inject.Name)
}

// aboveBaseline returns why not even Pod Security's level baseline admits a tap, or "" if baseline is worth trying. Pod Security checks the
// whole pod whenever a container is added, so it also refuses a pod with an earlier tap that adds NET_RAW.
func (x *PodPlan) aboveBaseline(level string) string {
	for i := range x.Pod.Spec.EphemeralContainers {
		e := &x.Pod.Spec.EphemeralContainers[i]
		if s := e.SecurityContext; s != nil && s.Capabilities != nil && slices.Contains(s.Capabilities.Add, "NET_RAW") {
			return fmt.Sprintf("the pod keeps its ended container %s, which adds NET_RAW, and Pod Security checks the whole pod", e.Name)
		}
	}
	if level == "baseline" {
		return "the pod itself has settings that this level does not allow"
	}
	return ""
}

// short formats a duration in whole seconds, without parts that are 0.
func short(d time.Duration) string {
	text := d.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// count formats a number with a noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

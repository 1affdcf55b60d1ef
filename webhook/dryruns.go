package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// dryRuns finds out which profiles each namespace admits. It creates tapped pods there as dry runs, so that
// Pod Security, policies, security context constraints, limit ranges and other webhooks decide about them.
// Each replica does its own dry runs. It is safe for concurrent use.
type dryRuns struct {
	create func(context.Context, *corev1.Pod) error // creates a pod as a dry run, and sets pod to the API server's response
	live   client.Reader
	cfg    *inject.Config
	log    *slog.Logger
	now    func() time.Time

	off bool // dry runs are disabled; Pod Security's label and earlier refusals of real pods decide instead

	mu      sync.Mutex
	refused map[string]refusal       // the latest refusal of a real pod with a tap, by namespace; only if dry runs are disabled
	known   map[string]*admission    // the latest results, by namespace
	running map[string]chan struct{} // by namespace; the channel is closed when the run has ended
}

// refusal is the reason why a pod with a tap was not created.
type refusal struct {
	why string
	at  time.Time
}

// storeRefusal records that the cluster refused a pod because of its tap. If dry runs are disabled, all taps of the
// namespace then count as refused for the time freshness. If they are enabled, storeRefusal does nothing.
func (d *dryRuns) storeRefusal(namespace, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		d.refused[namespace] = refusal{why, d.now()}
		delete(d.known, namespace)
	}
}

// guess returns why the cluster would probably refuse pod because of its tap, or "". It needs no dry run.
func (d *dryRuns) guess(ns *inject.Namespace, pod *corev1.Pod) string {
	if c, _ := tapOf(pod); c == nil {
		return ""
	}
	d.mu.Lock()
	r, ok := d.refused[ns.Name]
	d.mu.Unlock()
	if ok && d.now().Sub(r.at) < freshness {
		return "a pod with a tap was refused: " + r.why
	}
	return bySecurityLevel(ns.Labels, pod)
}

// admission is the result of the dry runs in a namespace. It is immutable once it is in dryRuns.known.
type admission struct {
	key      string // dryRunKey of the namespace at the time of the dry runs
	at       time.Time
	refusals map[inject.Profile]string // why profiles are refused; admitted profiles are not in the map
	noNative bool                      // another webhook removes the restartPolicy of native sidecars
}

// fillIn fills in the fields of ns that depend on dry runs.
func (a *admission) fillIn(ns *inject.Namespace) {
	ns.Refusals, ns.NoNative = a.refusals, a.noNative
}

// freshness is how long an admission is valid. The controller renews it every hour.
const freshness = 2 * time.Hour

// newDryRuns returns dryRuns that create pods with c. live reads example pods; enabled is Config.DryRuns.
func newDryRuns(c client.Client, live client.Reader, cfg *inject.Config, enabled bool, log *slog.Logger) *dryRuns {
	return &dryRuns{
		create: func(ctx context.Context, d *corev1.Pod) error { return c.Create(ctx, d, client.DryRunAll, fieldOwner) },
		live:   live, cfg: cfg, log: log, now: time.Now,
		off: !enabled, refused: map[string]refusal{}, known: map[string]*admission{}, running: map[string]chan struct{}{},
	}
}

// dryRunKey identifies the state of a namespace: the result of its dry runs stays valid while the key is the same.
// The key covers the namespace's labels, its annotations for the tap and for OpenShift, its limit ranges, and whether
// a quota counts CPU limits.
func dryRunKey(ns *inject.Namespace) string {
	annotations := maps.Clone(ns.Annotations)
	maps.DeleteFunc(annotations, func(k, _ string) bool {
		return !strings.HasPrefix(k, inject.Prefix) && !strings.Contains(k, "openshift.io/")
	})
	return fmt.Sprint(ns.Labels, annotations, ns.LimitRanges, ns.CPULimits)
}

// of returns the admission of a namespace: the result of earlier dry runs if it is still valid. Otherwise it waits for
// dry runs that are in progress, or does new ones. An error means that nothing is known.
func (d *dryRuns) of(ctx context.Context, ns *inject.Namespace) (*admission, error) {
	key := dryRunKey(ns)
	for {
		d.mu.Lock()
		a := d.known[ns.Name]
		busy, ok := d.running[ns.Name]
		d.mu.Unlock()
		switch {
		case a != nil && a.key == key && d.now().Sub(a.at) < freshness:
			return a, nil
		case !ok:
			return d.renew(ctx, ns)
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// renew does the dry runs of a namespace. If they are running already, it waits for their result instead. If they fail,
// it returns the earlier admission, unless the dryRunKey has changed since.
func (d *dryRuns) renew(ctx context.Context, ns *inject.Namespace) (*admission, error) {
	d.mu.Lock()
	if busy, ok := d.running[ns.Name]; ok {
		d.mu.Unlock()
		select {
		case <-busy:
			return d.of(ctx, ns)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}

	done := make(chan struct{})
	d.running[ns.Name] = done
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.running, ns.Name)
		d.mu.Unlock()
		close(done)
	}()

	a, err := d.ask(ctx, ns)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.store(ns.Name, a)
		return a, nil
	}
	if old := d.known[ns.Name]; old != nil && old.key == dryRunKey(ns) {
		return old, nil // an old result is better than none
	}
	return nil, err
}

// store stores and logs an admission, and sets its metrics. d.mu must be locked.
func (d *dryRuns) store(name string, a *admission) {
	if old := d.known[name]; old == nil || !maps.Equal(old.refusals, a.refusals) || old.noNative != a.noNative {
		d.log.Info("dry runs done", "namespace", name, "refused", a.refusals, "noNative", a.noNative)
	}
	for _, profile := range inject.Profiles() {
		admitted := 1.0
		switch a.refusals[profile] {
		case "":
		case untried:
			admittedProfiles.DeleteLabelValues(name, string(profile))
			continue
		default:
			admitted = 0
		}
		admittedProfiles.WithLabelValues(name, string(profile)).Set(admitted)
	}
	d.known[name] = a
}

// age returns how long ago the dry runs for the current state of the namespace were done. It returns false if there
// were none.
func (d *dryRuns) age(ns *inject.Namespace) (time.Duration, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.known[ns.Name]
	if a == nil || a.key != dryRunKey(ns) {
		return 0, false
	}
	return d.now().Sub(a.at), true
}

// forget deletes everything about a namespace.
func (d *dryRuns) forget(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.known, name)
	delete(d.refused, name)
	admittedProfiles.DeletePartialMatch(map[string]string{"namespace": name})
}

// untried is the reason recorded for profiles that no dry run tried, because none was needed.
const untried = "this profile was not tried"

// ask does the dry runs of the candidate profiles, with one of the webhook's own pods. If that pod is refused even
// without a tap, it uses a copy of one of the namespace's pods.
func (d *dryRuns) ask(ctx context.Context, ns *inject.Namespace) (*admission, error) {
	base := dryRunPod(ns.Name, d.cfg.Image)
	a, err := d.try(ctx, ns, base)
	if err != nil || a.admitsAny() {
		return a, err
	}
	if refusal, err := d.admits(ctx, ns, untapped(base)); err != nil || refusal == "" {
		return a, err
	}
	theirs, err := d.example(ctx, ns.Name)
	if err != nil || theirs == nil {
		return a, err
	}
	return d.try(ctx, ns, theirs)
}

// admitsAny reports whether at least one profile is admitted.
func (a *admission) admitsAny() bool { return len(a.refusals) < len(inject.Profiles()) }

// candidates returns the profiles that may be used in a namespace, the best first. If all is true, each of them has
// to be tried, because pods may choose one. Otherwise the first admitted one is enough.
func (d *dryRuns) candidates(ns *inject.Namespace) (profiles []inject.Profile, all bool) {
	if slices.Contains(d.cfg.Allowed, inject.AnnotationProfile) || slices.Contains(d.cfg.Allowed, "*") {
		return inject.Profiles(), true
	}
	if v := inject.Profile(ns.Annotations[inject.Prefix+inject.AnnotationProfile]); d.cfg.NamespaceMay(inject.AnnotationProfile) && slices.Contains(inject.Profiles(), v) {
		return []inject.Profile{v}, false
	}
	if d.cfg.Profile != inject.ProfileAuto {
		return []inject.Profile{d.cfg.Profile}, false
	}
	return inject.AutoProfiles(), false
}

// try finds out which profiles are admitted when a tap is added to the pod base. If another webhook makes native
// sidecars unusable, it tries taps that are ordinary containers.
func (d *dryRuns) try(ctx context.Context, ns *inject.Namespace, base *corev1.Pod) (*admission, error) {
	a := &admission{key: dryRunKey(ns), at: d.now(), refusals: map[inject.Profile]string{}}
	for _, profile := range inject.Profiles() {
		a.refusals[profile] = untried
	}

	candidates, all := d.candidates(ns)
	for _, profile := range candidates {
		refusal, spoilt, err := d.trial(ctx, ns, base, profile, a.noNative)
		if err == nil && spoilt {
			a.noNative = true
			refusal, _, err = d.trial(ctx, ns, base, profile, true)
		}
		if err != nil {
			return nil, err
		}
		a.refusals[profile] = refusal
		if refusal == "" {
			delete(a.refusals, profile)
			if !all {
				break
			}
		}
	}
	return a, nil
}

// trial creates a pod as a dry run and returns why the tap of a profile is refused, or "". First it creates the pod
// without the tap, so that the API server calls all webhooks, including this one, in their order. If the response has
// no tap, because the API server does not call this webhook yet, trial creates the pod with the tap. spoilt reports
// whether another webhook removed the tap's restartPolicy; the tap is then not a native sidecar.
func (d *dryRuns) trial(ctx context.Context, ns *inject.Namespace, base *corev1.Pod, profile inject.Profile, noNative bool) (refusal string, spoilt bool, err error) {
	seen := *ns
	seen.NoNative = noNative
	tapped, err := tapped(d.cfg, &seen, base, profile, d.now())
	if err != nil {
		return "", false, err
	}
	pod := asking(base, tapped, profile, noNative)
	if refusal, err = d.admits(ctx, ns, pod); err != nil || refusal != "" {
		return refusal, !noNative && hookWithoutSidecar(refusal), err
	}
	if c, native := tapOf(pod); c != nil {
		return "", native && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways), nil
	}
	refusal, err = d.admits(ctx, ns, tapped)
	return refusal, false, err
}

// hookWithoutSidecar reports whether a pod was refused because another webhook removed the tap's restartPolicy. Only
// a native sidecar may have a postStart hook like the tap's (k8s.io/kubernetes pkg/apis/core/validation: "may not be
// set for init containers without restartPolicy=Always").
func hookWithoutSidecar(refusal string) bool {
	return strings.Contains(refusal, "lifecycle") && strings.Contains(refusal, "without restartPolicy=Always")
}

// admits creates a pod as a dry run and returns why it is refused, or "". It returns an error if the API server did
// not decide.
func (d *dryRuns) admits(ctx context.Context, ns *inject.Namespace, pod *corev1.Pod) (string, error) {
	if d.off {
		return d.guess(ns, pod), nil
	}
	err := d.create(ctx, pod)
	switch {
	case err == nil:
		return "", nil
	case unverifiable(err):
		d.log.Debug("dry run not possible", "namespace", ns.Name, "error", err)
		return bySecurityLevel(ns.Labels, pod), nil
	case !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err):
		return "", err
	}
	text := err.Error()
	if strings.Contains(text, "exceeded quota") || strings.Contains(text, "failed quota") {
		return "", nil // the pod passed all other checks, since quotas are the last one; the webhook checks quotas itself
	}
	if _, after, ok := strings.Cut(text, " is forbidden: "); ok {
		text = after
	}
	return text, nil
}

// unverifiable reports whether err means that a dry run is impossible: another webhook has side effects
// (k8s.io/apiserver pkg/admission/plugin/webhook: NewDryRunUnsupportedErr), or the webhook's role does not allow it.
func unverifiable(err error) bool {
	text := err.Error()
	return apierrors.IsBadRequest(err) && strings.Contains(text, "does not support dry run") ||
		apierrors.IsForbidden(err) && strings.Contains(text, `cannot create resource "pods"`)
}

// bySecurityLevel returns why Pod Security would refuse the tap, or "". The namespace's label sets the level of Pod
// Security.
func bySecurityLevel(labels map[string]string, pod *corev1.Pod) string {
	const label = "pod-security.kubernetes.io/enforce"
	c, _ := tapOf(pod)
	adds := c != nil && c.SecurityContext != nil && c.SecurityContext.Capabilities != nil && len(c.SecurityContext.Capabilities.Add) > 0
	switch level := labels[label]; {
	case level == "restricted", level == "baseline" && adds:
		return fmt.Sprintf("the namespace's label %s=%s forbids the tap", label, level)
	}
	return ""
}

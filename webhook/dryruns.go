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

	off bool // dry runs are disabled: Pod Security's label and earlier refusals of real pods decide

	mu      sync.Mutex
	refused map[string]refusal       // the latest refusal of a real pod with a tap, by namespace; only if dry runs are disabled
	known   map[string]*admission    // the latest results, by namespace
	running map[string]chan struct{} // by namespace; the channel is closed when the run has ended
}

// refusal is why a pod with a tap was not created.
type refusal struct {
	why string
	at  time.Time
}

// storeRefusal records that the cluster refused a pod because of its tap. If dry runs are disabled, all taps of
// the namespace count as refused for the time freshness; otherwise it does nothing.
func (p *dryRuns) storeRefusal(namespace, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		p.refused[namespace] = refusal{why, p.now()}
		delete(p.known, namespace)
	}
}

// guess returns why pod would be refused because of its tap, as far as that is known without a dry run, or "".
func (p *dryRuns) guess(ns *inject.Namespace, pod *corev1.Pod) string {
	if c, _ := tapOf(pod); c == nil {
		return ""
	}
	p.mu.Lock()
	r, ok := p.refused[ns.Name]
	p.mu.Unlock()
	if ok && p.now().Sub(r.at) < freshness {
		return "a pod with a tap was refused: " + r.why
	}
	return bySecurityLevel(ns.Labels, pod)
}

// admission is the result of the dry runs in a namespace. It is immutable once it is in dryRuns.known.
type admission struct {
	key      string // dryRunKey of the namespace at that time
	at       time.Time
	refusals map[inject.Profile]string // why a profile is refused; a profile that is admitted is not in it
	noNative bool                      // another webhook removes what makes a container a native sidecar
}

// fillIn fills in the fields of ns that depend on dry runs.
func (a *admission) fillIn(ns *inject.Namespace) {
	ns.Refusals, ns.NoNative = a.refusals, a.noNative
}

// freshness is how long an admission is valid. The controller renews it every hour.
const freshness = 2 * time.Hour

// newDryRuns returns dryRuns that create pods by c. live reads example pods; enabled is Config.DryRuns.
func newDryRuns(c client.Client, live client.Reader, cfg *inject.Config, enabled bool, log *slog.Logger) *dryRuns {
	return &dryRuns{
		create: func(ctx context.Context, p *corev1.Pod) error { return c.Create(ctx, p, client.DryRunAll, fieldOwner) },
		live:   live, cfg: cfg, log: log, now: time.Now,
		off: !enabled, refused: map[string]refusal{}, known: map[string]*admission{}, running: map[string]chan struct{}{},
	}
}

// dryRunKey identifies the properties of a namespace that the result of dry runs depends on: its labels, its
// annotations for the tap and for OpenShift, its limit ranges, and whether a quota counts CPU limits.
func dryRunKey(ns *inject.Namespace) string {
	annotations := maps.Clone(ns.Annotations)
	maps.DeleteFunc(annotations, func(k, _ string) bool {
		return !strings.HasPrefix(k, inject.Prefix) && !strings.Contains(k, "openshift.io/")
	})
	return fmt.Sprint(ns.Labels, annotations, ns.LimitRanges, ns.CPULimits)
}

// of returns the admission of a namespace: a valid one from earlier dry runs, or that of new ones. An error means
// that nothing is known.
func (p *dryRuns) of(ctx context.Context, ns *inject.Namespace) (*admission, error) {
	key := dryRunKey(ns)
	for {
		p.mu.Lock()
		a := p.known[ns.Name]
		busy, ok := p.running[ns.Name]
		p.mu.Unlock()
		switch {
		case a != nil && a.key == key && p.now().Sub(a.at) < freshness:
			return a, nil
		case !ok:
			return p.renew(ctx, ns)
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// renew does the dry runs of a namespace. If they are running already, it waits for their result instead. If they
// fail, it returns the earlier admission if that is for the same dryRunKey.
func (p *dryRuns) renew(ctx context.Context, ns *inject.Namespace) (*admission, error) {
	p.mu.Lock()
	if busy, ok := p.running[ns.Name]; ok {
		p.mu.Unlock()
		select {
		case <-busy:
			return p.of(ctx, ns)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	done := make(chan struct{})
	p.running[ns.Name] = done
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.running, ns.Name)
		p.mu.Unlock()
		close(done)
	}()
	a, err := p.ask(ctx, ns)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.store(ns.Name, a)
		return a, nil
	}
	if old := p.known[ns.Name]; old != nil && old.key == dryRunKey(ns) {
		return old, nil // an old result is better than none
	}
	return nil, err
}

// store stores and logs an admission, and sets its metrics. p.mu must be locked.
func (p *dryRuns) store(name string, a *admission) {
	if old := p.known[name]; old == nil || !maps.Equal(old.refusals, a.refusals) || old.noNative != a.noNative {
		p.log.Info("dry runs done", "namespace", name, "refused", a.refusals, "noNative", a.noNative)
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
	p.known[name] = a
}

// age returns how long ago the dry runs for the current state of the namespace were done; false if they were not.
func (p *dryRuns) age(ns *inject.Namespace) (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.known[ns.Name]
	if a == nil || a.key != dryRunKey(ns) {
		return 0, false
	}
	return p.now().Sub(a.at), true
}

// forget deletes everything about a namespace.
func (p *dryRuns) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, name)
	delete(p.refused, name)
	admittedProfiles.DeletePartialMatch(map[string]string{"namespace": name})
}

// untried is the refusal of a profile for which no dry run was needed.
const untried = "this profile was not tried"

// ask does the dry runs of the candidate profiles, with one of the webhook's own pods. If that pod is refused even
// without a tap, it uses a copy of one of the namespace's pods.
func (p *dryRuns) ask(ctx context.Context, ns *inject.Namespace) (*admission, error) {
	base := dryRunPod(ns.Name, p.cfg.Image)
	a, err := p.try(ctx, ns, base)
	if err != nil || a.admitsAny() {
		return a, err
	}
	if refusal, err := p.admits(ctx, ns, untapped(base)); err != nil || refusal == "" {
		return a, err
	}
	theirs, err := p.example(ctx, ns.Name)
	if err != nil || theirs == nil {
		return a, err
	}
	return p.try(ctx, ns, theirs)
}

// admitsAny reports whether at least one profile is admitted.
func (a *admission) admitsAny() bool { return len(a.refusals) < len(inject.Profiles()) }

// candidates returns the profiles that may be used in a namespace, the best first. all reports whether each of them
// has to be tried, because pods may choose; otherwise the first that is admitted is enough.
func (p *dryRuns) candidates(ns *inject.Namespace) (profiles []inject.Profile, all bool) {
	if slices.Contains(p.cfg.Allowed, inject.AnnotationProfile) || slices.Contains(p.cfg.Allowed, "*") {
		return inject.Profiles(), true
	}
	if v := inject.Profile(ns.Annotations[inject.Prefix+inject.AnnotationProfile]); p.cfg.NamespaceMay(inject.AnnotationProfile) && slices.Contains(inject.Profiles(), v) {
		return []inject.Profile{v}, false
	}
	if p.cfg.Profile != inject.ProfileAuto {
		return []inject.Profile{p.cfg.Profile}, false
	}
	return inject.AutoProfiles(), false
}

// try finds out with which profiles a tap is admitted in the pod base. If another webhook makes native sidecars
// unusable, it tries taps that are ordinary containers.
func (p *dryRuns) try(ctx context.Context, ns *inject.Namespace, base *corev1.Pod) (*admission, error) {
	a := &admission{key: dryRunKey(ns), at: p.now(), refusals: map[inject.Profile]string{}}
	for _, profile := range inject.Profiles() {
		a.refusals[profile] = untried
	}
	candidates, all := p.candidates(ns)
	for _, profile := range candidates {
		refusal, spoilt, err := p.trial(ctx, ns, base, profile, a.noNative)
		if err == nil && spoilt {
			a.noNative = true
			refusal, _, err = p.trial(ctx, ns, base, profile, true)
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

// trial creates a pod with the tap of a profile as a dry run and returns why it is refused, or "". First it creates
// the pod without the tap, so that all webhooks, this one included, are called in their order. If the response has
// no tap, because the API server does not call this webhook yet, it creates the pod with the tap. spoilt reports
// whether another webhook removed what makes the tap a native sidecar.
func (p *dryRuns) trial(ctx context.Context, ns *inject.Namespace, base *corev1.Pod, profile inject.Profile, noNative bool) (refusal string, spoilt bool, err error) {
	seen := *ns
	seen.NoNative = noNative
	tapped, err := tapped(p.cfg, &seen, base, profile, p.now())
	if err != nil {
		return "", false, err
	}
	pod := asking(base, tapped, profile, noNative)
	if refusal, err = p.admits(ctx, ns, pod); err != nil || refusal != "" {
		return refusal, !noNative && hookWithoutSidecar(refusal), err
	}
	if c, native := tapOf(pod); c != nil {
		return "", native && (c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways), nil
	}
	refusal, err = p.admits(ctx, ns, tapped)
	return refusal, false, err
}

// hookWithoutSidecar reports whether a pod was refused because another webhook removed the tap's restartPolicy: an
// init container that is not a native sidecar may not have the tap's postStart hook (k8s.io/kubernetes
// pkg/apis/core/validation: "may not be set for init containers without restartPolicy=Always").
func hookWithoutSidecar(refusal string) bool {
	return strings.Contains(refusal, "lifecycle") && strings.Contains(refusal, "without restartPolicy=Always")
}

// admits creates a pod as a dry run and returns why it is refused, or "". An error means that the API server did not
// decide.
func (p *dryRuns) admits(ctx context.Context, ns *inject.Namespace, pod *corev1.Pod) (string, error) {
	if p.off {
		return p.guess(ns, pod), nil
	}
	err := p.create(ctx, pod)
	switch {
	case err == nil:
		return "", nil
	case unverifiable(err):
		p.log.Debug("dry run not possible", "namespace", ns.Name, "error", err)
		return bySecurityLevel(ns.Labels, pod), nil
	case !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err):
		return "", err
	}
	text := err.Error()
	if strings.Contains(text, "exceeded quota") || strings.Contains(text, "failed quota") {
		return "", nil // quotas are the last check, and the webhook compares them itself
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

// bySecurityLevel returns why Pod Security would refuse the tap, by the namespace's label, or "".
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

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

// dryRuns knows which taps each namespace admits: it creates pods there as dry runs, so that
// Pod Security, policies, security context constraints, limit ranges and the other webhooks
// answer themselves. Each replica asks for itself.
type dryRuns struct {
	create func(context.Context, *corev1.Pod) error // a dry run; the pod becomes what the cluster makes of it
	live   client.Reader
	cfg    *inject.Config
	log    *slog.Logger
	now    func() time.Time

	off bool // no dry runs: Pod Security's label and refusals of pods that were created are all there is

	mu      sync.Mutex
	refused map[string]refusal       // of a pod with a tap, by namespace; where dry runs are off
	known   map[string]*admission    // by namespace
	running map[string]chan struct{} // closed when the run is over
}

// refusal is why a pod with a tap was not created.
type refusal struct {
	why string
	at  time.Time
}

// storeRefusal takes note that the cluster refused a pod because of its tap. It matters only
// where dry runs are off: what refused one is taken to refuse all.
func (p *dryRuns) storeRefusal(namespace, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		p.refused[namespace] = refusal{why, p.now()}
		delete(p.known, namespace)
	}
}

// guess returns why a pod with a tap would be refused, as far as that is known without a dry run.
// It is empty if there is no known reason.
func (p *dryRuns) guess(ns *inject.Namespace, pod *corev1.Pod) string {
	if c, _ := tapOf(pod); c == nil {
		return ""
	}
	p.mu.Lock()
	r, ok := p.refused[ns.Name]
	p.mu.Unlock()
	if ok && p.now().Sub(r.at) < freshness {
		return "a pod with it was refused: " + r.why
	}
	return bySecurityLevel(ns.Labels, pod)
}

// admission is what the dry runs of a namespace said. It is not changed once it is known.
type admission struct {
	key      string // of what it was asked about
	at       time.Time
	refusals map[inject.Profile]string
	noNative bool // a webhook drops what makes a native sidecar
}

// fillIn tells an injection what is known.
func (a *admission) fillIn(ns *inject.Namespace) {
	ns.Refusals, ns.NoNative = a.refusals, a.noNative
}

// freshness is how long an admission is good; the controller asks anew each hour.
const freshness = 2 * time.Hour

func newDryRuns(c client.Client, live client.Reader, cfg *inject.Config, enabled bool, log *slog.Logger) *dryRuns {
	return &dryRuns{
		create: func(ctx context.Context, p *corev1.Pod) error { return c.Create(ctx, p, client.DryRunAll, fieldOwner) },
		live:   live, cfg: cfg, log: log, now: time.Now,
		off: !enabled, refused: map[string]refusal{}, known: map[string]*admission{}, running: map[string]chan struct{}{},
	}
}

// dryRunKey changes when what the namespace says of policies, the tap or its limits does.
func dryRunKey(ns *inject.Namespace) string {
	annotations := maps.Clone(ns.Annotations)
	maps.DeleteFunc(annotations, func(k, _ string) bool {
		return !strings.HasPrefix(k, inject.Prefix) && !strings.Contains(k, "openshift.io/")
	})
	return fmt.Sprint(ns.Labels, annotations, ns.LimitRanges, ns.CPULimits)
}

// of returns the admission of a namespace, from a run of before or a new one. An error means
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

// renew asks the API server, unless it is being asked: then it waits for the answer.
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
		return old, nil // what was known is better than nothing
	}
	return nil, err
}

// store keeps an admission; p.mu is held.
func (p *dryRuns) store(name string, a *admission) {
	if old := p.known[name]; old == nil || !maps.Equal(old.refusals, a.refusals) || old.noNative != a.noNative {
		p.log.Info("taps tried", "namespace", name, "refused", a.refusals, "noNative", a.noNative)
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

// age is how long ago the namespace, as it is, was asked about, if it was.
func (p *dryRuns) age(ns *inject.Namespace) (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.known[ns.Name]
	if a == nil || a.key != dryRunKey(ns) {
		return 0, false
	}
	return p.now().Sub(a.at), true
}

// forget drops what is known of a namespace.
func (p *dryRuns) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, name)
	delete(p.refused, name)
	admittedProfiles.DeletePartialMatch(map[string]string{"namespace": name})
}

// untried is why a profile is not used that nothing asked for.
const untried = "it was not tried"

// ask tries the profiles in question, with a pod of our own and, where that is refused even
// without a tap, with one of the namespace's.
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

func (a *admission) admitsAny() bool { return len(a.refusals) < len(inject.Profiles()) }

// candidates are the profiles that may be used in a namespace, the best first; all is whether
// each has to be tried rather than the first that is admitted be taken.
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

// try finds out which profiles are admitted on a pod. Where another webhook spoils native
// sidecars, it is plain containers that are tried.
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

// trial creates a pod with the tap of a profile as a dry run: first as everybody's pod, which
// the webhooks get to see in their order, ours among them; and where that comes back
// without a tap, since ours is not called yet, with the tap in it.
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

// hookWithoutSidecar reports whether a refusal says that another webhook dropped what makes a native
// sidecar of the tap, whose postStart hook no other init container may have (k8s.io/kubernetes
// pkg/apis/core/validation: "may not be set for init containers without restartPolicy=Always").
func hookWithoutSidecar(refusal string) bool {
	return strings.Contains(refusal, "lifecycle") && strings.Contains(refusal, "without restartPolicy=Always")
}

// admits creates a pod as a dry run and returns why it is refused, or "".
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
		return "", nil // the last of all checks: what is left of a quota is for the webhook to see
	}
	if _, after, ok := strings.Cut(text, " is forbidden: "); ok {
		text = after
	}
	return text, nil
}

// unverifiable reports whether an error says that there can be no dry run: another webhook that has
// effects of its own (k8s.io/apiserver pkg/admission/plugin/webhook: NewDryRunUnsupportedErr), or no
// right to it.
func unverifiable(err error) bool {
	text := err.Error()
	return apierrors.IsBadRequest(err) && strings.Contains(text, "does not support dry run") ||
		apierrors.IsForbidden(err) && strings.Contains(text, `cannot create resource "pods"`)
}

// bySecurityLevel is what Pod Security would say of the tap, by the namespace's label alone.
func bySecurityLevel(labels map[string]string, pod *corev1.Pod) string {
	const label = "pod-security.kubernetes.io/enforce"
	c, _ := tapOf(pod)
	adds := c != nil && c.SecurityContext != nil && c.SecurityContext.Capabilities != nil && len(c.SecurityContext.Capabilities.Add) > 0
	switch level := labels[label]; {
	case level == "restricted", level == "baseline" && adds:
		return fmt.Sprintf("the namespace's label %s=%s", label, level)
	}
	return ""
}

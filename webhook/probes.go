package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// probes knows which profiles each namespace admits: it creates tapped pods there as dry
// runs, so that Pod Security, policies, security context constraints, quota and limit ranges
// answer themselves. Each replica asks for itself.
type probes struct {
	create func(context.Context, *corev1.Pod) error
	live   client.Reader
	cfg    *inject.Config
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	known   map[string]*verdict      // by namespace
	running map[string]chan struct{} // closed when the run is over
}

// verdict is what the dry runs of a namespace said.
type verdict struct {
	key      string // of what it was asked about
	at       time.Time
	refusals map[inject.Profile]string
}

// freshness is how long a verdict is good; the controller asks anew each hour.
const freshness = 2 * time.Hour

func newProbes(c client.Client, live client.Reader, cfg *inject.Config, log *slog.Logger) *probes {
	return &probes{
		create: func(ctx context.Context, p *corev1.Pod) error { return c.Create(ctx, p, client.DryRunAll, fieldOwner) },
		live:   live, cfg: cfg, log: log, now: time.Now,
		known: map[string]*verdict{}, running: map[string]chan struct{}{},
	}
}

// probeKey changes when what the namespace says of policies, the tap or its limits does.
func probeKey(ns *inject.Namespace) string {
	annotations := maps.Clone(ns.Annotations)
	maps.DeleteFunc(annotations, func(k, _ string) bool {
		return !strings.HasPrefix(k, inject.Prefix) && !strings.Contains(k, "openshift.io/")
	})
	return fmt.Sprint(ns.Labels, annotations, ns.LimitRanges)
}

// refusals returns why which profiles are refused, from a run of before or a new one. An
// error means that nothing is known.
func (p *probes) refusals(ctx context.Context, ns *inject.Namespace) (map[inject.Profile]string, error) {
	key := probeKey(ns)
	for {
		p.mu.Lock()
		v := p.known[ns.Name]
		if v != nil && v.key == key && p.now().Sub(v.at) < freshness {
			p.mu.Unlock()
			return v.refusals, nil
		}
		busy, ok := p.running[ns.Name]
		p.mu.Unlock()
		if !ok {
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
func (p *probes) renew(ctx context.Context, ns *inject.Namespace) (map[inject.Profile]string, error) {
	p.mu.Lock()
	if busy, ok := p.running[ns.Name]; ok {
		p.mu.Unlock()
		select {
		case <-busy:
			return p.refusals(ctx, ns)
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
	refusals, err := p.ask(ctx, ns)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.learn(ns, refusals)
		return refusals, nil
	}
	if v := p.known[ns.Name]; v != nil && v.key == probeKey(ns) {
		return v.refusals, nil // what was known is better than nothing
	}
	return nil, err
}

// learn keeps a verdict; p.mu is held.
func (p *probes) learn(ns *inject.Namespace, refusals map[inject.Profile]string) {
	if old := p.known[ns.Name]; old == nil || !maps.Equal(old.refusals, refusals) {
		p.log.Info("profiles tried", "namespace", ns.Name, "refused", refusals)
	}
	for _, profile := range inject.Profiles() {
		admitted := 1.0
		if refusals[profile] != "" {
			admitted = 0
		}
		admittedProfiles.WithLabelValues(ns.Name, string(profile)).Set(admitted)
	}
	p.known[ns.Name] = &verdict{probeKey(ns), p.now(), refusals}
}

// age is how long ago the namespace, as it is, was asked about, if it was.
func (p *probes) age(ns *inject.Namespace) (time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.known[ns.Name]
	if v == nil || v.key != probeKey(ns) {
		return 0, false
	}
	return p.now().Sub(v.at), true
}

// forget drops what is known of a namespace.
func (p *probes) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, name)
	admittedProfiles.DeletePartialMatch(map[string]string{"namespace": name})
}

// ask tries all profiles, with a pod of our own and, where that is refused even without
// a tap, with one of the namespace's.
func (p *probes) ask(ctx context.Context, ns *inject.Namespace) (map[inject.Profile]string, error) {
	base := probePod(ns.Name, p.cfg.Image)
	refusals, err := p.try(ctx, ns, base)
	if err != nil || len(refusals) < len(inject.Profiles()) {
		return refusals, err
	}
	if refusal, err := p.admits(ctx, ns, base.DeepCopy()); err != nil || refusal == "" {
		return refusals, err
	}
	theirs, err := p.example(ctx, ns.Name)
	if err != nil || theirs == nil {
		return refusals, err
	}
	return p.try(ctx, ns, theirs)
}

// try returns the refusals of a pod with the tap of each profile.
func (p *probes) try(ctx context.Context, ns *inject.Namespace, base *corev1.Pod) (map[inject.Profile]string, error) {
	refusals := map[inject.Profile]string{}
	for _, profile := range inject.Profiles() {
		pod, err := tapped(p.cfg, ns, base, profile, p.now())
		if err != nil {
			return nil, err
		}
		refusal, err := p.admits(ctx, ns, pod)
		if err != nil {
			return nil, err
		}
		if refusal != "" {
			refusals[profile] = refusal
		}
	}
	return refusals, nil
}

// admits creates a pod as a dry run and returns why it is refused, or "".
func (p *probes) admits(ctx context.Context, ns *inject.Namespace, pod *corev1.Pod) (string, error) {
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
	if strings.Contains(text, "exceeded quota") {
		return "", nil // the last of all checks: what is left of a quota is for the webhook to see
	}
	if _, after, ok := strings.Cut(text, " is forbidden: "); ok {
		text = after
	}
	return text, nil
}

// unverifiable is whether an error says that there can be no dry run: another webhook that has
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
	adds := false
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if c := list[i].SecurityContext; list[i].Name == inject.Name && c != nil && c.Capabilities != nil {
				adds = len(c.Capabilities.Add) > 0
			}
		}
	}
	switch level := labels[label]; {
	case level == "restricted", level == "baseline" && adds:
		return fmt.Sprintf("the namespace's label %s=%s", label, level)
	}
	return ""
}

package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshtls-tap/meshtls-tap/internal/inject"
)

// survey counts the pods of the namespaces that ask for taps: a webhook that was away, or came
// later than its pods, left some without. Only the elected replica runs it.
type survey struct {
	client     client.Client // namespaces from the cache
	live       client.Reader // pods, in pages: they are too many to keep
	cfg        *inject.Config
	namespaces *namespaces
	probes     *probes
	events     *events
	log        *slog.Logger

	said map[string]tally // what a namespace was told last
}

// tally is the pods of a namespace, by state.
type tally struct{ tapped, outdated, untapped, skipped int }

// look counts all pods and tells each namespace whose count changed.
func (s *survey) look(ctx context.Context) error {
	var list corev1.NamespaceList
	if err := s.client.List(ctx, &list, client.MatchingLabels{inject.Label: inject.Enabled}); err != nil {
		return err
	}
	seen := map[string]tally{}
	var errs []error
	for i := range list.Items {
		name := list.Items[i].Name
		if !concerned(s.cfg, &list.Items[i]) {
			continue
		}
		t, err := s.count(ctx, &list.Items[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("namespace %s: %w", name, err))
			continue
		}
		seen[name] = t
		s.publish(name, t)
		if t.untapped+t.outdated > 0 && t != s.said[name] {
			s.events.namespace(name, corev1.EventTypeWarning, "PodsUntapped",
				"%d pods run without a tap and %d with an outdated one: they were created before, or while the webhook was away. Restart them to change that.",
				t.untapped, t.outdated)
		}
	}
	for name := range s.said {
		if _, ok := seen[name]; !ok {
			podStates.DeletePartialMatch(map[string]string{"namespace": name})
		}
	}
	s.said = seen
	return errors.Join(errs...)
}

func (s *survey) publish(name string, t tally) {
	for state, n := range map[string]int{"tapped": t.tapped, "outdated": t.outdated, "untapped": t.untapped, "skipped": t.skipped} {
		podStates.WithLabelValues(name, state).Set(float64(n))
	}
}

func (s *survey) count(ctx context.Context, object *corev1.Namespace) (tally, error) {
	var t tally
	ns, err := s.namespaces.view(ctx, object)
	if err != nil {
		return t, err
	}
	v, err := s.probes.of(ctx, ns)
	if err != nil {
		return t, err
	}
	v.into(ns)
	ns.Caps = nil // what is there fits
	var list corev1.PodList
	for next := ""; ; next = list.Continue {
		if err := s.live.List(ctx, &list, client.InNamespace(ns.Name), client.Limit(250), client.Continue(next)); err != nil {
			return t, err
		}
		for i := range list.Items {
			if err := s.add(&t, ns, &list.Items[i]); err != nil {
				return t, err
			}
		}
		if list.Continue == "" {
			return t, nil
		}
	}
}

func (s *survey) add(t *tally, ns *inject.Namespace, pod *corev1.Pod) error {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	raw, err := json.Marshal(pod)
	if err != nil {
		return err
	}
	switch inject.Tap(s.cfg, ns, raw, s.namespaces.now()).Reason {
	case inject.ReasonAlready:
		var status inject.Status
		if json.Unmarshal([]byte(pod.Annotations[inject.Prefix+inject.AnnotationStatus]), &status) == nil && status.Config == s.cfg.Hash() {
			t.tapped++
		} else {
			t.outdated++
		}
	case inject.Injected:
		t.untapped++
	default:
		t.skipped++
	}
	return nil
}

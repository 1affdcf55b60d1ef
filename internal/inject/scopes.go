package inject

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// subject reports whether a quota counts the pod, which must match all of the quota's scopes (k8s.io/kubernetes
// pkg/quota/v1/evaluator/core: podMatchesScopeFunc). An unknown scope counts as a match: a pod without a tap is
// better than a refused pod.
func (p *pod) subject(q *corev1.ResourceQuota) bool {
	for _, scope := range q.Spec.Scopes {
		if !p.inScope(corev1.ScopedResourceSelectorRequirement{ScopeName: scope, Operator: corev1.ScopeSelectorOpExists}) {
			return false
		}
	}
	if s := q.Spec.ScopeSelector; s != nil {
		for _, e := range s.MatchExpressions {
			if !p.inScope(e) {
				return false
			}
		}
	}
	return true
}

// inScope reports whether the pod matches one requirement of a scope selector.
func (p *pod) inScope(e corev1.ScopedResourceSelectorRequirement) bool {
	switch e.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return p.Spec.ActiveDeadlineSeconds != nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return p.Spec.ActiveDeadlineSeconds == nil
	case corev1.ResourceQuotaScopeBestEffort:
		return p.bestEffort()
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !p.bestEffort()
	case corev1.ResourceQuotaScopePriorityClass:
		return p.inPriority(e)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return p.crossesNamespaces()
	case corev1.ResourceQuotaScopeVolumeAttributesClass: // this scope is for volume claims, not for pods
	}
	return true
}

func (p *pod) inPriority(e corev1.ScopedResourceSelectorRequirement) bool {
	class := p.Spec.PriorityClassName
	switch e.Operator {
	case corev1.ScopeSelectorOpExists:
		return class != ""
	case corev1.ScopeSelectorOpDoesNotExist:
		return class == ""
	case corev1.ScopeSelectorOpIn:
		return slices.Contains(e.Values, class)
	case corev1.ScopeSelectorOpNotIn:
		return !slices.Contains(e.Values, class)
	}
	return true
}

// crossesNamespaces reports whether a term of the pod's affinity names namespaces. It returns true if the affinity
// cannot be decoded.
func (p *pod) crossesNamespaces() bool {
	if len(p.Spec.Affinity) == 0 {
		return false
	}
	var a corev1.Affinity
	if json.Unmarshal(p.Spec.Affinity, &a) != nil {
		return true
	}
	var terms []corev1.PodAffinityTerm
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		terms = append(terms, required...)
		for i := range preferred {
			terms = append(terms, preferred[i].PodAffinityTerm)
		}
	}
	if x := a.PodAffinity; x != nil {
		add(x.RequiredDuringSchedulingIgnoredDuringExecution, x.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if x := a.PodAntiAffinity; x != nil {
		add(x.RequiredDuringSchedulingIgnoredDuringExecution, x.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}

// partsBestEffort reports whether a quota counts only pods that are BestEffort, or only pods that are not.
func partsBestEffort(q *corev1.ResourceQuota) bool {
	apart := func(s corev1.ResourceQuotaScope) bool {
		return s == corev1.ResourceQuotaScopeBestEffort || s == corev1.ResourceQuotaScopeNotBestEffort
	}
	return slices.ContainsFunc(q.Spec.Scopes, apart) || q.Spec.ScopeSelector != nil &&
		slices.ContainsFunc(q.Spec.ScopeSelector.MatchExpressions, func(e corev1.ScopedResourceSelectorRequirement) bool { return apart(e.ScopeName) })
}

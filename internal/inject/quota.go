package inject

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// QuotaPolicy is the policy for taps that a ResourceQuota counts.
type QuotaPolicy string

// The policies.
const (
	// QuotaFit injects only if the quota has room for the tap in addition to all pods that may still start. QuotaFit is
	// the default.
	QuotaFit QuotaPolicy = "fit"
	// QuotaNever does not inject taps that a quota counts.
	QuotaNever QuotaPolicy = "never"
	// QuotaAlways injects if the pod fits with its tap now. Later pods may not fit.
	QuotaAlways QuotaPolicy = "always"
)

// Demand describes the pods that one owner in the namespace may still create.
type Demand struct {
	UIDs    []string // UIDs of the owner and of the objects between it and its pods
	Missing int      // pods that the owner is creating now
	More    int      // further pods that the owner may create: a rollout's surge, and growth up to the autoscaler's maximum or, without an autoscaler, by QuotaGrowth
	Pod     Shape    // one of the owner's pods, without a tap
}

// Shape has the fields of a pod that quotas depend on. It is safe for concurrent use.
type Shape struct{ pod *pod }

// ShapeOf returns the shape of the pods of a template, with the defaults of limit ranges.
func ShapeOf(spec *corev1.PodSpec, ranges []corev1.LimitRangeItem) (Shape, error) {
	raw, err := json.Marshal(map[string]any{"metadata": map[string]any{}, "spec": spec})
	if err != nil {
		return Shape{}, err
	}
	p, err := decode(raw)
	if err != nil {
		return Shape{}, err
	}
	p.each(func(c *container) { c.defaults(ranges) })
	return Shape{p}, nil
}

// defaults fills in missing resources as the API server does when a pod is created: requests from limits, then
// both from limit ranges for containers.
func (c *container) defaults(ranges []corev1.LimitRangeItem) {
	set := func(l *corev1.ResourceList, from corev1.ResourceList) {
		for name, q := range from {
			if _, ok := (*l)[name]; ok {
				continue
			}
			if *l == nil {
				*l = corev1.ResourceList{}
			}
			(*l)[name] = q
		}
	}
	set(&c.Resources.Requests, c.Resources.Limits)
	for i := range ranges {
		if ranges[i].Type == corev1.LimitTypeContainer {
			set(&c.Resources.Requests, ranges[i].DefaultRequest)
			set(&c.Resources.Limits, ranges[i].Default)
		}
	}
}

// bestEffort reports whether the pod's quality of service is BestEffort: neither the pod nor any of its containers
// requests or limits CPU or memory.
func (p *pod) bestEffort() bool {
	some := func(r *corev1.ResourceRequirements) bool {
		for _, l := range []corev1.ResourceList{r.Requests, r.Limits} {
			for _, name := range []corev1.ResourceName{"cpu", "memory"} {
				if q, ok := l[name]; ok && !q.IsZero() {
					return true
				}
			}
		}
		return false
	}
	best := p.Spec.Resources == nil || !some(p.Spec.Resources)
	p.each(func(c *container) { best = best && !some(&c.Resources) })
	return best
}

// CountsTaps reports whether a quota limits a resource that taps use.
func CountsTaps(q *corev1.ResourceQuota) bool {
	return slices.ContainsFunc(dimensions(q), func(d dimension) bool { return !d.pods })
}

// dimension is one line of a quota: the bound of one resource or of the number of pods.
type dimension struct {
	key      corev1.ResourceName // the line's name in the quota
	resource corev1.ResourceName
	limits   bool // the line counts limits rather than requests
	pods     bool // the line counts pods
}

// quotaKeys has the lines of a quota that count pods or resources that a tap uses.
var quotaKeys = map[corev1.ResourceName]dimension{
	corev1.ResourcePods:                     {pods: true},
	"count/pods":                            {pods: true},
	corev1.ResourceCPU:                      {resource: corev1.ResourceCPU},
	corev1.ResourceMemory:                   {resource: corev1.ResourceMemory},
	corev1.ResourceEphemeralStorage:         {resource: corev1.ResourceEphemeralStorage},
	corev1.ResourceRequestsCPU:              {resource: corev1.ResourceCPU},
	corev1.ResourceRequestsMemory:           {resource: corev1.ResourceMemory},
	corev1.ResourceRequestsEphemeralStorage: {resource: corev1.ResourceEphemeralStorage},
	corev1.ResourceLimitsCPU:                {resource: corev1.ResourceCPU, limits: true},
	corev1.ResourceLimitsMemory:             {resource: corev1.ResourceMemory, limits: true},
	corev1.ResourceLimitsEphemeralStorage:   {resource: corev1.ResourceEphemeralStorage, limits: true},
}

// dimensions returns the lines of a quota that are in quotaKeys, sorted.
func dimensions(q *corev1.ResourceQuota) []dimension {
	var out []dimension
	for key := range q.Spec.Hard {
		if d, ok := quotaKeys[key]; ok {
			d.key = key
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b dimension) int { return cmp.Compare(a.key, b.key) })
	return out
}

// number converts a quantity to thousandths of a core, to bytes, or to a number of pods. It is exact below 2^53.
func (d *dimension) number(q resource.Quantity) float64 {
	approximate := q.AsApproximateFloat64()
	switch cpu := d.resource == corev1.ResourceCPU; {
	case math.Abs(approximate) > 1<<53:
		return approximate // an int64 could overflow, so the number is approximate
	case cpu && math.Abs(approximate) < 1<<43:
		return float64(q.MilliValue())
	case cpu:
		return approximate * 1000
	}
	return float64(q.Value())
}

// text formats an amount of the line's resource.
func (d *dimension) text(v float64) string {
	switch {
	case d.pods:
		return fmt.Sprintf("%.0f", v)
	case d.resource == corev1.ResourceCPU:
		return resource.NewMilliQuantity(int64(v), resource.DecimalSI).String()
	}
	return resource.NewQuantity(int64(v), resource.BinarySI).String()
}

// of returns the amount that the line counts for a pod.
func (d *dimension) of(p *pod) float64 {
	if d.pods {
		return 1
	}
	if p.counted(d.resource, d.limits) {
		if d.limits {
			return d.number(p.Spec.Resources.Limits[d.resource])
		}
		return d.number(p.Spec.Resources.Requests[d.resource])
	}
	return d.number(p.total(d.resource, d.limits))
}

// ofTap returns the amount that the line counts for the tap of a pod.
func (d *dimension) ofTap(p *pod, tap *corev1.ResourceRequirements) float64 {
	switch {
	case d.pods || p.counted(d.resource, d.limits):
		return 0
	case d.limits:
		return d.number(tap.Limits[d.resource])
	}
	return d.number(tap.Requests[d.resource])
}

// quota returns why a quota forbids a tap with these resources in the pod, or "" if none does.
func (r *run) quota(tap *corev1.ResourceRequirements) string {
	for i := range r.ns.Quotas {
		q := &r.ns.Quotas[i]
		if r.pod.bestEffort() && partsBestEffort(q) {
			return fmt.Sprintf("quota %s counts BestEffort pods separately, and a tapped pod is not BestEffort", q.Name)
		}
		if !r.pod.subject(q) || !affects(q, r.pod, tap) {
			continue
		}

		var why string
		switch r.cfg.Quota {
		case QuotaNever:
			why = fmt.Sprintf("quota %s counts the resources of taps, and the policy is never", q.Name)
		case QuotaAlways:
			why = r.pod.exceeds(caps(q), tap)
		case QuotaFit, "":
			why = r.fits(q, tap)
		}
		if why != "" {
			return why
		}
	}
	return ""
}

// affects reports whether the tap increases a line of the quota.
func affects(q *corev1.ResourceQuota, p *pod, tap *corev1.ResourceRequirements) bool {
	return slices.ContainsFunc(dimensions(q), func(d dimension) bool { return d.ofTap(p, tap) > 0 })
}

// caps returns the remaining amounts of a quota, with one Cap for each of its resources.
func caps(q *corev1.ResourceQuota) []Cap {
	var out []Cap
	for _, d := range dimensions(q) {
		if d.pods {
			continue
		}
		left := q.Spec.Hard[d.key].DeepCopy()
		left.Sub(q.Status.Used[d.key])
		if left.Sign() < 0 {
			left = resource.Quantity{}
		}
		out = append(out, Cap{Source: "quota " + q.Name, Limits: d.limits, Resource: d.resource, Left: left})
	}
	return out
}

// part is the demand of one owner for the resources of one quota.
type part struct {
	missing, more float64   // numbers of pods, as in Demand
	taps          float64   // taps that concurrent requests may decide about
	pod           []float64 // the amounts that one pod uses, one for each line of the quota
}

// budget is the state of one quota at the time of a decision. The slices have one element for each line of the quota.
type budget struct {
	quota *corev1.ResourceQuota
	lines []dimension
	left  []float64
	tap   []float64 // the amounts that this pod's tap uses
	parts []part
}

// fits returns "" if the quota has room for the tap and no pod needs that room. Otherwise it returns the reason.
//
// Two conditions must hold. First, the quota must have room for all pods that are being created, each with a tap. They
// include the pods that concurrent requests decide about, so that these decisions are compatible. Second, the taps must
// not reduce the number of further pods that each owner can then create.
func (r *run) fits(q *corev1.ResourceQuota, tap *corev1.ResourceRequirements) string {
	if r.ns.DemandError != "" {
		return fmt.Sprintf("it is not known whether quota %s has room for the tap: %s", q.Name, r.ns.DemandError)
	}
	b := budget{quota: q, lines: dimensions(q)}
	for _, d := range b.lines {
		used, ok := q.Status.Used[d.key]
		if !ok {
			return fmt.Sprintf("quota %s has no usage yet", q.Name)
		}
		b.left = append(b.left, d.number(q.Spec.Hard[d.key])-d.number(used))
		b.tap = append(b.tap, d.ofTap(r.pod, tap))
	}
	r.parts(&b)
	return b.quotaReason()
}

// parts fills in the demand of each owner. The pod that is being created counts as one of the pods that its owner still
// has to create. If other webhooks gave the pod more resources than its owner's template has, parts assumes the same
// increase for all pods of all owners.
func (r *run) parts(b *budget) {
	uid := ""
	if o := r.pod.owner(); o != nil {
		uid = o.UID
	}

	own := slices.IndexFunc(r.ns.Demand, func(d Demand) bool { return uid != "" && slices.Contains(d.UIDs, uid) })
	extra := make([]float64, len(b.lines))
	if own >= 0 {
		for i := range b.lines {
			extra[i] = max(b.lines[i].of(r.pod)-b.lines[i].of(r.ns.Demand[own].Pod.pod), 0)
		}
	}

	for n, d := range r.ns.Demand {
		if n != own && !d.Pod.pod.subject(b.quota) {
			continue
		}
		p := part{missing: float64(d.Missing), more: float64(d.More)}
		for i := range b.lines {
			p.pod = append(p.pod, b.lines[i].of(d.Pod.pod))
			if !b.lines[i].pods {
				p.pod[i] += extra[i]
			}
		}
		if n == own {
			p.missing = max(p.missing, 1)
		}
		p.taps = p.missing
		b.parts = append(b.parts, p)
	}

	if own < 0 {
		b.parts = append(b.parts, r.stranger(b, uid))
	}
}

// stranger returns the demand of a pod that has no owner, or whose owner's number of pods is unknown. It assumes that
// the number of the owner's pods may grow by the factor QuotaGrowth, and that concurrent requests decide about as many
// taps as that factor.
func (r *run) stranger(b *budget, uid string) part {
	n := float64(r.ns.Others[uid] + 1)
	growth := float64(r.cfg.growth())
	p := part{missing: 1, taps: growth, more: n*growth - n}
	for i := range b.lines {
		p.pod = append(p.pod, b.lines[i].of(r.pod))
	}
	return p
}

// growth returns QuotaGrowth, at least 1.
func (c *Config) growth() int { return max(c.QuotaGrowth, 1) }

// quotaReason returns why the quota forbids the tap, or "".
func (b *budget) quotaReason() string {
	without, with := slices.Clone(b.left), slices.Clone(b.left)
	pods := 0.0
	for _, p := range b.parts {
		pods += p.missing
		for i := range without {
			without[i] -= p.missing * p.pod[i]
			with[i] -= p.missing*p.pod[i] + p.taps*b.tap[i]
		}
	}
	for i, d := range b.lines {
		if b.tap[i] > 0 && with[i] < 0 {
			return fmt.Sprintf("quota %s has %s of %s left, and the pods that are being created (%.0f) need %s with their taps",
				b.quota.Name, d.text(max(b.left[i], 0)), d.key, pods, d.text(b.left[i]-with[i]))
		}
	}
	if slices.ContainsFunc(without, func(v float64) bool { return v < 0 }) {
		return fmt.Sprintf("quota %s has no room for the pods that are being created (%.0f)", b.quota.Name, pods)
	}
	return b.grows(without, with)
}

// grows returns why the taps might leave too little room for further pods, or "". It returns "" if all further pods fit
// in spite of the taps. It also returns "" if only one owner may create further pods, and the taps do not reduce the
// number of them that fit. The arguments are the amounts that the quota has left after the pods that are being created:
// without their taps, and with their taps.
func (b *budget) grows(without, with []float64) string {
	var growing []*part
	rest := slices.Clone(with)
	for n := range b.parts {
		p := &b.parts[n]
		if p.more == 0 {
			continue
		}
		growing = append(growing, p)
		for i := range rest {
			rest[i] -= p.more * p.pod[i]
		}
	}

	if !slices.ContainsFunc(rest, func(v float64) bool { return v < 0 }) {
		return ""
	}
	if len(growing) > 1 {
		return fmt.Sprintf("quota %s has no room for the taps and all pods that %d owners may still create", b.quota.Name, len(growing))
	}
	alone, fewer := growing[0].fit(without), growing[0].fit(with)
	if fewer < alone {
		return fmt.Sprintf("quota %s has room for %.0f more pods without the taps, and for %.0f with them", b.quota.Name, alone, fewer)
	}
	return ""
}

// fit returns how many of the further pods (p.more) fit in the amounts that are left.
func (p *part) fit(left []float64) float64 {
	n := p.more
	for i, each := range p.pod {
		if each > 0 {
			n = min(n, math.Floor(max(left[i], 0)/each))
		}
	}
	return n
}

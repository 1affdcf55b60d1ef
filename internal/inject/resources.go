package inject

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// A Cap bounds one resource of a pod: by the amount that a quota has left, or by the maximum that a limit range sets
// for pods.
type Cap struct {
	Source   string // "quota NAME" or "limit range NAME"
	Limits   bool   // the cap applies to limits rather than requests
	Resource corev1.ResourceName
	Left     resource.Quantity
}

// The smallest resources of a tap. They are used if a quota has no room for more, and for Guaranteed pods, whose
// limits are reserved. A CPU limit is set only if the pod is Guaranteed or the cluster requires one; usualCPULimit is
// its value.
var (
	leastRequests = corev1.ResourceList{"cpu": resource.MustParse("5m"), "memory": resource.MustParse("24Mi")}
	leastLimits   = corev1.ResourceList{"cpu": resource.MustParse("20m"), "memory": resource.MustParse("48Mi")}
	usualCPULimit = resource.MustParse("200m")
)

// resources returns the requests and limits of this pod's tap: the configured ones or, if small, the least ones.
// Annotations override both.
func (r *run) resources(small bool) corev1.ResourceRequirements {
	out := corev1.ResourceRequirements{
		Requests: r.cfg.Settings.Resources.Requests.DeepCopy(),
		Limits:   r.cfg.Settings.Resources.Limits.DeepCopy(),
	}

	guaranteed := r.pod.guaranteed()
	if _, ok := out.Limits["cpu"]; !ok && (guaranteed || r.needsCPULimit()) {
		out.Limits["cpu"] = usualCPULimit
	}
	if small {
		lowerAll(out.Requests, leastRequests)
	}
	if small || guaranteed {
		lowerAll(out.Limits, leastLimits)
	}

	for _, f := range floors {
		if v, ok := r.choices[f.annotation]; ok {
			list(&out, f.what)[corev1.ResourceName(f.resource)] = resource.MustParse(v) // copyAllowed has checked the value
		}
	}
	for _, what := range []string{"requests", "limits"} {
		// A pod with limits on ephemeral storage is evicted when it uses more than the sum of its containers' limits.
		// If no container has such a limit, the tap gets none either: it would be the limit of the whole pod.
		if r.pod.countsDisk(what) {
			list(&out, what)[corev1.ResourceEphemeralStorage] = r.diskSize()
		}
	}

	for i := range r.ns.LimitRanges {
		r.within(&out, &r.ns.LimitRanges[i])
	}
	order(&out)
	if guaranteed {
		for _, name := range []corev1.ResourceName{"cpu", "memory"} {
			out.Requests[name] = out.Limits[name]
		}
	}
	r.pod.withinPod(&out)
	return out
}

// needsCPULimit reports whether the tap needs a CPU limit: without one, a quota that counts CPU limits would refuse
// the pod, or a limit range would set one.
func (r *run) needsCPULimit() bool {
	if r.ns.CPULimits {
		return true
	}
	for i := range r.ns.LimitRanges {
		item := &r.ns.LimitRanges[i]
		for _, l := range []corev1.ResourceList{item.Default, item.Max, item.MaxLimitRequestRatio} {
			if _, ok := l["cpu"]; ok {
				return true
			}
		}
	}
	return false
}

// within changes the tap's resources so that one item of a limit range allows them. An item for containers applies
// as a whole. An item for pods applies only its ratio of limit to request: if each container keeps to the ratio,
// the pod does too.
func (r *run) within(out *corev1.ResourceRequirements, item *corev1.LimitRangeItem) {
	if item.Type != corev1.LimitTypeContainer && item.Type != corev1.LimitTypePod {
		return
	}
	for _, f := range floors {
		name := corev1.ResourceName(f.resource)
		ratio, ok := item.MaxLimitRequestRatio[name]
		if _, asked := r.choices[f.annotation]; f.what != "limits" || asked || !ok || ratio.Sign() <= 0 {
			continue
		}
		// A lower limit is better than a higher request: only requests are reserved on the node.
		most := times(out.Requests[name], ratio)
		if least := leastLimits[name]; most.Cmp(least) < 0 {
			most = least
		}
		lower(out.Limits, name, most)
	}
	if item.Type == corev1.LimitTypePod {
		item = &corev1.LimitRangeItem{MaxLimitRequestRatio: item.MaxLimitRequestRatio}
	}
	fit(out, item)
}

// list returns the limits of r if the argument what is "limits", otherwise the requests of r.
func list(r *corev1.ResourceRequirements, what string) corev1.ResourceList {
	if what == "limits" {
		return r.Limits
	}
	return r.Requests
}

// order raises limits that are below their requests.
func order(r *corev1.ResourceRequirements) {
	for name, request := range r.Requests {
		if limit, ok := r.Limits[name]; ok && limit.Cmp(request) < 0 {
			r.Limits[name] = request
		}
	}
}

// fit changes r so that an item of a limit range for containers allows it. This is impossible if a minimum exceeds a
// maximum, but the namespace then refuses every pod.
func fit(r *corev1.ResourceRequirements, item *corev1.LimitRangeItem) {
	for _, name := range []corev1.ResourceName{"cpu", "memory", corev1.ResourceEphemeralStorage} {
		if _, ok := r.Limits[name]; !ok {
			continue
		}
		if least, ok := item.Min[name]; ok {
			raise(r.Requests, name, least)
			raise(r.Limits, name, least)
		}
		if most, ok := item.Max[name]; ok {
			lower(r.Requests, name, most)
			lower(r.Limits, name, most)
		}
		if ratio, ok := item.MaxLimitRequestRatio[name]; ok && ratio.Sign() > 0 {
			limit := r.Limits[name]
			raise(r.Requests, name, divided(limit, ratio))
			lower(r.Requests, name, limit)
		}
	}
}

// divided returns q divided by ratio, rounded up to thousandths of a core or to bytes.
func divided(q, ratio resource.Quantity) resource.Quantity {
	x := q.AsApproximateFloat64() / ratio.AsApproximateFloat64()
	if x < 1000 { // the quantity is in cores, not in bytes
		return *resource.NewMilliQuantity(int64(math.Ceil(x*1000)), q.Format)
	}
	return *resource.NewQuantity(int64(math.Ceil(x)), q.Format)
}

// times returns q times ratio, rounded down to thousandths of a core or to bytes.
func times(q, ratio resource.Quantity) resource.Quantity {
	x := q.AsApproximateFloat64() * ratio.AsApproximateFloat64()
	if x < 1000 { // the quantity is in cores, not in bytes
		return *resource.NewMilliQuantity(int64(x*1000), q.Format)
	}
	return *resource.NewQuantity(int64(x), q.Format)
}

// lowerAll applies lower to each resource that is listed in most.
func lowerAll(l, most corev1.ResourceList) {
	for name, q := range most {
		lower(l, name, q)
	}
}

// raise sets a resource to the amount least if the resource is missing or lower.
func raise(l corev1.ResourceList, name corev1.ResourceName, least resource.Quantity) {
	if q, ok := l[name]; !ok || q.Cmp(least) < 0 {
		l[name] = least
	}
}

// lower sets a resource to the amount most if the resource is higher.
func lower(l corev1.ResourceList, name corev1.ResourceName, most resource.Quantity) {
	if q, ok := l[name]; ok && q.Cmp(most) > 0 {
		l[name] = most
	}
}

// guaranteed reports whether the pod's containers make its quality of service Guaranteed: in each container the
// limits of CPU and memory equal the requests (k8s.io/kubernetes pkg/apis/core/v1/helper/qos).
func (p *pod) guaranteed() bool {
	if p.Spec.Resources != nil && len(p.Spec.Resources.Requests)+len(p.Spec.Resources.Limits) > 0 {
		return false // the pod's own resources then decide its quality of service, and the tap does not change them
	}
	all := true
	p.each(func(c *container) {
		for _, name := range []corev1.ResourceName{"cpu", "memory"} {
			limit, ok := c.Resources.Limits[name]
			request, requested := c.Resources.Requests[name]
			if !ok || limit.IsZero() || requested && request.Cmp(limit) != 0 {
				all = false
			}
		}
	})
	return all
}

// withinPod lowers the tap's resources to those that are set for the pod as a whole (KEP-2837). The API server
// refuses a pod if its containers together request more than the pod, or if one of them has a higher limit than the
// pod.
func (p *pod) withinPod(r *corev1.ResourceRequirements) {
	if p.Spec.Resources == nil {
		return
	}
	for name, most := range p.Spec.Resources.Limits {
		lower(r.Limits, name, most)
		lower(r.Requests, name, most)
	}
	for name, whole := range p.Spec.Resources.Requests {
		left := whole.DeepCopy()
		left.Sub(p.total(name, false))
		if left.Sign() < 0 {
			left = resource.MustParse("0")
		}
		lower(r.Requests, name, left)
	}
}

// countsDisk reports whether any container has a limit (what is "limits") or a request (what is "requests") of
// ephemeral storage.
func (p *pod) countsDisk(what string) bool {
	found := false
	p.each(func(c *container) {
		_, ok := list(&c.Resources, what)[corev1.ResourceEphemeralStorage]
		found = found || ok
	})
	return found
}

// total returns the sum of the requests or limits of the pod's containers, as the scheduler and quotas compute it
// (KEP-753). Each init container runs with the sidecars that started before it; after the last one, the sidecars run
// with the ordinary containers. total is the largest sum of containers that run at the same time, plus the overhead of
// the runtime.
func (p *pod) total(name corev1.ResourceName, limits bool) resource.Quantity {
	of := func(c *container) resource.Quantity {
		if limits {
			return c.Resources.Limits[name]
		}
		return c.Resources.Requests[name]
	}

	var running, most resource.Quantity
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		peak := running.DeepCopy()
		peak.Add(of(c))
		if c.RestartPolicy == string(corev1.ContainerRestartPolicyAlways) {
			running = peak.DeepCopy()
		}
		if peak.Cmp(most) > 0 {
			most = peak
		}
	}

	for i := range p.Spec.Containers {
		running.Add(of(&p.Spec.Containers[i]))
	}
	if running.Cmp(most) > 0 {
		most = running
	}
	most.Add(p.Spec.Overhead[name])
	return most
}

// counted reports whether a resource is set for the pod as a whole. Quotas then ignore its containers.
func (p *pod) counted(name corev1.ResourceName, limits bool) bool {
	if p.Spec.Resources == nil {
		return false
	}
	of := p.Spec.Resources.Requests
	if limits {
		of = p.Spec.Resources.Limits
	}
	_, ok := of[name]
	return ok
}

// exceeds describes the first cap that the pod exceeds only with the tap. It returns "" if there is no such cap.
func (p *pod) exceeds(caps []Cap, tap *corev1.ResourceRequirements) string {
	for _, c := range caps {
		if p.counted(c.Resource, c.Limits) {
			continue
		}
		more := tap.Requests[c.Resource]
		if c.Limits {
			more = tap.Limits[c.Resource]
		}
		whole := p.total(c.Resource, c.Limits)
		if whole.Cmp(c.Left) > 0 {
			continue // the cap refuses the pod even without the tap
		}
		whole.Add(more)
		if whole.Cmp(c.Left) > 0 {
			return fmt.Sprintf("%s has %s of %s left", c.Source, &c.Left, c.Resource)
		}
	}
	return ""
}

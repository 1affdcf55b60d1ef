package inject

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// PodEnv returns the variables that describe a running pod to a tap that somebody attaches to it: its identity from the downward API,
// its workload, its mesh, and the ports of its probes and metrics. raw is the pod as JSON. Of ns, the name, labels and annotations
// are read. The error says that raw is not a pod.
func PodEnv(ns *Namespace, raw []byte, now time.Time) ([]corev1.EnvVar, error) {
	p, err := decode(raw)
	if err != nil {
		return nil, err
	}
	return append(downward(0), p.describe(ns, now)...), nil
}

// describe returns the variables about the pod that the downward API does not provide. Variables without a value are left out.
func (p *pod) describe(ns *Namespace, now time.Time) (env []corev1.EnvVar) {
	set := func(name, value string) {
		if value != "" {
			env = append(env, corev1.EnvVar{Name: name, Value: value})
		}
	}
	kind, name := p.workload(now)
	set(envWorkloadKind, kind)
	set(envWorkloadName, name)

	proxy, skip := p.proxy(ns)
	set(envLocalProxy, proxy)
	set(envDeclaredSkip, strings.Join(skip, ","))
	set(envAmbient, p.ambient(ns))
	set(envProbePorts, strings.Join(p.probed(), ","))
	set(envMetricsPorts, strings.Join(p.scraped(), ","))
	return env
}

package inject

import (
	"strconv"
	"strings"
	"time"
)

// workload names what the pod belongs to for people: the Deployment rather than its
// ReplicaSet, the CronJob rather than its Job. Both are told from names, as their
// controllers make them, since nothing else of a pod says it; a pod without a
// controller has none.
func (p *pod) workload(now time.Time) (kind, name string) {
	o := p.owner()
	if o == nil {
		return "", ""
	}
	switch o.Kind {
	case "ReplicaSet":
		// k8s.io/kubernetes pkg/controller/deployment/sync.go: NAME-HASH, the hash as label
		if hash := p.Metadata.Labels["pod-template-hash"]; hash != "" {
			if name, ok := strings.CutSuffix(o.Name, "-"+hash); ok && name != "" {
				return "Deployment", name
			}
		}
	case "Job":
		if name, ok := cronJob(o.Name, now); ok {
			return "CronJob", name
		}
	}
	return o.Kind, o.Name
}

// cronJob splits the name of a Job that a CronJob made: NAME-MINUTES, the scheduled time in
// minutes since 1970 (k8s.io/kubernetes pkg/controller/cronjob/utils.go). A number that is
// no time of about now, such as a date, is part of somebody's own name.
func cronJob(job string, now time.Time) (string, bool) {
	at := strings.LastIndexByte(job, '-')
	if at < 1 {
		return "", false
	}
	minutes, err := strconv.ParseInt(job[at+1:], 10, 64)
	if err != nil {
		return "", false
	}
	const year = 366 * 24 * 60
	if age := now.Unix()/60 - minutes; age < -year || age > year {
		return "", false
	}
	return job[:at], true
}

package inject

import (
	"strconv"
	"strings"
	"time"
)

// workload returns the kind and name of the workload as users know it: the Deployment rather than its ReplicaSet, the
// CronJob rather than its Job. Both are derived from names that the controllers generate, because the pod has no
// other reference to them. A pod without a controller has no workload.
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

// cronJob returns the name of the CronJob that created a Job. The Job's name is NAME-MINUTES, where MINUTES is the
// scheduled time in minutes since 1970 (k8s.io/kubernetes pkg/controller/cronjob/utils.go). It returns false if the
// number is not within a year of now: then it is part of a name that somebody chose, such as a date.
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

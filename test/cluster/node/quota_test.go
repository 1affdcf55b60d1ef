package node_test

import (
	"fmt"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestQuotaTenOfTen: the quota has room for ten pods, and the real controllers start all ten, whether at once or
// scaled up to ten. If the quota also has room for the surge, a rolling update completes too.
func TestQuotaTenOfTen(t *testing.T) {
	t.Parallel()
	c := installed(t)
	for name, test := range map[string]struct {
		hard        string
		first       int // number of replicas at the start
		restart     bool
		least, most int // bounds of the number of tapped pods
	}{
		"exact":              {`{requests.cpu: 500m, requests.memory: 500Mi, limits.cpu: "1", limits.memory: 1000Mi}`, 10, false, 0, 0},
		"room for some taps": {`{requests.cpu: 530m, requests.memory: 700Mi, limits.cpu: "2", limits.memory: 1400Mi}`, 10, false, 0, 6},
		"scaled":             {`{requests.cpu: 500m}`, 3, false, 0, 0},
		"rolling update":     {`{requests.cpu: 650m}`, 10, true, 0, 0},
		"room for all":       {`{requests.cpu: "50", limits.memory: 50Gi}`, 10, true, 10, 10},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "exact" { // in CI only this case runs; test/cluster/api tests all of them
				long(t)
			}
			ns := c.Namespace(t, tapped)
			c.Apply(t, ns, fmt.Sprintf(`
apiVersion: v1
kind: ResourceQuota
metadata: {name: q}
spec: {hard: %s}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ten}
spec:
  replicas: %d
  selector: {matchLabels: {app: ten}}
  template:
    metadata: {labels: {app: ten}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: app, image: %s, imagePullPolicy: Never, args: [serve], resources: {requests: {cpu: 50m, memory: 50Mi}, limits: {cpu: 100m, memory: 100Mi}}}]
`, test.hard, test.first, kit.ProbeImage))
			do := func(args ...string) {
				t.Helper()
				if out, err := c.Kubectl(t, append([]string{"--namespace", ns}, args...)...); err != nil {
					t.Fatal(err, out)
				}
			}
			do("rollout", "status", "deployment/ten", "--timeout", "120s")
			if test.first != 10 {
				do("scale", "deployment/ten", "--replicas", "10")
			}
			do("wait", "deployment/ten", "--for=jsonpath={.status.readyReplicas}=10", "--timeout", "120s")
			if test.restart {
				do("rollout", "restart", "deployment/ten")
				do("rollout", "status", "deployment/ten", "--timeout", "180s")
			}
			kit.Eventually(t, kit.Limit, "ten pods and no more", func() error {
				pods, taps := c.Selected(t, ns, "app=ten", 10), 0
				for i := range pods {
					if found, _ := kit.Container(&pods[i], kit.Tap); found != nil {
						taps++
					}
				}
				if taps < test.least || taps > test.most {
					return fmt.Errorf("%d of 10 are tapped, want %d to %d", taps, test.least, test.most)
				}
				t.Logf("%d of 10 are tapped", taps)
				return nil
			})
		})
	}
}

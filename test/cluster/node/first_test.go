package node_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestOnlyConnection: of pods that make one request as they start, and end, each request is seen, or the tap says that connections
// came before its capture. It prints how long the pods take, beside the same ones with a native sidecar that does nothing, and
// beside none. CLUSTER_JOBS is their number.
func TestOnlyConnection(t *testing.T) {
	long(t)
	c := installed(t)
	n := 20
	if more, err := strconv.Atoi(os.Getenv("CLUSTER_JOBS")); err == nil {
		n = more
	}
	web := run(t, c, c.Namespace(t, nil), kit.NewPod("web"))
	idle := fmt.Sprintf("initContainers: [{name: idle, image: %s, imagePullPolicy: Never, restartPolicy: Always, args: [pause]}]", kit.ProbeImage)
	for _, arm := range []struct {
		name     string
		labels   map[string]string
		sidecars string
	}{{"untapped", nil, ""}, {"with an idle sidecar", nil, idle}, {"tapped", tapped, ""}} {
		ns := c.Namespace(t, arm.labels)
		c.Apply(t, ns, fmt.Sprintf(`
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  completions: %d
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      %s
      containers: [{name: main, image: %s, imagePullPolicy: Never, args: [get, -n=1, "http://%s:8080/"]}]
`, n, arm.sidecars, kit.ProbeImage, web.Status.PodIP))
		job := completed(t, c, ns, n)
		pods := c.Selected(t, ns, "job-name=once", n)
		t.Logf("%d pods %s: %v in all, a pod from its creation to the end of its container: median %v", n, arm.name,
			job.Status.CompletionTime.Sub(job.Status.StartTime.Time), medianLife(pods))
		if arm.labels != nil {
			seenOrTold(t, c, ns, pods)
		}
	}
}

// completed waits for a Job of n pods.
func completed(t *testing.T, c *kit.Cluster, ns string, n int) (job *batchv1.Job) {
	t.Helper()
	kit.Eventually(t, time.Minute+time.Duration(n)*5*time.Second, "the Job to be complete", func() (err error) {
		if job, err = c.BatchV1().Jobs(ns).Get(t.Context(), "once", metav1.GetOptions{}); err == nil && job.Status.CompletionTime == nil {
			err = fmt.Errorf("%+v", job.Status)
		}
		return err
	})
	return job
}

// medianLife is how long pods take from their creation to the end of their container: Kubernetes tells it in whole seconds.
func medianLife(pods []corev1.Pod) time.Duration {
	var all []time.Duration
	for i := range pods {
		if s := status(&pods[i], "main"); s != nil && s.State.Terminated != nil {
			all = append(all, s.State.Terminated.FinishedAt.Sub(pods[i].CreationTimestamp.Time))
		}
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// seenOrTold fails the test for each pod whose only connection its tap neither saw nor declares.
func seenOrTold(t *testing.T, c *kit.Cluster, ns string, pods []corev1.Pod) {
	t.Helper()
	gap := regexp.MustCompile(`"gap":\{[^}]*"milliseconds":(\d+)`)
	before := regexp.MustCompile(`"gap":\{[^}]*"connections":[1-9]`)
	seen, told := 0, 0
	var gaps []int
	for i := range pods {
		records := c.Logs(t, ns, pods[i].Name, kit.Tap)
		if m := gap.FindStringSubmatch(records); m != nil {
			ms, _ := strconv.Atoi(m[1])
			gaps = append(gaps, ms)
		}
		switch {
		case strings.Contains(records, `"plaintext-edge"`):
			seen++
		case before.MatchString(records):
			told++
		default:
			t.Errorf("the tap of %s saw no connection, and says of none before it:\n%s", pods[i].Name, records)
		}
	}
	slices.Sort(gaps)
	if len(gaps) > 0 {
		t.Logf("the rings were open %d ms after the pod's network at the median, %d at most", gaps[len(gaps)/2], gaps[len(gaps)-1])
	}
	t.Logf("of %d connections %d were seen, and %d came before the capture and are told of", len(pods), seen, told)
}

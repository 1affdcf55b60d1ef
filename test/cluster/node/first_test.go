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

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// Limits for the tests in this file. The tests start the same pods in three kinds: unchanged, with an idle native
// sidecar, and tapped. The kinds take turns, so that other load of the machine affects them equally. The limits apply
// only if CLUSTER_JOBS or CLUSTER_PODS sets the number of pods, for measurements on an otherwise idle machine.
// Otherwise the times are only printed.
const (
	mostTimes = 1.15                   // bounds the total time with a tap, divided by the total time with an idle sidecar
	mostMore  = 300 * time.Millisecond // bounds the median time of a pod with a tap, minus the median time of a pod with an idle sidecar
)

// An arm is one of the three kinds of pods.
type arm struct {
	name     string
	ns       string
	change   func(*corev1.Pod)
	took     time.Duration   // total time of all turns
	lives    []time.Duration // time of each pod
	seen     int             // number of pods whose only connection the tap saw
	declared []string        // name of each pod whose tap reports connections before its capture started, and the records of that tap
	gaps     []int           // for each tap, the milliseconds from the creation of the pod's network until the ring was opened
}

const (
	untapped = iota
	idle
	withTap
)

func arms(t *testing.T, c *kit.Cluster) []*arm {
	t.Helper()
	return []*arm{
		{name: "untapped", ns: c.Namespace(t, nil)},
		{name: "with an idle sidecar", ns: c.Namespace(t, nil), change: withIdle},
		{name: "tapped", ns: c.Namespace(t, tapped)},
	}
}

// template returns the template of the arm's pods.
func (a *arm) template(policy corev1.RestartPolicy, args ...string) corev1.PodTemplateSpec {
	p := &corev1.Pod{Spec: kit.Spec(args...)}
	p.Spec.RestartPolicy = policy
	if a.change != nil {
		a.change(p)
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "once"}}, Spec: p.Spec}
}

// number returns the number in an environment variable. If the variable has no number, it returns the argument
// otherwise, and measured is false.
func number(variable string, otherwise int) (n int, measured bool) {
	if more, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return more, true
	}
	return otherwise, false
}

// TestOnlyConnection: each pod makes one request when it starts, and then ends. Its tap must see that request, or
// report connections before its capture started. CLUSTER_JOBS is the number of Jobs in each arm. Each Job has one
// pod, and two Jobs run at a time.
func TestOnlyConnection(t *testing.T) {
	long(t)
	c := installed(t)
	n, measured := number("CLUSTER_JOBS", 20)
	web := run(t, c, c.Namespace(t, nil), kit.NewPod("web"))
	all := arms(t, c)
	for round := 0; n > 0; round++ {
		size := min(n, 20)
		n -= size
		for i := range all {
			jobs(t, c, all[(round+i)%len(all)], size, "http://"+web.Status.PodIP+":8080/")
		}
		for _, a := range all {
			if a == all[withTap] {
				a.seenOrDeclared(t, c, c.Selected(t, a.ns, "app=once", size))
			}
			a.cleared(t, c, "jobs", "--all")
		}
		for _, a := range all {
			t.Logf("round %d: %d pods %s: %.1f s, median %v", round, len(a.lives), a.name, a.took.Seconds(), a.median())
		}
	}
	compare(t, all, measured, "from its creation to the end of its container")
}

// jobs runs n Jobs of one pod each, two at a time. When one is complete, it creates the next.
func jobs(t *testing.T, c *kit.Cluster, a *arm, n int, url string) {
	t.Helper()
	begin := time.Now()
	ends := watchedPods(t, c, a.ns, func(p *corev1.Pod) bool {
		s := status(p, "app")
		return s != nil && s.State.Terminated != nil
	})
	for created, complete := 0, 0; complete < n; {
		for ; created < n && created < complete+2; created++ {
			job(t, c, a, fmt.Sprint("once-", created), url)
		}
		before := complete
		kit.Eventually(t, kit.Limit, "the next Job to be complete", func() (err error) {
			if complete, err = completed(t, c, a.ns); err == nil && complete == before {
				err = fmt.Errorf("%d of %d are", complete, n)
			}
			return err
		})
	}
	a.took += time.Since(begin)
	a.lives = append(a.lives, ends(n)...)
}

func job(t *testing.T, c *kit.Cluster, a *arm, name, url string) {
	t.Helper()
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{Template: a.template(corev1.RestartPolicyNever, "get", "-n=1", url)}}
	if _, err := c.BatchV1().Jobs(a.ns).Create(t.Context(), j, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// completed returns the number of complete Jobs.
func completed(t *testing.T, c *kit.Cluster, ns string) (n int, err error) {
	t.Helper()
	list, err := c.BatchV1().Jobs(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	for i := range list.Items {
		if list.Items[i].Status.CompletionTime != nil {
			n++
		} else if slices.ContainsFunc(list.Items[i].Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobFailed }) {
			t.Fatalf("a Job failed: %+v", list.Items[i].Status)
		}
	}
	return n, nil
}

// TestFleet starts the pods of a Deployment at the same time. Each makes one request when it starts, and then
// continues to run. CLUSTER_PODS is the number of pods.
func TestFleet(t *testing.T) {
	long(t)
	c := installed(t)
	n, measured := number("CLUSTER_PODS", 12)
	web := run(t, c, c.Namespace(t, nil), kit.NewPod("web"))
	all := arms(t, c)
	rounds := 1
	if measured {
		rounds = 3
	}
	for round := range rounds {
		for i := range all {
			a := all[(round+i)%len(all)]
			fleet(t, c, a, n, "http://"+web.Status.PodIP+":8080/")
			if a == all[withTap] {
				a.seenOrDeclared(t, c, c.Selected(t, a.ns, "app=once", n))
			}
			a.cleared(t, c, "deployment", "fleet")
		}
	}
	compare(t, all, measured, "from its creation to Ready")
}

// fleet runs a Deployment until all of its n pods are available.
func fleet(t *testing.T, c *kit.Cluster, a *arm, n int, url string) {
	t.Helper()
	begin := time.Now()
	ready := watchedPods(t, c, a.ns, kit.IsReady)
	replicas, selector := int32(n), &metav1.LabelSelector{MatchLabels: map[string]string{"app": "once"}}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "fleet"}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: selector, Template: a.template(corev1.RestartPolicyAlways, "get", "-n=0", "-every=1h", url),
	}}
	if _, err := c.AppsV1().Deployments(a.ns).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, kit.Limit, "the Deployment to be available", func() error {
		d, err := c.AppsV1().Deployments(a.ns).Get(t.Context(), "fleet", metav1.GetOptions{})
		if err == nil && d.Status.AvailableReplicas != int32(n) {
			err = fmt.Errorf("%d of %d are", d.Status.AvailableReplicas, n)
		}
		return err
	})
	a.took += time.Since(begin)
	a.lives = append(a.lives, ready(n)...)
}

// watchedPods starts to watch the pods of a namespace. The function that it returns waits until done is true for n
// pods, and ends the watch. For each of these pods the function returns the time from the creation of the pod until
// done was true. Kubernetes' own times have a resolution of only 1 s.
func watchedPods(t *testing.T, c *kit.Cluster, ns string, done func(*corev1.Pod) bool) (ends func(n int) []time.Duration) {
	t.Helper()
	w, err := c.CoreV1().Pods(ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lives := make(chan time.Duration, 1000)
	go func() {
		defer close(lives)
		since, over := map[string]time.Time{}, map[string]bool{}
		for e := range w.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			if _, known := since[p.Name]; !known {
				since[p.Name] = time.Now()
			}
			if !over[p.Name] && done(p) {
				over[p.Name] = true
				lives <- time.Since(since[p.Name])
			}
		}
	}()
	return func(n int) (all []time.Duration) {
		t.Helper()
		defer w.Stop()
		limit := time.After(kit.Limit)
		for len(all) < n {
			select {
			case d, ok := <-lives:
				if !ok {
					t.Fatalf("the watch ended after %d of %d pods", len(all), n)
				}
				all = append(all, d)
			case <-limit:
				t.Fatalf("%d of %d pods", len(all), n)
			}
		}
		return all
	}
}

// seenOrDeclared fails the test for each pod whose tap neither saw the only connection nor reports connections before
// its capture started.
func (a *arm) seenOrDeclared(t *testing.T, c *kit.Cluster, pods []corev1.Pod) {
	t.Helper()
	gap := regexp.MustCompile(`"gap":\{[^}]*"milliseconds":(\d+)`)
	before := regexp.MustCompile(`"gap":\{[^}]*"connections":[1-9]`)
	for i := range pods {
		var records string
		missed := func() bool {
			records = c.Logs(t, a.ns, pods[i].Name, kit.Tap)
			return !strings.Contains(records, `"plaintext-edge"`) && !before.MatchString(records)
		}
		for end := time.Now().Add(10 * time.Second); missed() && pods[i].Status.Phase == corev1.PodRunning && time.Now().Before(end); {
			time.Sleep(50 * time.Millisecond) // the pod continues to run and may be Ready before its request
		}
		if m := gap.FindStringSubmatch(records); m != nil {
			ms, _ := strconv.Atoi(m[1])
			a.gaps = append(a.gaps, ms)
		}
		switch {
		case strings.Contains(records, `"plaintext-edge"`):
			a.seen++
		case before.MatchString(records):
			a.declared = append(a.declared, pods[i].Name+"\n"+records)
		default:
			t.Errorf("the tap of %s saw no connection and reports none before its capture:\n%s", pods[i].Name, records)
		}
	}
}

// cleared deletes objects and waits until the namespace has no pods.
func (a *arm) cleared(t *testing.T, c *kit.Cluster, what ...string) {
	t.Helper()
	if out, err := c.Kubectl(t, append([]string{"--namespace", a.ns, "delete", "--cascade=foreground"}, what...)...); err != nil {
		t.Fatal(err, out)
	}
	c.Selected(t, a.ns, "app=once", 0)
	kit.Eventually(t, kit.Limit, "the pods to be gone", func() error {
		list, err := c.CoreV1().Pods(a.ns).List(t.Context(), metav1.ListOptions{})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%d are there", len(list.Items))
		}
		return err
	})
}

// median returns the median time of the arm's pods.
func (a *arm) median() time.Duration {
	slices.Sort(a.lives)
	return a.lives[len(a.lives)/2].Round(10 * time.Millisecond)
}

// compare prints the times of the arms, and checks the limits if measured.
func compare(t *testing.T, all []*arm, measured bool, life string) {
	t.Helper()
	for _, a := range all {
		t.Logf("%d pods %s: %.1f s in all, a pod %s: median %v", len(a.lives), a.name, a.took.Seconds(), life, a.median())
	}
	tap, beside := all[withTap], all[idle]
	times, more := tap.took.Seconds()/beside.took.Seconds(), tap.median()-beside.median()
	t.Logf("tapped: %.2f times the idle sidecar's time, %v more at the median; %.2f times the untapped", times, more, tap.took.Seconds()/all[untapped].took.Seconds())
	if slices.Sort(tap.gaps); len(tap.gaps) > 0 {
		t.Logf("the rings were open %d ms after the pod's network at the median, %d at most", tap.gaps[len(tap.gaps)/2], tap.gaps[len(tap.gaps)-1])
	}
	t.Logf("of %d connections %d were seen, and %d are reported as before the capture", tap.seen+len(tap.declared), tap.seen, len(tap.declared))
	if measured && (times > mostTimes || more > mostMore || len(tap.declared) > 0) {
		t.Errorf("want at most %v times the idle sidecar's time, %v more at the median, and each connection seen; not seen: %s", mostTimes, mostMore, strings.Join(tap.declared, "\n"))
	}
}

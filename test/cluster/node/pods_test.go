package node_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

// TestDeployment: after the label was set and the Deployment restarted, the tap of the new pod reports its
// connection.
func TestDeployment(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, nil)
	c.Apply(t, ns, deployment("web", 1))
	before := c.Selected(t, ns, "app=web", 1)[0]
	c.Ready(t, ns, before.Name)
	if found, _ := kit.Container(&before, kit.Tap); found != nil {
		t.Fatal("a pod of a namespace without the label is tapped")
	}
	for _, args := range [][]string{
		{"label", "namespace", ns, "meshtls-tap=enabled"},
		{"--namespace", ns, "rollout", "restart", "deployment/web"},
		{"--namespace", ns, "rollout", "status", "deployment/web", "--timeout", "60s"},
	} {
		if out, err := c.Kubectl(t, args...); err != nil {
			t.Fatal(err, out)
		}
	}
	after := c.Selected(t, ns, "app=web", 1)[0]
	found, native := kit.Container(&after, kit.Tap)
	if found == nil || !native || after.Spec.InitContainers[0].Name != kit.Tap {
		t.Fatalf("the new pod has no native tap in front: %+v", after.Spec.InitContainers)
	}
	if got := kit.Env(found, "TAP_WORKLOAD_KIND") + " " + kit.Env(found, "TAP_WORKLOAD_NAME"); got != "Deployment web" {
		t.Errorf("the tap's workload is %q", got)
	}
	get(t, c, ns, "client", "http://"+after.Status.PodIP+":8080/", 3)
	finding := c.Logged(t, kit.Limit, ns, after.Name, kit.Tap, `"plaintext-edge"`)
	checkFinding(t, finding, ns, after.Name, after.Status.PodIP)
	if out, err := c.Kubectl(t, "--namespace", ns, "exec", after.Name, "--", "/probe", "id"); err != nil || !strings.Contains(out, "ID ") {
		t.Errorf("kubectl exec without -c does not reach the application: %v %s", err, out)
	}
}

func deployment(name string, replicas int) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: app, image: %[3]s, imagePullPolicy: Never, args: [serve], readinessProbe: {httpGet: {port: 8080, path: /}, periodSeconds: 1}}
`, name, replicas, kit.ProbeImage)
}

// checkFinding checks that a record names the pod, its workload and its node.
func checkFinding(t *testing.T, line, ns, pod, ip string) {
	t.Helper()
	var r struct {
		Rule        struct{ ID string }
		Message     string
		Destination struct {
			IP   string
			Port int
		}
		Kubernetes struct {
			Namespace string
			Pod       struct{ Name, UID string }
			Node      struct{ Name string }
		}
		Meshtls struct{ Verdict, Scope string }
	}
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	if r.Kubernetes.Namespace != ns || r.Kubernetes.Pod.Name != pod || r.Kubernetes.Pod.UID == "" || r.Kubernetes.Node.Name != "node" {
		t.Errorf("the finding names %+v, want pod %s of %s", r.Kubernetes, pod, ns)
	}
	if r.Meshtls.Verdict != "plaintext" || r.Destination.IP != ip || r.Destination.Port != 8080 {
		t.Errorf("the finding is of %+v, %+v", r.Meshtls, r.Destination)
	}
	t.Logf("finding: %s", r.Message)
}

// TestFromInside checks the user, capabilities and seccomp mode of the tap in /proc.
func TestFromInside(t *testing.T) {
	t.Parallel()
	c := installed(t)
	for level, want := range map[string]struct{ profile, effective, bounding string }{
		"privileged": {"default", "0000000000000000", "0000000000002000"},
		// The bounding set is the runtime's default, and the binary permits only NET_RAW.
		"baseline": {"baseline", "0000000000000000", "00000000a80425fb"},
	} {
		t.Run(level, func(t *testing.T) {
			ns := c.Namespace(t, map[string]string{label: "enabled", "pod-security.kubernetes.io/enforce": level})
			pod := run(t, c, ns, kit.NewPod("web", kit.Restricted))
			var s struct{ Profile string }
			if err := json.Unmarshal([]byte(pod.Annotations["meshtls-tap/status"]), &s); err != nil || s.Profile != want.profile {
				t.Errorf("profile %q (%v), want %q", s.Profile, err, want.profile)
			}
			text := onNode(t, c, "cat", "/proc/"+process(t, c, pod, kit.Tap)+"/status")
			has := map[string]string{}
			for _, m := range regexp.MustCompile(`(?m)^(Uid|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):\s+(.*)$`).FindAllStringSubmatch(text, -1) {
				has[m[1]] = m[2]
			}
			t.Logf("%s: %v", level, has)
			for name, value := range map[string]string{
				"Uid": "59469\t59469\t59469\t59469", "NoNewPrivs": "1", "Seccomp": "2",
				"CapPrm": "0000000000002000", "CapEff": want.effective, "CapBnd": want.bounding,
			} {
				if has[name] != value {
					t.Errorf("%s is %q, want %q", name, has[name], value)
				}
			}
			get(t, c, ns, "client", "http://"+pod.Status.PodIP+":8080/", 1)
			c.Logged(t, kit.Limit, ns, "web", kit.Tap, `"plaintext-edge"`)
		})
	}
}

// TestRestricted: a namespace admits no profile. Its pod runs untapped, and the pod's owner gets an Event.
func TestRestricted(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, map[string]string{label: "enabled", "pod-security.kubernetes.io/enforce": "restricted"})
	pod := run(t, c, ns, kit.NewPod("web", kit.Restricted))
	if found, _ := kit.Container(pod, kit.Tap); found != nil {
		t.Error("it is tapped")
	}
}

// TestJobs: tapped Jobs complete, including those of a CronJob.
func TestJobs(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, tapped)
	web := run(t, c, ns, kit.NewPod("web"))
	c.Apply(t, ns, fmt.Sprintf(`
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers:
          - {name: main, image: %s, imagePullPolicy: Never, args: [get, -n=3, "http://%s:8080/"]}
`, kit.ProbeImage, web.Status.PodIP))
	begin := time.Now()
	if out, err := c.Kubectl(t, "--namespace", ns, "create", "job", "once", "--from", "cronjob/tick"); err != nil {
		t.Fatal(err, out)
	}
	kit.Eventually(t, kit.Limit, "the Job to be complete", func() error {
		j, err := c.BatchV1().Jobs(ns).Get(t.Context(), "once", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range j.Status.Conditions {
			if condition.Type == "Complete" && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%+v", j.Status)
	})
	t.Logf("complete after %v", time.Since(begin).Round(100*time.Millisecond))
	pod := c.Selected(t, ns, "job-name=once", 1)[0]
	found, _ := kit.Container(&pod, kit.Tap)
	if found == nil {
		t.Fatal("its pod is not tapped")
	}
	if s := status(&pod, kit.Tap); s == nil || s.State.Terminated == nil || s.State.Terminated.ExitCode != 0 {
		t.Errorf("the tap did not end well: %+v", s)
	}
	// The tap sends its records before it ends.
	c.Logged(t, kit.Limit, ns, pod.Name, kit.Tap, `"plaintext-edge"`)
}

// TestKinds tests the other kinds of owners.
func TestKinds(t *testing.T) {
	t.Parallel()
	c := installed(t)
	ns := c.Namespace(t, tapped)
	for _, kind := range []string{"StatefulSet", "DaemonSet"} {
		t.Run(kind, func(t *testing.T) {
			name := strings.ToLower(kind)
			c.Apply(t, ns, fmt.Sprintf(`
apiVersion: apps/v1
kind: %s
metadata: {name: %[2]s}
spec:
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: app, image: %s, imagePullPolicy: Never, args: [serve]}]}
`, kind, name, kit.ProbeImage))
			pod := c.Selected(t, ns, "app="+name, 1)[0]
			c.Ready(t, ns, pod.Name)
			found, _ := kit.Container(&pod, kit.Tap)
			if found == nil {
				t.Fatal("its pod is not tapped")
			}
			if got := kit.Env(found, "TAP_WORKLOAD_KIND") + " " + kit.Env(found, "TAP_WORKLOAD_NAME"); got != kind+" "+name {
				t.Errorf("the tap's workload is %q", got)
			}
		})
	}
}

// TestStart measures the time from the creation of a pod until it is Ready. It alternates between pods with and
// without a tap, five times each.
func TestStart(t *testing.T) {
	long(t)
	c := installed(t)
	with, without := c.Namespace(t, tapped), c.Namespace(t, nil)
	took := map[string][]time.Duration{}
	for i := range 5 {
		for _, ns := range []string{with, without} {
			begin := time.Now()
			run(t, c, ns, kit.NewPod(fmt.Sprintf("p%d", i)))
			took[ns] = append(took[ns], time.Since(begin))
		}
	}
	median := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		return all[len(all)/2].Round(10 * time.Millisecond)
	}
	t.Logf("from creation to Ready, median of 5: %v tapped, %v untapped", median(took[with]), median(took[without]))
}

package attach

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	noon  = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	ended = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		StartedAt: metav1.NewTime(noon), FinishedAt: metav1.NewTime(noon.Add(time.Minute)), Reason: "Completed",
	}}
)

// runningSince is the state of a container that runs since a time.
func runningSince(at time.Time) corev1.ContainerState {
	return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at)}}
}

// running is the state of a container that has just started.
func running() corev1.ContainerState { return runningSince(time.Now()) }

// startedAgo is the state of a container that started some time ago.
func startedAgo(d time.Duration) corev1.ContainerState { return runningSince(time.Now().Add(-d)) }

// TestTaps: all taps of a pod are found, however they got there, with their state and end. Other containers are not.
func TestTaps(t *testing.T) {
	pod := newPod("web", attached("meshtls-tap-10", runningSince(noon)), attached("meshtls-tap-9", ended), func(p *corev1.Pod) {
		always := corev1.ContainerRestartPolicyAlways
		p.Spec.InitContainers = []corev1.Container{{
			Name: "meshtls-tap", Image: "r/meshtls-tap@sha256:1", RestartPolicy: &always,
			Env: []corev1.EnvVar{{Name: "TAP_SINK", Value: "kafka"}, {Name: "TAP_UNTIL", Value: "2026-11-30T13:00:00Z"}, {Name: "TAP_OWN_UNTIL", Value: "2026-11-30T12:30:00Z"}},
		}}
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "meshtls-tap", RestartCount: 2, State: runningSince(noon)}}
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "debugger-x7", Image: "mirror.example/x/meshtls-tap:2", Args: []string{"pcap", "--for", "5m"},
		}}, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "shell", Image: "busybox"}})
		p.Status.EphemeralContainerStatuses = append(p.Status.EphemeralContainerStatuses, corev1.ContainerStatus{
			Name: "debugger-x7", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such host"}},
		})
	})
	want := []Tap{
		{Container: "meshtls-tap", Image: "r/meshtls-tap@sha256:1", Program: "run", State: Running, Restarts: 2, Started: noon, Ends: noon.Add(30 * time.Minute)},
		{Container: "debugger-x7", Image: "mirror.example/x/meshtls-tap:2", Program: "pcap", Ephemeral: true, State: Waiting, Reason: "ErrImagePull", Message: "no such host", lasts: 5 * time.Minute},
		{Container: "meshtls-tap-9", Image: "meshtls-tap:1", Program: "run", Ephemeral: true, HasLog: true, State: Terminated, Reason: "Completed", Started: noon, Ended: noon.Add(time.Minute), Ends: noon.Add(10 * time.Minute), lasts: 10 * time.Minute},
		{Container: "meshtls-tap-10", Image: "meshtls-tap:1", Program: "run", Ephemeral: true, HasLog: true, State: Running, Started: noon, Ends: noon.Add(10 * time.Minute), lasts: 10 * time.Minute},
	}
	got := Taps(pod)
	if len(got) != len(want) {
		t.Fatalf("found %d taps, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		w.Namespace, w.Pod, w.UID = "shop", "web", "uid-web"
		g := got[i]
		for _, at := range []*time.Time{&g.Started, &g.Ends, &g.Ended} {
			if !at.IsZero() {
				*at = at.UTC()
			}
		}
		if g != w {
			t.Errorf("tap %d:\n got %+v\nwant %+v", i, g, w)
		}
	}
}

// TestNextName: names are never used twice, and the tenth tap of a pod is refused.
func TestNextName(t *testing.T) {
	pod := newPod("web")
	for n := 1; n <= maxEphemeral; n++ {
		name, before, err := nextName(pod)
		if want := fmt.Sprintf("meshtls-tap-%d", n); err != nil || name != want || before != n-1 {
			t.Fatalf("%s after %d, %v; want %s", name, before, err, want)
		}
		attached(name, ended)(pod)
	}
	if name, _, err := nextName(pod); err == nil {
		t.Errorf("the tenth is named %s", name)
	}
}

func TestEnd(t *testing.T) {
	for _, test := range []struct {
		tap    Tap
		failed bool
		want   string
	}{
		{Tap{}, false, "it ended"},
		{Tap{ExitCode: 137, Reason: "OOMKilled"}, true, "the kernel killed it because the pod's memory limit was reached (OOMKilled)"},
		{Tap{ExitCode: 137, Reason: "Error"}, true, "it was killed (status 137)"},
		{Tap{ExitCode: 1, Reason: "Error", Message: "no NET_RAW"}, true, "it failed with status 1: no NET_RAW"},
	} {
		if e := test.tap.end(); e.Reason != test.want || e.Failed != test.failed || !e.Known {
			t.Errorf("%+v: %+v, want %q", test.tap, e, test.want)
		}
	}
}

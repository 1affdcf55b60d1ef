package attach

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// waitingFor is the state of a container that waits.
func waitingFor(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// keptAlive sets the variable with which an attached tap ends without its client.
func keptAlive(p *corev1.Pod) {
	for i := range p.Spec.EphemeralContainers {
		c := &p.Spec.EphemeralContainers[i]
		c.Env = append(c.Env, corev1.EnvVar{Name: envAlive, Value: "20s"})
	}
}

// TestStopWaiting: a tap that has not started cannot be told to end. Stop reports so with the reason and with what happens to the container, and does not wait
// for what will not happen.
func TestStopWaiting(t *testing.T) {
	const cannot = ", so it captures nothing and cannot be told to end. Kubernetes cannot remove it from the pod, and the kubelet keeps trying: if it starts later, it "
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"its image cannot be pulled": {newPod("web", attached("meshtls-tap-1", waitingFor("ImagePullBackOff", "no such host")), keptAlive),
			"it has not started (ImagePullBackOff: no such host)" + cannot + "ends by itself within 30s, because no client is attached to it"},
		"kubectl debug attached it": {newPod("web", attached("meshtls-tap-1", waitingFor("CreateContainerError", ""))),
			"it has not started (CreateContainerError)" + cannot + "runs for 10m and ends by itself"},
		"its time has no limit": {newPod("web", attached("meshtls-tap-1", waitingFor("ErrImagePull", "")), func(p *corev1.Pod) { p.Spec.EphemeralContainers[0].Env = nil }),
			"it has not started (ErrImagePull)" + cannot + "runs until it is stopped or its pod ends"},
		"its pod is gone meanwhile": {newPod("gone", attached("meshtls-tap-1", waitingFor("ErrImagePull", ""))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{}
			c := newServer(t, s, test.pod)
			tap := Taps(test.pod)[0]
			if test.want == "" {
				delete(s.pods, "shop/gone")
			}
			begin := time.Now()
			err := c.Stop(t.Context(), tap)
			var waits *NotStartedError
			if got := fmt.Sprint(err); test.want == "" && err != nil || test.want != "" && (got != test.want || !errors.As(err, &waits)) {
				t.Errorf("%s, want %q", got, test.want)
			}
			if took := time.Since(begin); took > endTime/2 {
				t.Errorf("after %v", took)
			}
		})
	}
}

// TestStopEnding: a tap that ends by itself while Stop connects to it has ended, though the connection fails.
func TestStopEnding(t *testing.T) {
	pod := newPod("web", attached("meshtls-tap-1", running()))
	begin := time.Now()
	s := &server{status: func(p *corev1.Pod) {
		if time.Since(begin) > 500*time.Millisecond {
			p.Status.EphemeralContainerStatuses[0].State = ended
		}
	}}
	if err := newServer(t, s, pod).Stop(t.Context(), Taps(pod)[0]); err != nil {
		t.Error(err)
	}
	s.status = nil
	pod.Status.EphemeralContainerStatuses[0].State = running()
	c := newServer(t, s, pod)
	if err := c.Stop(t.Context(), Taps(pod)[0]); err == nil || !strings.HasPrefix(err.Error(), "its standard input cannot be closed: ") {
		t.Errorf("a tap that runs: %v", err)
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Stop(interrupted, Taps(pod)[0]); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "whether it has ended is not known; it ends by itself at ") {
		t.Errorf("interrupted: %v", err)
	}
}

// runPlan runs a plan for a pod whose tap gets a state, and returns the events as text.
func runPlan(ctx context.Context, t *testing.T, state corev1.ContainerState, event func(string)) []string {
	t.Helper()
	pod := newPod("web")
	s := &server{}
	s.status = func(p *corev1.Pod) {
		if len(p.Spec.EphemeralContainers) > 0 {
			p.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: p.Spec.EphemeralContainers[0].Name, State: state}}
		}
	}
	c := newServer(t, s, pod)
	plan, err := c.Plan(t.Context(), []corev1.Pod{*pod}, Options{Image: "meshtls-tap:1", For: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	c.Run(ctx, plan, func(e Event) {
		text := fmt.Sprintf("%+v", e)
		switch {
		case e.Starts != "":
			text = "starts: " + e.Starts
		case e.Ended != nil:
			text = fmt.Sprintf("ended, failed %v: %s", e.Ended.Failed, e.Ended.Reason)
		}
		got = append(got, text)
		event(text)
	})
	return got
}

// TestRunWaiting: a tap that cannot start ends at once with the reason, and says what happens to its container.
func TestRunWaiting(t *testing.T) {
	for reason, hint := range map[string]string{"ImageInspectError": ". Set --image to an image that this node can pull", "CreateContainerConfigError": ""} {
		got := runPlan(t.Context(), t, waitingFor(reason, "the message"), func(string) {})
		want := []string{"ended, failed true: it has not started (" + reason + ": the message), so it captures nothing and cannot be told to end. " +
			"Kubernetes cannot remove it from the pod, and the kubelet keeps trying: if it starts later, it ends by itself within 30s, because no client is attached to it" + hint}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestRunInterrupted: while a tap starts, the reason is reported. If the command ends then, the last event says so, and not that a time limit has passed.
func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := runPlan(ctx, t, waitingFor("ContainerCreating", ""), func(string) { cancel() })
	want := []string{"starts: ContainerCreating", "ended, failed false: this command ended before the tap had started: if it starts later, it ends by itself within 30s, because no client is attached to it"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := runPlan(ctx, t, waitingFor("ContainerCreating", ""), func(string) {}); len(got) != 1 || !strings.HasPrefix(got[0], "ended, failed false: this command ended ") {
		t.Errorf("after the end: %q", got)
	}
}

// TestRunReuse: a tap that ran before is read for the time of the plan, and is not reported as ended then.
func TestRunReuse(t *testing.T) {
	pod := newPod("web", attached("meshtls-tap-1", running()))
	s := &server{log: func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, logLine(noon, recordText(1)))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}}
	c := newServer(t, s, pod)
	plan, err := c.Plan(t.Context(), []corev1.Pod{*pod}, Options{Image: "meshtls-tap:1", For: time.Second})
	if err != nil || plan.Pods[0].Reuse == nil {
		t.Fatal(err, plan)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	records := 0
	c.Run(ctx, plan, func(e Event) {
		if records++; e.Record == nil {
			t.Errorf("%+v", e)
		}
	})
	if ctx.Err() != nil || records != 1 {
		t.Errorf("%v, %d records", ctx.Err(), records)
	}
}

// TestEndsAlone: what happens to a tap whose client is gone.
func TestEndsAlone(t *testing.T) {
	for want, tap := range map[string]Tap{
		"; it ends by itself when it has heard nothing of its client for 20s, at 12:00:00 UTC at the latest": {Ends: noon, silent: 20 * time.Second},
		"; it ends by itself at 12:00:00 UTC": {Ends: noon},
		"; it ends with its pod":              {},
	} {
		if got := tap.endsAlone(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestLastEvent: nothing follows the event of a tap's end.
func TestLastEvent(t *testing.T) {
	var got []string
	emit := untilEnded(func(e Event) { got = append(got, e.Notice) })
	emit(Event{Notice: "a"})
	emit(Event{Notice: "b", Ended: &Ended{}})
	emit(Event{Notice: "c", Stream: &StreamChanged{}})
	if !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
}

// TestCursorClock: after the node's clock was set back, lines are new nevertheless. After a stream broke, they are not read twice.
func TestCursorClock(t *testing.T) {
	var c cursor
	read := func(at ...int) (fresh []int) {
		c.resume()
		for _, n := range at {
			if _, ok := c.next([]byte(logLine(noon.Add(time.Duration(n)*time.Second), "x"))); ok {
				fresh = append(fresh, n)
			}
		}
		return fresh
	}
	for _, test := range []struct{ lines, fresh []int }{
		{[]int{1, 2, 9, 9, 3, 4}, []int{1, 2, 9, 9, 3, 4}},
		{[]int{8, 9, 9, 9, 5, 10}, []int{9, 5, 10}},
		{[]int{9, 10, 11}, []int{11}},
	} {
		if got := read(test.lines...); !slices.Equal(got, test.fresh) {
			t.Errorf("%v: %v, want %v", test.lines, got, test.fresh)
		}
	}
}

// TestCursorBounded: a log with many runs, or with long names of them, does not use much memory.
func TestCursorBounded(t *testing.T) {
	var c cursor
	for n := range 10_000 {
		r := &Record{}
		r.Meshtls.Run, r.Event.Dataset, r.Event.Sequence = fmt.Sprint(n), "x", 7
		if n%100 == 0 {
			r.Meshtls.Run = strings.Repeat("x", 1<<20) + fmt.Sprint(n)
		}
		if lost := c.lost(r); lost != 0 {
			t.Fatalf("lost %d", lost)
		}
	}
	size := 0
	for key := range c.sequences {
		size += len(key)
	}
	if len(c.sequences) > maxSequences || size > maxSequences*maxKey {
		t.Errorf("%d runs, %d bytes", len(c.sequences), size)
	}
}

// TestTapped: only a tap that captures makes a pod tapped.
func TestTapped(t *testing.T) {
	for want, pod := range map[string]*corev1.Pod{
		"":                               newPod("web", attached("meshtls-tap-1", runningSince(noon))),
		"the time of its tap is over":    newPod("web", attached("meshtls-tap-1", runningSince(noon.Add(-time.Hour)))),
		"its tap has ended":              newPod("web", attached("meshtls-tap-1", ended)),
		"its tap has not started (Wait)": newPod("web", attached("meshtls-tap-1", waitingFor("Wait", ""))),
		"no tap runs in it":              newPod("web"),
	} {
		if yes, why := tapped(pod, noon.Add(time.Minute)); why != want || yes != (want == "") {
			t.Errorf("%v, %q, want %q", yes, why, want)
		}
	}
}

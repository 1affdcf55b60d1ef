package main

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// gatheringOf returns a gathering of taps in pods of the namespace shop, with events.
func gatheringOf(pods []string, events ...attach.Event) *gathering {
	plan := &attach.Plan{}
	for _, name := range pods {
		plan.Pods = append(plan.Pods, attach.PodPlan{Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}})
	}
	g := newGathering(topology.Inventory{}, plan)
	for i := range events {
		g.add(&events[i])
	}
	return g
}

// TestTapStatus: the exit status of tap. With --fail-on, what was not seen is never a success, and a tap that failed is not "no connection was judged".
func TestTapStatus(t *testing.T) {
	tap := attach.Tap{Namespace: "shop", Pod: "web"}
	failure := attach.Event{Tap: tap, Ended: &attach.Ended{Reason: "it was killed", Failed: true}}
	for name, test := range map[string]struct {
		failOn  string
		refused int
		err     error
		event   attach.Event
		status  int
		says    string
	}{
		"fine":                            {status: exitFine, event: attach.Event{Tap: tap, Ended: &attach.Ended{}}},
		"nothing was seen":                {failOn: "plaintext-edge", status: exitUnjudged, says: "no connection was judged", event: attach.Event{Tap: tap, Ended: &attach.Ended{}}},
		"a tap failed":                    {status: exitError, says: "1 tap failed: shop/web: it was killed", event: failure},
		"a tap of a gate failed":          {failOn: "plaintext-edge", status: exitError, says: "1 tap failed: shop/web: it was killed", event: failure},
		"a pod has no tap":                {refused: 2, status: exitFine},
		"a pod of a gate has no tap":      {failOn: "plaintext-edge", refused: 2, status: exitError, says: "nothing is proven for 2 pods that could not be tapped"},
		"records of a gate were lost":     {failOn: "plaintext-edge", status: exitError, says: "nothing is proven, because records of 1 tap were lost", event: attach.Event{Tap: tap, Lost: 1}},
		"the output could not be written": {failOn: "plaintext-edge", err: errors.New("broken pipe"), status: exitError, says: "broken pipe"},
	} {
		t.Run(name, func(t *testing.T) {
			gate, err := parseFailOn(test.failOn)
			if err != nil {
				t.Fatal(err)
			}
			err = gatheringOf([]string{"web"}, test.event).result(&gate, test.refused, test.err)
			if exitStatus(err) != test.status || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("status %d: %v", exitStatus(err), err)
			}
		})
	}
}

// TestGatherStates: why a tap does not run yet is shown, and a tap that ran before is not said to have ended.
func TestGatherStates(t *testing.T) {
	web, cart := attach.Tap{Namespace: "shop", Pod: "web"}, attach.Tap{Namespace: "shop", Pod: "cart"}
	g := gatheringOf([]string{"web", "cart"}, attach.Event{Tap: web, Starts: "ContainerCreating"})
	if got := g.state().Taps[0].Reason; got != "ContainerCreating" {
		t.Errorf("%q", got)
	}
	record := &attach.Record{}
	g.add(&attach.Event{Tap: web, Record: record})
	g.add(&attach.Event{Tap: cart, Ended: &attach.Ended{Reason: "its time is up"}})
	if got := g.state().Taps[0].Reason; got != "" {
		t.Errorf("a tap that runs waits for %q", got)
	}
	for stopped, want := range map[bool]string{false: "the time is up; taps that ran before and continue: 1", true: "stopped by the user; taps that ran before and continue: 1"} {
		if g.end(stopped); g.state().Ended != want {
			t.Errorf("%q, want %q", g.state().Ended, want)
		}
	}
	g.add(&attach.Event{Tap: web, Ended: &attach.Ended{}})
	if g.end(false); g.state().Ended != "all taps have ended" {
		t.Errorf("%q", g.state().Ended)
	}
}

// TestGatherHostile: a tap that claims absurd losses, or logs long lines of controls, neither overflows a number nor the screen.
func TestGatherHostile(t *testing.T) {
	web := attach.Tap{Namespace: "shop", Pod: "web"}
	g := gatheringOf([]string{"web"})
	for range 3 {
		g.add(&attach.Event{Tap: web, Lost: math.MaxUint64 - 1})
	}
	g.add(&attach.Event{Tap: web, Notice: "level=WARN \x1b[2J\u202e" + strings.Repeat("x", 1<<20)})
	g.add(&attach.Event{Tap: attach.Tap{Pod: "another"}, Notice: "level=WARN"})
	var out bytes.Buffer
	o := &options{IOStreams: genericiooptions.IOStreams{ErrOut: &out}}
	if err := o.printWarnings(g); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "shop/web: the log of its tap lacks 18446744073709551615 records\n") || strings.ContainsAny(got, "\x1b\u202e") || len(got) > 2*maxWarning {
		t.Errorf("%.300q, %d bytes", got, len(got))
	}
}

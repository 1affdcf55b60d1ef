package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

var updateGolden = flag.Bool("update", false, "write the golden files")

// golden compares a text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *updateGolden {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || string(want) != got {
		t.Errorf("%s differs (%v); -update writes it. Now:\n%s", file, err, got)
	}
}

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// someTaps are a tap in each state.
func someTaps() []tapStatus {
	at := record.Time(noon.Add(-time.Minute).UnixNano())
	tap := func(pod, container string) attach.Tap {
		return attach.Tap{Namespace: "shop", Pod: pod, Container: container, Image: "r/meshtls-tap:1", Program: attach.ProgramRun, Ephemeral: true, HasLog: true}
	}
	runs, ended, killed, waits, sidecar := tap("cart-1", "meshtls-tap-2"), tap("cart-1", "meshtls-tap-1"), tap("pay-1", "meshtls-tap-1"), tap("pay-2", "meshtls-tap-1"), tap("web-1", "meshtls-tap")
	runs.State, runs.Started, runs.Ends = attach.Running, noon.Add(-2*time.Minute), noon.Add(8*time.Minute)
	ended.State, ended.Started, ended.Ended = attach.Terminated, noon.Add(-2*time.Hour), noon.Add(-119*time.Minute)
	killed.State, killed.Ended, killed.ExitCode, killed.Reason = attach.Terminated, noon.Add(-30*time.Second), 137, "OOMKilled"
	waits.State, waits.Reason = attach.Waiting, "ImagePullBackOff"
	sidecar.State, sidecar.Started, sidecar.Ephemeral, sidecar.HasLog = attach.Running, noon.Add(-50*time.Hour), false, false
	starts := tap("web-2", "meshtls-tap")
	starts.State, starts.Reason, starts.Ephemeral = attach.Waiting, "CrashLoop\u202eBackOff", false
	over := tap("web-3", "meshtls-tap")
	over.State, over.Started, over.Ends, over.Ephemeral, over.Image = attach.Running, noon.Add(-time.Hour), noon.Add(-5*time.Minute), false, "\x1b[31mr"
	return []tapStatus{
		{Tap: ended, Losses: &attach.Losses{At: at, Packets: 100}},
		{Tap: runs, Losses: &attach.Losses{At: at, Packets: 100, Dropped: 7, Older: 3, Degraded: "lossy\x1b]0;x\a"}},
		{Tap: killed, LossesUnknown: "nothing in its log"},
		{Tap: waits, LossesUnknown: "it does not run"},
		{Tap: sidecar, LossesUnknown: "its records are not in its log"},
		{Tap: starts, LossesUnknown: "it does not run"},
		{Tap: over, LossesUnknown: "nothing in its log"},
	}
}

func TestStatusTable(t *testing.T) {
	var b bytes.Buffer
	found := &survey{pods: 12, namespaces: []string{"pay", "shop"}, unproven: []string{"no right to list the pods of 1 namespace: ops."}}
	for _, wide := range []bool{false, true} {
		if err := printStatus(&b, someTaps(), found, wide, noon); err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
	}
	golden(t, "status.txt", b.String())
}

// TestStatusProves: what a survey proves is claimed for the pods that were read, and for no others.
func TestStatusProves(t *testing.T) {
	some := &survey{pods: 3, namespaces: []string{"shop"}}
	for _, test := range []struct {
		attached, sidecars int
		found              *survey
		want               string
	}{
		{0, 0, &survey{}, "No running pods were found."},
		{0, 0, some, "Read 3 pods in namespace shop. No tap runs in them."},
		{0, 2, some, "Read 3 pods in namespace shop. No attached tap runs there, but 2 sidecars of the webhook run."},
		{1, 0, some, "Read 3 pods in namespace shop. 1 attached tap runs. To end attached taps: kubectl meshtls stop."},
		{2, 1, some, "Read 3 pods in namespace shop. 2 attached taps and 1 sidecar of the webhook run. To end attached taps: kubectl meshtls stop."},
	} {
		if got := verdictText(&counts{attached: test.attached, sidecars: test.sidecars}, test.found); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// TestStatusWaiting: a tap that has not started is not counted as one that runs.
func TestStatusWaiting(t *testing.T) {
	var c counts
	for _, reason := range []string{"ImagePullBackOff", "CreateContainerError", "ImagePullBackOff", ""} {
		c.add(&attach.Tap{Ephemeral: true, State: attach.Waiting, Reason: reason})
	}
	c.add(&attach.Tap{State: attach.Waiting, Reason: "CrashLoopBackOff"})
	const want = "Read 3 pods in namespace shop. No tap runs in them. " +
		"4 attached taps (ImagePullBackOff, CreateContainerError, no state yet) and 1 sidecar (CrashLoopBackOff) do not run, capture nothing and may still start."
	if got := verdictText(&c, &survey{pods: 3, namespaces: []string{"shop"}}); got != want {
		t.Errorf("%s", got)
	}
}

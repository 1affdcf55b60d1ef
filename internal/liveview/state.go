package liveview

import (
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// State is the state of all taps and edges at one moment. Run keeps it until it has read the next one; it must not be changed meanwhile.
type State struct {
	Answer   string // the result in one sentence
	Edges    []topology.Edge
	Findings []topology.Finding
	Unknown  []topology.Unknown
	Taps     []Tap
	Until    time.Time // when the taps end by themselves; zero: not known
	Ended    string    // why no record will follow, in words; empty: records may follow
}

// Phase is the state of one tap.
type Phase int

// The phases of a tap.
const (
	Starting Phase = iota
	Running
	Ended // it has reported that it stopped, or its container has ended
	Lost  // its records no longer arrive, and it is not known whether it runs
	Failed
)

var phases = [...]string{Starting: "starting", Running: "running", Ended: "ended", Lost: "stream lost", Failed: "failed"}

// Tap is the tap of one pod.
type Tap struct {
	Pod     string // NAMESPACE/NAME
	Phase   Phase
	Reason  string // why it ended, was lost or failed
	Dropped uint64 // packets that it lost
	Older   uint64 // connections older than the tap, which it may not be able to judge
}

// Source returns the present state. Run calls it at most once a second, from one goroutine at a time.
type Source func() State

package main

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// faultsLogged is how many faults of the tap itself are logged with their place.
const faultsLogged = 3

// failed reports a panic that a packet caused. The table of connections is empty after it.
func (t *tap) failed(p *pipeline.Locked, cause any) {
	t.renewed = true
	n := p.Stats().Panics
	if n <= faultsLogged {
		t.log.Error("a fault of the tap itself: please report it", "cause", cause, "stack", string(debug.Stack()))
	}
	if n&(n-1) == 0 { // the first, second, fourth, ...
		p.Engine.Degraded(time.Now().UnixNano(), fmt.Sprintf("%d faults of the tap itself: what was known of the connections is lost", n))
	}
}

// faults returns an error where packets brought about faults of the tap itself.
func (r *reading) faults() error {
	n := r.pipeline.Stats().Panics
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d packets brought about a fault of the tap itself, which cost what was known of the connections until then: please report it", n)
}

package main

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// panicsLogged is the number of panics that are logged with their stack.
const panicsLogged = 3

// panicked reports a panic that a packet caused. Afterwards the table of connections is empty.
func (t *tap) panicked(p *pipeline.Locked, cause any) {
	t.live.TableCleared()
	n := p.Stats().Panics
	if n <= panicsLogged {
		t.log.Error("a packet caused a fault of the tap itself: please report it", "cause", cause, "stack", string(debug.Stack()))
	}
	if n&(n-1) == 0 { // the first, second, fourth, ... panic
		p.Engine.Degraded(time.Now().UnixNano(), fmt.Sprintf("%d faults of the tap itself: what was known of the connections is lost", n))
	}
}

// panicError returns an error if packets caused panics.
func (r *reading) panicError() error {
	n := r.pipeline.Stats().Panics
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d packets caused a fault of the tap itself, and what was known of the connections until then is lost: please report it", n)
}

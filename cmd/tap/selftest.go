package main

import (
	"context"
	"fmt"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/selftest"
)

// testResult is the result of the latest self-test. nil means that it has not ended yet.
type testResult struct {
	off      bool  // TAP_SELF_TEST is false
	err      error // why the test failed; nil: it passed
	duration time.Duration
}

// testSelf runs the self-test, unless it is turned off, and logs its result. A failure changes nothing else.
//
// Call it after the attempts to open the interfaces: the capture does not wait for it, and `tap wait` counts the packet sockets of
// each interface.
func (t *tap) testSelf(ctx context.Context) {
	if !t.SelfTest {
		t.tested.Store(&testResult{off: true})
		return
	}
	r := selftest.Run(ctx, t.sockets.DialContext)
	t.accepted.Add(uint64(r.Accepted))
	if ctx.Err() != nil {
		return // the tap ends, so a failure means nothing
	}
	t.tested.Store(&testResult{err: r.Err, duration: r.Duration})
	if r.Err != nil {
		t.log.Warn("the self-test failed: the verdicts of this tap are in doubt", "error", r.Err, "duration", r.Duration)
		return
	}
	t.log.Info("the self-test passed", "duration", r.Duration)
}

// String returns the result as /readyz shows it.
func (r *testResult) String() string {
	switch {
	case r == nil:
		return "running"
	case r.off:
		return "off"
	case r.err != nil:
		return "failed: " + r.err.Error()
	}
	return fmt.Sprintf("passed in %d ms: mtls with a client certificate, tls without", r.duration.Milliseconds())
}

// check returns the result as the record of the start has it. ok reports whether there is a result.
func (r *testResult) check() (c finding.Check, ok bool) {
	if r == nil || r.off {
		return c, false
	}
	return finding.Check{Name: "self_test", OK: r.err == nil, Detail: r.String()}, true
}

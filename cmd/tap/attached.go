package main

import (
	"context"
	"errors"
	"os"
	"time"
)

// attachedBudget is the memory limit, in bytes, of a tap that somebody attached to a running pod (TAP_FOR). Its control group is
// the pod's, or has no limit, so a tap that sized itself by that limit would use the application's memory.
const attachedBudget = 48 << 20

// Values of event.reason for a tap that ended by itself.
var (
	errTimeUp   = errors.New("for")
	errNoReader = errors.New("no_reader")
)

// attached returns a context that ends when the time of TAP_FOR is up, or when the person who
// attached the tap is gone. That is so if nobody reads the tap's standard output any more, or if
// the tap's standard input (a terminal or a pipe) has hung up. Without TAP_FOR the context never
// ends by itself, because a sidecar must not.
func (t *tap) attached(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.For <= 0 {
		return context.WithCancel(ctx)
	}

	ctx, cancel := context.WithCancelCause(ctx)
	files := withPeer(t.streams)
	go func() {
		ends := time.NewTimer(t.For)
		defer ends.Stop()
		poll := time.NewTicker(time.Second)
		defer poll.Stop()
		for {
			select {
			case <-ends.C:
				cancel(errTimeUp)
			case <-poll.C:
				for _, f := range files {
					if hungUp(f) {
						cancel(errNoReader)
					}
				}
				continue
			case <-ctx.Done():
			}
			return
		}
	}()

	return ctx, func() { cancel(nil) }
}

// withPeer returns the standard input and output. It leaves out one that has already hung up, such as the input of a job, since that
// would end the tap at once.
func withPeer(std streams) (files []*os.File) {
	for _, s := range []any{std.in, std.out} {
		if f, ok := s.(*os.File); ok && f != nil && !hungUp(f) {
			files = append(files, f)
		}
	}
	return files
}

// endReason returns why a context of attached ended, as event.reason.
func endReason(ctx context.Context) string {
	for _, err := range []error{errTimeUp, errNoReader} {
		if errors.Is(context.Cause(ctx), err) {
			return err.Error()
		}
	}
	return "signal"
}

// budget returns the memory limit of the tap in bytes. group is the limit of its control group. 0 means
// no limit.
func (s *settings) budget(group int64) int64 {
	switch {
	case s.Memory > 0:
		return int64(s.Memory)
	case s.For <= 0:
		return group
	case group > 0:
		return min(group, attachedBudget)
	}
	return attachedBudget
}

package main

import (
	"context"
	"errors"
	"math"
	"os"
	"time"
)

// attachedBudget is the memory limit, in bytes, of a tap that somebody attached to a running pod (TAP_FOR). Such a tap runs in
// the pod's control group, or in one without a limit. If it sized itself by that limit, it would use the application's memory.
const attachedBudget = 48 << 20

// Values of event.reason for a tap that ended by itself.
var (
	errTimeUp   = errors.New("for")
	errNoReader = errors.New("no_reader")
)

// attached returns a context that ends when the time of TAP_FOR is up, or when the person who
// attached the tap is gone. The person is gone if nobody reads the tap's standard output any more,
// or if the tap's standard input (a terminal or a pipe) has hung up. Without TAP_FOR the context
// never ends by itself in a pod, because a sidecar must not end by itself. Elsewhere it ends if
// records go only to standard output, which is a pipe, and nobody reads it any more.
func (t *tap) attached(ctx context.Context) (context.Context, context.CancelFunc) {
	files, lasts := withPeer(t.streams), t.For
	if lasts <= 0 {
		files, lasts = t.pipedOutput(), math.MaxInt64
	}
	if t.For <= 0 && len(files) == 0 {
		return context.WithCancel(ctx)
	}

	return untilGone(ctx, files, lasts)
}

// untilGone returns a context that ends after a time (errTimeUp), or within a second after the other end of a file has hung up (errNoReader).
func untilGone(ctx context.Context, files []*os.File, lasts time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		ends := time.NewTimer(lasts)
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

// withPeer returns the standard input and output, without one that has hung up. An input that has already hung up, such as the
// input of a job, would end the tap at once.
func withPeer(std streams) (files []*os.File) {
	for _, s := range []any{std.in, std.out} {
		if f, ok := s.(*os.File); ok && f != nil && !hungUp(f) {
			files = append(files, f)
		}
	}
	return files
}

// pipedOutput returns standard output if the tap ends with its reader: outside of a pod, records go only there, and it is a pipe.
func (t *tap) pipedOutput() []*os.File {
	out, ok := t.streams.out.(*os.File)
	if inPod := t.PodName+t.PodUID+t.ServiceHost != ""; inPod || !ok || out == nil || t.destination() != "stdout" {
		return nil
	}
	if info, err := out.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return nil
	}
	return []*os.File{out}
}

// endReason returns the reason for which a context of attached ended, as event.reason.
func endReason(ctx context.Context) string {
	for _, err := range []error{errTimeUp, errNoReader} {
		if errors.Is(context.Cause(ctx), err) {
			return err.Error()
		}
	}
	return "signal"
}

// budget returns the memory limit of the tap in bytes. group is the limit of its control group in
// bytes. A value of 0 means no limit.
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

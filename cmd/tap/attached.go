package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/limits"
)

// attachedBudget is the memory limit, in bytes, of a tap that somebody attached to a running pod (TAP_FOR). Such a tap runs in
// the pod's control group, or in one without a limit. If it sized itself by that limit, it would use the application's memory.
const attachedBudget = 48 << 20

// Values of event.reason for a tap that ended by itself.
var (
	errTimeUp   = errors.New("for")
	errNoReader = errors.New("no_reader")
	errMemory   = errors.New("memory")
)

// attached returns a context that ends when the time of TAP_FOR is up, or when the person who
// attached the tap is gone. The person is gone if nobody reads the tap's standard output any more,
// or if the tap's standard input (a terminal or a pipe) has hung up or was silent for TAP_KEEPALIVE. Without TAP_FOR the context
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

	var k keepalive
	if t.For > 0 && t.Keepalive > 0 {
		k = keepalive{arrivals(t.streams.in), t.Keepalive}
	}
	return untilGone(ctx, files, lasts, k)
}

// untilGone returns a context that ends after a time (errTimeUp), or (errNoReader) within a second after the other end of a file has hung
// up, or when k's client was silent for too long or has closed standard input.
func untilGone(ctx context.Context, files []*os.File, lasts time.Duration, k keepalive) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		ends := time.NewTimer(lasts)
		defer ends.Stop()
		poll := time.NewTicker(time.Second)
		defer poll.Stop()
		silent := k.timer()
		defer silent.Stop()
		for {
			select {
			case <-ends.C:
				cancel(errTimeUp)
			case <-silent.C:
				cancel(errNoReader)
			case _, open := <-k.arrived:
				if !open {
					cancel(errNoReader)
					return
				}
				silent.Reset(k.silent)
				continue
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

// leastLeft is the memory, in bytes, that must be left under the pod's limit before a tap is attached: the tap's own, and a third more.
const leastLeft = attachedBudget / 3 * 4

// checkMemory returns an error that wraps errMemory if the control group has too little memory left for an attached tap, which would make the kernel
// kill the application. The file system is root. It logs a warning if that cannot be known.
func (t *tap) checkMemory(root fs.FS) error {
	if t.For <= 0 {
		return nil
	}
	need := int64(leastLeft)
	if t.Memory > 0 {
		need = int64(t.Memory) / 3 * 4
	}
	left, known := limits.Left(root)
	switch {
	case left < need:
		return fmt.Errorf("%w: %d MiB are left under the memory limit of the pod, and an attached tap needs %d MiB: nothing was captured; raise the limit, or set TAP_MEMORY to a smaller value of 16Mi or more",
			errMemory, left>>20, need>>20)
	case !known:
		t.log.Warn("the memory that is left under the pod's limit cannot be seen from this container and was not checked", "needed", need)
	}
	return nil
}

package webhook

import (
	"context"
	"log/slog"
	"time"
)

// loop does one thing when it starts, when it is nudged, and every so often: on every
// replica, or on the elected one. It is a manager.Runnable.
type loop struct {
	name   string
	leader bool
	every  time.Duration
	do     func(context.Context) error
	log    *slog.Logger
	nudged chan struct{} // of one element
}

func newLoop(name string, leader bool, every time.Duration, log *slog.Logger, do func(context.Context) error) *loop {
	return &loop{name, leader, every, do, log, make(chan struct{}, 1)}
}

// NeedLeaderElection reports whether only the elected replica runs the loop.
func (l *loop) NeedLeaderElection() bool { return l.leader }

// nudge makes the loop run soon. It never blocks.
func (l *loop) nudge() {
	select {
	case l.nudged <- struct{}{}:
	default:
	}
}

// Start runs the loop until ctx ends. An error is logged when it changes, and tried again
// after a second, then two, and so on.
func (l *loop) Start(ctx context.Context) error {
	logged, wait := "", l.every
	for {
		err := l.do(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			logged, wait = "", l.every
		default:
			if err.Error() != logged {
				logged, wait = err.Error(), time.Second/2
				l.log.Error(l.name, "error", err)
			}
			wait = min(2*wait, l.every)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.nudged:
		case <-time.After(wait):
		}
	}
}

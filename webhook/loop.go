package webhook

import (
	"context"
	"log/slog"
	"time"
)

// loop calls a function when it starts, when it is nudged, and periodically: on every replica, or only
// on the elected one. It implements manager.Runnable.
type loop struct {
	name   string // what the function does, for the log
	leader bool   // only the elected replica runs it
	every  time.Duration
	do     func(context.Context) error
	log    *slog.Logger
	nudged chan struct{} // has a capacity of 1
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

// Start runs the loop until ctx ends. It logs each error, unless the previous call returned the same one. After an
// error it calls the function again after 1 s, 2 s, 4 s and so on, but at the latest after the loop's period.
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
				l.log.Error(l.name+" failed", "error", err)
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

package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"sync"
	"syscall"
	"time"
)

// LinesConfig bounds a Lines sink. Zero values mean the defaults of NewQueue.
type LinesConfig struct {
	QueueRecords int
	QueueBytes   int
}

// Lines writes records as JSON lines, one Write for a batch of whole lines, from one
// goroutine of its own. A reader that stops reading costs records, counted, and never
// blocks Put. A reader that went away (EPIPE) ends delivery: Status says so and all
// later records are dropped, counted. To be told of it on standard output rather than
// killed by it, the program must handle SIGPIPE (os/signal, "SIGPIPE").
type Lines struct {
	w                   io.Writer
	queue               *Queue
	stop                chan struct{} // closed when Close begins
	limit               chan struct{} // closed when Close runs out of time
	done                chan struct{} // closed when the goroutine ended
	stopOnce, limitOnce sync.Once

	mu      sync.Mutex
	reason  string
	since   time.Time
	retries uint64
	writing time.Time // since when a write lasts, zero: none does
}

// What one batch of lines may take. A pipe takes up to 4096 bytes (PIPE_BUF) at once.
const (
	lineBatch      = 256
	lineBatchBytes = 64 << 10
	lineRetry      = time.Second // after an error that is not the reader's end

	// lineBlocked is how long a write may last until the reader is taken not to read.
	lineBlocked = 5 * time.Second
)

// reasonBlocked is Status.Reason while a write lasts for longer.
const reasonBlocked = "nobody reads the output: a write to it is blocked"

// NewLines starts a sink that writes to w. Close ends it; it does not close w.
func NewLines(w io.Writer, cfg LinesConfig) *Lines {
	l := &Lines{
		w: w, queue: NewQueue(cfg.QueueRecords, cfg.QueueBytes), since: time.Now(),
		stop: make(chan struct{}), limit: make(chan struct{}), done: make(chan struct{}),
	}
	go l.run()
	return l
}

// Put queues m to be written; see Queue.Put.
func (l *Lines) Put(m Message) bool { return l.queue.Put(m) }

// Status returns the state of the output. A blocked write counts like brokers that are away:
// Close need not wait for it.
func (l *Lines) Status() Status {
	l.mu.Lock()
	s := Status{OK: l.reason == "", Reason: l.reason, Since: l.since, Retries: l.retries}
	if !l.writing.IsZero() && time.Since(l.writing) >= lineBlocked {
		s.OK, s.Down, s.Reason, s.Since = false, true, reasonBlocked, l.writing
	}
	l.mu.Unlock()
	if s.Reason != "" {
		s.Fault = FaultOutput
	}
	l.queue.fill(&s)
	return s
}

// Close refuses further records and writes what is queued until ctx is done. It returns
// how many records were left; those that a blocked write holds count as left. A write
// that is still blocked is interrupted where w has SetWriteDeadline; where it has not (a
// blocking standard output) its goroutine lasts until the write returns.
func (l *Lines) Close(ctx context.Context) (left int, err error) {
	l.queue.close()
	l.stopOnce.Do(func() { close(l.stop) })
	select {
	case <-l.done:
	case <-ctx.Done():
		l.giveUp()
		err = ctx.Err()
	}
	left, _ = l.queue.Len()
	if left > 0 && err == nil {
		err = errors.New(l.Status().Reason)
	}
	return left, err
}

func (l *Lines) giveUp() {
	l.limitOnce.Do(func() { close(l.limit) })
	d, ok := l.w.(interface{ SetWriteDeadline(time.Time) error })
	if ok && d.SetWriteDeadline(time.Now()) == nil {
		<-l.done
	}
}

func (l *Lines) run() {
	defer close(l.done)
	records, bytes := l.queue.batch(lineBatch, lineBatchBytes)
	for {
		items := l.queue.take(allKinds, records, bytes)
		if len(items) > 0 {
			if !l.deliver(items) {
				return
			}
			continue
		}
		select {
		case <-l.queue.wake:
		case <-l.stop:
			if n, _ := l.queue.Len(); n == 0 {
				return
			}
		}
	}
}

// deliver writes items whole, however often it takes, and reports whether to go on.
func (l *Lines) deliver(items []item) bool {
	var buf []byte
	for i := range items {
		buf = append(append(buf, items[i].Value...), '\n')
	}
	for {
		l.begin(time.Now())
		n, err := l.w.Write(buf)
		l.begin(time.Time{})
		buf = buf[max(0, min(n, len(buf))):]
		switch {
		case len(buf) == 0:
			l.queue.settle(items)
			l.set("", 0)
			return true
		case readerGone(err):
			l.abandon(items, err)
			return false
		}
		if err == nil {
			err = io.ErrShortWrite
		}
		l.set(fmt.Sprintf("cannot write: %v", err), 1)
		if !l.pause() {
			l.queue.giveBack(items)
			return false
		}
	}
}

// abandon drops everything: nobody reads any more.
func (l *Lines) abandon(items []item, err error) {
	l.queue.close()
	l.queue.lose(items, DropClosed)
	l.queue.lose(l.queue.take(allKinds, math.MaxInt, math.MaxInt), DropClosed)
	l.set(fmt.Sprintf("the reader of the output closed it: %v", err), 0)
}

// pause waits before a write is repeated and reports whether there is time for that.
func (l *Lines) pause() bool {
	t := time.NewTimer(lineRetry)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.limit:
		return false
	}
}

// begin notes since when a write lasts; the zero time: it has ended.
func (l *Lines) begin(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = at
}

func (l *Lines) set(reason string, retries uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retries += retries
	if reason != l.reason {
		l.reason, l.since = reason, time.Now()
	}
}

func readerGone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, fs.ErrClosed)
}

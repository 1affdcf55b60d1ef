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

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
)

// JSONLinesConfig bounds the buffer of a JSONLines sink. Zero values mean the defaults of buffer.Config.
type JSONLinesConfig struct {
	QueueRecords int
	QueueBytes   int
}

// JSONLines writes records as JSON lines from one goroutine, with one Write for each batch of whole
// lines. If the reader stops reading, the buffer drops records; Put never blocks. If the reader has
// closed its end (EPIPE), delivery ends. Status reports the end, and all later records are dropped
// and counted. The program must handle SIGPIPE. Otherwise it is killed when the reader of its
// standard output is gone (os/signal, "SIGPIPE").
type JSONLines struct {
	w                   io.Writer
	buffer              *buffer.Buffer
	stop                chan struct{} // closed when Close begins
	limit               chan struct{} // closed when Close runs out of time
	done                chan struct{} // closed when the goroutine has ended
	stopOnce, limitOnce sync.Once

	mu      sync.Mutex
	reason  string
	since   time.Time
	retries uint64
	writing time.Time // start of the current write; zero: no write is in progress
}

// Bounds of one batch of lines. A write of up to 4096 bytes (PIPE_BUF) to a pipe is atomic.
const (
	lineBatch      = 256
	lineBatchBytes = 64 << 10
	lineRetry      = time.Second // wait after an error other than a closed reader

	// lineBlocked is how long a write may last before the output counts as blocked.
	lineBlocked = 5 * time.Second
)

// reasonBlocked is Status.Reason while a write has lasted longer than lineBlocked.
const reasonBlocked = "nobody reads the output: a write to it is blocked"

// NewJSONLines starts a sink that writes to w. Close ends the sink and leaves w open.
func NewJSONLines(w io.Writer, cfg JSONLinesConfig) *JSONLines {
	l := &JSONLines{
		w: w, buffer: buffer.New(buffer.Config{Records: cfg.QueueRecords, Bytes: cfg.QueueBytes}), since: time.Now(),
		stop: make(chan struct{}), limit: make(chan struct{}), done: make(chan struct{}),
	}
	go l.run()
	return l
}

// Put buffers m to be written and reports whether it was accepted. m.Value then belongs to the sink.
func (l *JSONLines) Put(m buffer.Message) bool { return l.buffer.Put(m) }

// Status returns the state of the output. A blocked write counts as Down, like unreachable brokers,
// so callers need not give Close time for it.
func (l *JSONLines) Status() Status {
	l.mu.Lock()
	s := Status{OK: l.reason == "", Reason: l.reason, Since: l.since, Retries: l.retries}
	if !l.writing.IsZero() && time.Since(l.writing) >= lineBlocked {
		s.OK, s.Down, s.Reason, s.Since = false, true, reasonBlocked, l.writing
	}
	l.mu.Unlock()
	if s.Reason != "" {
		s.ErrorClass = classOutput
	}
	s.Stats = l.buffer.Stats()
	return s
}

// Close refuses further records and writes the buffered ones until ctx is done. It returns how many
// records were left, including those of a blocked write. If a write is still blocked then, it is
// interrupted if w has SetWriteDeadline. Otherwise (a blocking standard output) the sink's
// goroutine continues until the write returns.
func (l *JSONLines) Close(ctx context.Context) (left int, err error) {
	l.buffer.Seal()
	l.stopOnce.Do(func() { close(l.stop) })
	select {
	case <-l.done:
	case <-ctx.Done():
		l.interrupt()
		err = ctx.Err()
	}
	left = l.buffer.Unspooled()
	if left > 0 && err == nil {
		err = errors.New(l.Status().Reason)
	}
	return left, err
}

// interrupt ends a blocked write, if w supports that.
func (l *JSONLines) interrupt() {
	l.limitOnce.Do(func() { close(l.limit) })
	d, ok := l.w.(interface{ SetWriteDeadline(time.Time) error })
	if ok && d.SetWriteDeadline(time.Now()) == nil {
		<-l.done
	}
}

func (l *JSONLines) run() {
	defer close(l.done)
	records, bytes := l.buffer.BatchLimits(lineBatch, lineBatchBytes)
	for {
		items := l.buffer.Take(buffer.All, records, bytes)
		if len(items) > 0 {
			if !l.deliver(items) {
				return
			}
			continue
		}
		select {
		case <-l.buffer.Ready():
		case <-l.stop:
			if l.buffer.Unspooled() == 0 {
				return
			}
		}
	}
}

// deliver writes all items, with as many writes as needed. It reports whether the sink can
// continue.
func (l *JSONLines) deliver(items []buffer.Item) bool {
	var buf []byte
	for i := range items {
		buf = append(append(buf, items[i].Value...), '\n')
	}
	for {
		l.setWriting(time.Now())
		n, err := l.w.Write(buf)
		l.setWriting(time.Time{})
		buf = buf[max(0, min(n, len(buf))):]
		switch {
		case len(buf) == 0:
			l.buffer.Ack(items)
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
			l.buffer.Requeue(items)
			return false
		}
	}
}

// abandon drops all records, because nobody reads the output any more.
func (l *JSONLines) abandon(items []buffer.Item, err error) {
	l.buffer.Seal()
	l.buffer.Drop(items, buffer.DropClosed)
	l.buffer.Drop(l.buffer.Take(buffer.All, math.MaxInt, math.MaxInt), buffer.DropClosed)
	l.set(fmt.Sprintf("the reader of the output closed it: %v", err), 0)
}

// pause waits before a write is repeated. It returns false if Close has run out of time.
func (l *JSONLines) pause() bool {
	t := time.NewTimer(lineRetry)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.limit:
		return false
	}
}

// setWriting records when a write began. The zero time means that no write is in progress.
func (l *JSONLines) setWriting(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = at
}

func (l *JSONLines) set(reason string, retries uint64) {
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

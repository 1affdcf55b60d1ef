package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// logWriter writes the lines of the log from its own goroutine. So the tap never waits for a reader of standard error or for its
// disk. Lines that do not fit into the queue are dropped; the next line has their number.
type logWriter struct {
	to    io.Writer
	lines chan []byte
	done  chan struct{}

	mu      sync.Mutex
	closed  bool
	dropped int
}

const (
	logLines = 256         // maximum length of the queue
	logGrace = time.Second // maximum time to write the queue at the end
)

func newLogWriter(to io.Writer) *logWriter {
	w := &logWriter{to: to, lines: make(chan []byte, logLines), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for line := range w.lines {
			to.Write(line) //nolint:errcheck // there is nowhere to report the error
		}
	}()
	return w
}

// Write queues a line. It never blocks and never fails. It copies the line.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return len(line), nil
	}
	queued := append([]byte(nil), line...)
	if w.dropped > 0 {
		queued = fmt.Appendf(nil, "level=WARN msg=\"lines of this log were dropped because nobody read them\" lines=%d\n%s", w.dropped, line)
	}

	select {
	case w.lines <- queued:
		w.dropped = 0
	default:
		w.dropped++
	}
	return len(line), nil
}

// close waits until the queued lines are written, but at most logGrace.
func (w *logWriter) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.lines)
	}
	w.mu.Unlock()
	select {
	case <-w.done:
	case <-time.After(logGrace):
	}
}

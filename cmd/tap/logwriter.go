package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// logWriter hands lines of the log on from a goroutine of its own: where nobody reads
// standard error, or its disk is full, a line costs nothing but itself. Lines for which
// there is no room are dropped, and counted in the next one.
type logWriter struct {
	to    io.Writer
	lines chan []byte
	done  chan struct{}

	mu     sync.Mutex
	closed bool
	lost   int
}

const (
	logLines = 256         // that wait at most
	logGrace = time.Second // for what waits, at the end
)

func newLogWriter(to io.Writer) *logWriter {
	w := &logWriter{to: to, lines: make(chan []byte, logLines), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for line := range w.lines {
			to.Write(line) //nolint:errcheck // there is nowhere to tell it
		}
	}()
	return w
}

// Write takes a line. It never waits, and never fails.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return len(line), nil
	}
	kept := append([]byte(nil), line...)
	if w.lost > 0 {
		kept = fmt.Appendf(nil, "level=WARN msg=\"lines of this log were dropped: nobody read them\" lines=%d\n%s", w.lost, line)
	}
	select {
	case w.lines <- kept:
		w.lost = 0
	default:
		w.lost++
	}
	return len(line), nil
}

// close waits until what was taken is written, for logGrace at most.
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

package sink

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/eventually"
)

func line(dataset string, n int) buffer.Message {
	value := fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, strings.Repeat("x", n%3000))
	return buffer.Message{Dataset: dataset, ID: fmt.Sprint(n), Value: []byte(value)}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

type closer interface {
	Close(context.Context) (int, error)
	Status() Status
}

// closeIn closes a sink with a deadline and fails the test if Close does not return.
func closeIn(t *testing.T, d time.Duration, s closer) (left int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		left, err = s.Close(ctx)
	}()
	select {
	case <-done:
	case <-time.After(d + eventually.Limit):
		t.Fatalf("Close does not end with a deadline of %v: %+v", d, s.Status())
	}
	return left, err
}

func TestLines(t *testing.T) {
	r, w := pipe(t)
	l := NewJSONLines(w, JSONLinesConfig{})
	for n := range 500 {
		l.Put(line(buffer.Flow, n))
	}
	read := make(chan error, 1)
	go func() {
		in := bufio.NewScanner(r)
		for n := 0; in.Scan(); n++ {
			var v struct{ N int }
			if err := json.Unmarshal(in.Bytes(), &v); err != nil || v.N != n {
				read <- fmt.Errorf("line %d: %q: %w", n, in.Text(), err)
				return
			}
		}
		read <- in.Err()
	}()
	if left, err := closeIn(t, eventually.Limit, l); left != 0 || err != nil {
		t.Errorf("left %d, %v", left, err)
	}
	w.Close()
	if err := <-read; err != nil {
		t.Error(err)
	}
	if s := l.Status(); !s.OK || s.Delivered[buffer.Flow] != 500 || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
	if l.Put(line(buffer.Flow, 0)) || l.Status().Reasons[buffer.DropClosed] != 1 {
		t.Error("Put after Close")
	}
}

// TestLinesBlocked: while the reader does not read, Put does not block and the queue stays
// bounded. Once the reader reads, all records that were not dropped arrive.
func TestLinesBlocked(t *testing.T) {
	r, w := pipe(t)
	l := NewJSONLines(w, JSONLinesConfig{QueueRecords: 100})
	const flows, alerts = 3000, 20
	for n := range flows {
		l.Put(line(buffer.Flow, n))
	}
	for n := range alerts {
		if !l.Put(line(buffer.Finding, n)) {
			t.Error("an alert was refused")
		}
	}
	s := l.Status()
	if s.Queued > 100 || s.Dropped[buffer.Flow] == 0 || s.Dropped[buffer.Finding] != 0 {
		t.Errorf("%+v", s)
	}
	read := make(chan int, 1)
	go func() {
		n := 0
		for in := bufio.NewScanner(r); in.Scan(); n++ {
			if !json.Valid(in.Bytes()) {
				t.Errorf("not a whole line: %q", in.Text())
			}
		}
		read <- n
	}()
	closeIn(t, eventually.Limit, l)
	w.Close()
	s = l.Status()
	if got := <-read; got != flows+alerts-int(sum(s.Dropped)) || int(sum(s.Delivered)) != got || s.Delivered[buffer.Finding] != alerts {
		t.Errorf("read %d lines: %+v", got, s)
	}
}

func TestLinesCloseBlocked(t *testing.T) {
	_, w := pipe(t)
	l := NewJSONLines(w, JSONLinesConfig{})
	for n := range 1000 {
		l.Put(line(buffer.Posture, n))
	}
	left, err := closeIn(t, 100*time.Millisecond, l)
	if left == 0 || !errors.Is(err, context.DeadlineExceeded) || left+int(sum(l.Status().Delivered)) != 1000 {
		t.Errorf("left %d, %v, %+v", left, err, l.Status())
	}
	select {
	case <-l.done:
	default:
		t.Error("the goroutine did not end")
	}
	if again, _ := closeIn(t, 100*time.Millisecond, l); again != left {
		t.Errorf("second Close: left %d, first %d", again, left)
	}
}

func TestLinesReaderGone(t *testing.T) {
	r, w := pipe(t)
	l := NewJSONLines(w, JSONLinesConfig{})
	r.Close()
	l.Put(line(buffer.Finding, 1))
	eventually.True(t, "Status says so", func() bool { return !l.Status().OK }, l.Status)
	if l.Put(line(buffer.Finding, 2)) {
		t.Error("a record was accepted that nobody will read")
	}
	s := l.Status()
	if s.Dropped[buffer.Finding] != 2 || s.Reasons[buffer.DropClosed] != 2 || s.Queued != 0 || !strings.Contains(s.Reason, "reader") {
		t.Errorf("%+v", s)
	}
	if left, err := closeIn(t, eventually.Limit, l); left != 0 || err != nil {
		t.Errorf("left %d, %v", left, err)
	}
}

// halting writes a few bytes at a time. After the first bytes it fails until it is repaired.
type halting struct {
	strings.Builder
	mended atomic.Bool
}

func (h *halting) Write(p []byte) (int, error) {
	if h.Len() > 0 && !h.mended.Load() {
		return 0, errors.New("no space left")
	}
	n := min(len(p), 7)
	h.Builder.Write(p[:n])
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func TestLinesAfterAnError(t *testing.T) {
	h := &halting{}
	l := NewJSONLines(h, JSONLinesConfig{})
	l.Put(buffer.Message{Dataset: buffer.Tap, Value: []byte(`{"a":"123456"}`)})
	eventually.True(t, "the error shows", func() bool { return strings.Contains(l.Status().Reason, "cannot write: no space left") }, l.Status)
	h.mended.Store(true)
	if left, err := closeIn(t, eventually.Limit, l); left != 0 || err != nil {
		t.Errorf("left %d, %v", left, err)
	}
	if got := h.String(); got != "{\"a\":\"123456\"}\n" {
		t.Errorf("wrote %q", got)
	}
	if s := l.Status(); !s.OK || s.Retries == 0 {
		t.Errorf("%+v", s)
	}
}

// TestLinesBlockedIsTold: while a reader does not read, Status reports this. Put does not block.
func TestLinesBlockedIsTold(t *testing.T) {
	r, w := pipe(t)
	l := NewJSONLines(w, JSONLinesConfig{QueueRecords: 10})
	full := make([]byte, 4000)
	for n := range 200 { // more than the capacity of a pipe
		l.Put(buffer.Message{Dataset: buffer.Flow, ID: fmt.Sprint(n), Value: full})
		eventually.True(t, "a place in the queue, or a blocked write", func() bool { s := l.Status(); return s.Queued < 5 || isWriting(l) })
	}
	eventually.True(t, "a write that lasts", func() bool { return isWriting(l) })
	l.mu.Lock()
	l.writing = l.writing.Add(-lineBlocked)
	l.mu.Unlock()
	if s := l.Status(); s.OK || !s.Down || s.Reason != reasonBlocked || s.ErrorClass != classOutput {
		t.Errorf("%+v", s)
	}
	go io.Copy(io.Discard, r) // until the test is over
	eventually.True(t, "all is well again", func() bool { s := l.Status(); return s.OK && !s.Down && s.Queued == 0 })
	if _, err := closeIn(t, time.Minute, l); err != nil {
		t.Error(err)
	}
}

// isWriting reports whether a write is in progress.
func isWriting(l *JSONLines) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.writing.IsZero()
}

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
	"testing"
	"time"
)

// eventually waits for a condition, for a minute at most: the machine may be busy.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func line(dataset string, n int) Message {
	value := fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, strings.Repeat("x", n%3000))
	return Message{Dataset: dataset, ID: fmt.Sprint(n), Value: []byte(value)}
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

func closeIn(t *testing.T, d time.Duration, s interface {
	Close(context.Context) (int, error)
}) (left int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	left, err = s.Close(ctx)
	if took := time.Since(start); took > d+time.Second {
		t.Errorf("Close took %v with a deadline of %v", took, d)
	}
	return left, err
}

func TestLines(t *testing.T) {
	r, w := pipe(t)
	l := NewLines(w, LinesConfig{})
	for n := range 500 {
		l.Put(line(Flow, n))
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
	if left, err := closeIn(t, 5*time.Second, l); left != 0 || err != nil {
		t.Errorf("left %d, %v", left, err)
	}
	w.Close()
	if err := <-read; err != nil {
		t.Error(err)
	}
	if s := l.Status(); !s.OK || s.Delivered[Flow] != 500 || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
	if l.Put(line(Flow, 0)) || l.Status().Reasons[DropClosed] != 1 {
		t.Error("Put after Close")
	}
}

// TestLinesBlocked has a reader that does not read: Put goes on, the queue stays bounded,
// and what was not dropped arrives once the reader reads.
func TestLinesBlocked(t *testing.T) {
	r, w := pipe(t)
	l := NewLines(w, LinesConfig{QueueRecords: 100})
	const flows, alerts = 3000, 20
	for n := range flows {
		l.Put(line(Flow, n))
	}
	for n := range alerts {
		if !l.Put(line(Finding, n)) {
			t.Error("an alert was refused")
		}
	}
	s := l.Status()
	if s.Queued > 100 || s.Dropped[Flow] == 0 || s.Dropped[Finding] != 0 {
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
	closeIn(t, 5*time.Second, l)
	w.Close()
	s = l.Status()
	if got := <-read; got != flows+alerts-int(sum(s.Dropped)) || int(sum(s.Delivered)) != got || s.Delivered[Finding] != alerts {
		t.Errorf("read %d lines: %+v", got, s)
	}
}

func TestLinesCloseBlocked(t *testing.T) {
	_, w := pipe(t)
	l := NewLines(w, LinesConfig{})
	for n := range 1000 {
		l.Put(line(Posture, n))
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
	l := NewLines(w, LinesConfig{})
	r.Close()
	l.Put(line(Finding, 1))
	eventually(t, "Status says so", func() bool { return !l.Status().OK })
	if l.Put(line(Finding, 2)) {
		t.Error("a record was accepted that nobody will read")
	}
	s := l.Status()
	if s.Dropped[Finding] != 2 || s.Reasons[DropClosed] != 2 || s.Queued != 0 || !strings.Contains(s.Reason, "reader") {
		t.Errorf("%+v", s)
	}
	if left, err := closeIn(t, time.Second, l); left != 0 || err != nil {
		t.Errorf("left %d, %v", left, err)
	}
}

// halting writes a few bytes at a time and fails now and then.
type halting struct {
	strings.Builder
	calls int
}

func (h *halting) Write(p []byte) (int, error) {
	h.calls++
	n := min(len(p), 7)
	h.Builder.Write(p[:n])
	switch {
	case n == len(p):
		return n, nil
	case h.calls == 2:
		return n, errors.New("no space left")
	}
	return n, io.ErrShortWrite
}

func TestLinesAfterAnError(t *testing.T) {
	h := &halting{}
	l := NewLines(h, LinesConfig{})
	l.Put(Message{Dataset: Tap, Value: []byte(`{"a":"123456"}`)})
	eventually(t, "the error shows", func() bool { return strings.Contains(l.Status().Reason, "cannot write") })
	if left, err := closeIn(t, 5*time.Second, l); left != 0 || err != nil {
		t.Errorf("left %d, %v", left, err)
	}
	if got := h.String(); got != "{\"a\":\"123456\"}\n" {
		t.Errorf("wrote %q", got)
	}
	if s := l.Status(); !s.OK || s.Retries == 0 {
		t.Errorf("%+v", s)
	}
}

package attach

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Waiting times of Follow.
const (
	firstRetry = 100 * time.Millisecond
	maxRetry   = 2 * time.Second
	abandon    = 30 * time.Second // without a connection, once the tap should have ended
)

// maxLine bounds a line of a log, in bytes. Longer lines are shortened.
const maxLine = 1 << 20

// Follow reads a tap's log from its start, and calls emit for each line and for the tap's end, until the tap has ended or ctx ends.
// The last event has Ended, unless ctx ended. If the stream breaks, Follow continues where it broke. emit is called from the
// goroutine of Follow only; a slow emit delays the reading, and loses nothing as long as the node keeps the log.
func (c *Client) Follow(ctx context.Context, t Tap, emit func(Event)) {
	c.follow(ctx, t, nil, emit)
}

// follow is Follow. Once ending is closed, the tap is expected to end, and follow gives up if it is not reachable for long.
func (c *Client) follow(ctx context.Context, t Tap, ending <-chan struct{}, emit func(Event)) {
	f := &follower{Client: c, tap: t, emit: emit}
	wait, broken := firstRetry, time.Time{}
	for ctx.Err() == nil {
		progress, err := f.stream(ctx)
		if progress && !broken.IsZero() {
			broken = time.Time{}
			emit(Event{Tap: f.tap, Stream: &StreamChanged{}})
		}
		ended, statusErr := f.ended(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case ended != nil:
			f.line(f.rest)
			ended.specify(f.stopped)
			emit(Event{Tap: f.tap, Ended: ended})
			return
		}
		if err = errors.Join(err, statusErr); err == nil {
			wait = firstRetry // the log rotated, or the server ended the stream
		} else if broken.IsZero() {
			broken = time.Now()
			emit(Event{Tap: f.tap, Stream: &StreamChanged{Err: Explain(err, "get", "pods/log", t.Namespace)}})
		}
		if !broken.IsZero() && time.Since(broken) > abandon && closed(ending) {
			emit(Event{Tap: f.tap, Ended: &Ended{Reason: "the API server is not reachable, so it is not known how the tap ended" + f.tap.endsAlone() + ". Check it with `kubectl meshtls status` when the API server is back", Failed: true}})
			return
		}
		if err != nil && !unreachable(err) && !progress {
			emit(Event{Tap: f.tap, Ended: &Ended{Reason: fmt.Sprintf("its log cannot be read: %v", Explain(err, "get", "pods/log", t.Namespace)), Failed: true}})
			return
		}
		pause(ctx, wait)
		wait = min(2*wait, maxRetry)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false // also for nil
	}
}

// follower is the state of a call of Follow.
type follower struct {
	*Client
	tap     Tap
	emit    func(Event)
	cursor  cursor
	rest    []byte // the last line, if the stream ended within it
	stopped string // event.reason of the tap's last record, which says why it stopped
}

// stream reads the log until the stream ends. It reports whether the stream could be opened.
func (f *follower) stream(ctx context.Context) (opened bool, err error) {
	o := &corev1.PodLogOptions{Container: f.tap.Container, Follow: true, Timestamps: true}
	if !f.cursor.at.IsZero() {
		since := metav1.NewTime(f.cursor.at) // encoded with whole seconds, rounded down
		o.SinceTime = &since
	}
	f.cursor.resume()
	f.rest = nil
	in, err := f.Kube.CoreV1().Pods(f.tap.Namespace).GetLogs(f.tap.Pod, o).Stream(ctx)
	if err != nil {
		return false, err
	}
	defer in.Close()
	for r := bufio.NewReaderSize(in, 64<<10); ; {
		line, err := readLine(r)
		if errors.Is(err, io.EOF) {
			f.rest = line
			return true, nil
		}
		if err != nil { // the line is incomplete, and will be read again
			return true, err
		}
		f.line(line)
	}
}

// readLine reads a line, and returns it without its line feed. What exceeds maxLine is dropped.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if n := maxLine - len(line); n > 0 {
			line = append(line, part[:min(n, len(part))]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimRight(line, "\r\n"), err
		}
	}
}

func (f *follower) line(line []byte) {
	if len(line) == 0 {
		return
	}
	text, fresh := f.cursor.next(line)
	if !fresh || len(text) == 0 {
		return
	}
	r := parseLine(text)
	if r == nil {
		f.emit(Event{Tap: f.tap, Notice: string(text[:min(len(text), maxNotice)])})
		return
	}
	if r.Event.Dataset == record.DatasetTap && r.Event.Action == "stopped" {
		f.stopped = r.Event.Reason
	}
	if n := f.cursor.lost(r); n > 0 {
		f.emit(Event{Tap: f.tap, Lost: n})
	}
	f.emit(Event{Tap: f.tap, Record: r})
}

// ended returns how the tap ended, or nil if it runs. It updates f.tap.
func (f *follower) ended(ctx context.Context) (*Ended, error) {
	pod, err := f.Kube.CoreV1().Pods(f.tap.Namespace).Get(ctx, f.tap.Pod, metav1.GetOptions{})
	if gone(err) || err == nil && string(pod.UID) != f.tap.UID {
		return &Ended{Reason: podDeleted, Known: true}, nil
	}
	if err != nil {
		return nil, Explain(err, "get", "pods", f.tap.Namespace)
	}
	for _, t := range Taps(pod) {
		if t.same(&f.tap) {
			f.tap = t
		}
	}
	if f.tap.State != Terminated {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			return &Ended{Reason: "its pod has ended", Known: true}, nil
		}
		return nil, nil
	}
	end := f.tap.end()
	if pod.DeletionTimestamp != nil && !end.Failed {
		end.Reason = podDeleted
	}
	return end, nil
}

// Reasons of an end.
const (
	hasEnded   = "it ended" // and its last record says why
	podDeleted = "its pod was deleted"
	clientGone = "it was told to end, or its client is gone" // its standard input ended or was silent
)

// specify adds why a tap stopped by itself, by event.reason of its last record (schema/README.md). An end by its pod has its reason already: then
// the record's reason is the signal that the kubelet sent.
func (e *Ended) specify(reason string) {
	if !e.Known || e.Failed && reason != "memory" || !e.Failed && e.Reason != hasEnded {
		return
	}
	switch reason {
	case "for":
		e.Reason = "its time is up"
	case "no_reader":
		e.Reason = clientGone
	case "signal":
		e.Reason = "a signal ended it"
	case "memory":
		e.Failed, e.Reason = true, "it ended at once, because less than 64 MiB was left under the pod's memory limit"
	}
}

// end returns how a terminated tap ended.
func (t *Tap) end() *Ended {
	e := &Ended{Known: true, ExitCode: t.ExitCode, Reason: hasEnded}
	switch {
	case t.Reason == "OOMKilled":
		e.Failed, e.Reason = true, "the kernel killed it because the pod's memory limit was reached (OOMKilled)"
	case t.ExitCode == 137:
		e.Failed, e.Reason = true, "it was killed (status 137)"
	case t.ExitCode != 0:
		e.Failed, e.Reason = true, fmt.Sprintf("it failed with status %d", t.ExitCode)
	}
	if t.ExitCode != 0 && t.Message != "" {
		e.Reason += ": " + t.Message
	}
	return e
}

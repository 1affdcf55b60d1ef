package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// ANSI escapes (ECMA-48, and the private modes of xterm): the alternate screen, the cursor, and whether lines wrap at the last column.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	clearScreen = "\x1b[2J"
)

const (
	redrawEvery = time.Second
	leaveGrace  = time.Second // how long the end waits for a terminal that does not accept output
)

// errQuit is the cause of the end if the user pressed a key for it.
var errQuit = errors.New("q or Ctrl-C was pressed")

// screen shows the live view of `tap run` on a terminal.
type screen struct {
	tap     *tap
	in      *os.File    // nil: no keys are read
	state   *term.State // of in before
	out     *os.File
	log     *screenLog
	colored bool
	ends    time.Time // zero: no limit
	quit    context.CancelCauseFunc
	done    chan struct{} // closed when nothing is drawn any more, and the terminal is as before

	mu      sync.Mutex // guards entered
	entered bool       // in, state and out are set, and the terminal is not yet as before

	// Only draw uses the fields below.
	view          report.Live
	columns, rows int
	shown         []string
}

// showsScreen reports whether tap run shows the live view. output is the value of --output, and "" if it was not given: then the view is
// for a terminal that gets no records otherwise.
func showsScreen(output string, environ []string, out io.Writer) bool {
	return output == "screen" || output == "" && isTerminal(out) && !isDumb() && variables.Of(environ)["TAP_SINK"] != "kafka"
}

// newScreen returns the streams of a tap whose live view is shown, and the log that is kept for the end. Records go nowhere, unless they go to Kafka.
func newScreen(std streams) (streams, *screenLog) {
	log := &screenLog{}
	if isTerminal(std.err) {
		std.err = log
	} else {
		std.err = io.MultiWriter(std.err, log)
		log.written = true
	}
	std.out = io.Discard
	return std, log
}

// showScreen starts the live view s. It returns a context that q and Ctrl-C end.
func (t *tap) showScreen(ctx context.Context, s *screen, std streams, log *screenLog) context.Context {
	s.tap, s.out, s.log, s.colored, s.done = t, std.out.(*os.File), log, colored(std.out, "auto"), make(chan struct{})
	if t.For > 0 {
		s.ends = t.started.Add(t.For)
	}
	ctx, s.quit = context.WithCancelCause(ctx)
	if in, ok := std.in.(*os.File); ok && isTerminal(in) {
		if state, err := term.GetState(int(in.Fd())); err == nil {
			s.in, s.state = in, state
		}
	}
	s.mu.Lock()
	s.entered = true
	s.mu.Unlock()
	fmt.Fprint(s.out, enterScreen)
	if s.in != nil {
		term.MakeRaw(int(s.in.Fd())) //nolint:errcheck // then Ctrl-C is a signal, and q needs a line feed
		go readKeys(s.in, func() { s.quit(errQuit) }, func() {
			s.leave()
			os.Exit(exitError)
		})
	}
	go s.run(ctx)
	return ctx
}

// readKeys calls quit once q or Ctrl-C is pressed, and kill once Ctrl-C is pressed after that. In raw mode Ctrl-C is a byte and no signal.
func readKeys(in io.Reader, quit, kill func()) {
	for b, quits := make([]byte, 1), false; ; {
		if _, err := in.Read(b); err != nil {
			return
		}
		switch isCtrlC := b[0] == 3; {
		case quits && isCtrlC:
			kill()
			return
		case isCtrlC, b[0] == 'q', b[0] == 'Q':
			quits = true
			quit()
		}
	}
}

// leave makes the terminal usable as before. It waits only briefly for a terminal that accepts no output. It is safe for concurrent use:
// when it returns, the terminal is as before.
func (s *screen) leave() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.entered {
		return
	}
	s.entered = false
	written := make(chan struct{})
	go func() {
		fmt.Fprint(s.out, leaveScreen)
		close(written)
	}()
	select {
	case <-written:
	case <-time.After(leaveGrace):
	}
	if s.state != nil {
		term.Restore(int(s.in.Fd()), s.state) //nolint:errcheck // the terminal may be gone
	}
}

// run draws until ctx ends. Then, or after a panic, it leaves the screen: while the last records are delivered, Ctrl-C must be a signal again,
// which ends the process at once.
func (s *screen) run(ctx context.Context) {
	defer close(s.done)
	defer s.leave()
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	for {
		s.draw(time.Now())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// draw writes the lines that have changed.
func (s *screen) draw(now time.Time) {
	columns, rows, err := term.GetSize(int(s.out.Fd()))
	if err != nil || columns <= 0 || rows <= 0 {
		columns, rows = 80, 24
	}
	var b bytes.Buffer
	if columns != s.columns || rows != s.rows {
		s.columns, s.rows, s.shown = columns, rows, nil
		b.WriteString(clearScreen)
	}
	summary := s.tap.summary()
	lines := s.view.Lines(&summary, report.LiveOptions{
		Options: report.Options{Width: columns, Color: s.colored}, Height: rows,
		Head: s.head(now), Problems: s.tap.troubles(), Log: s.log.last(), Now: now,
	})
	for i, line := range lines {
		if i >= len(s.shown) || s.shown[i] != line {
			fmt.Fprintf(&b, "\x1b[%d;1H\x1b[2K%s", i+1, line)
		}
	}
	s.shown = lines
	s.out.Write(b.Bytes()) //nolint:errcheck // if the terminal is gone, the tap ends by SIGHUP
}

// head returns the first line.
func (s *screen) head(now time.Time) string {
	t := s.tap
	name := strings.Trim(t.PodNamespace+"/"+t.PodName, "/")
	out := fmt.Sprintf("tap run, %s, %v", cmp.Or(name, strings.Join(t.Interfaces, ", ")), now.Sub(t.started).Round(time.Second))
	if !s.ends.IsZero() {
		out += fmt.Sprintf(", %v left", max(s.ends.Sub(now), 0).Round(time.Second))
	}
	return out + " (q quits)"
}

// summary returns the totals up to now.
func (t *tap) summary() (s finding.Summary) {
	t.pipeline.Do(func(p *pipeline.Locked) { s = p.Engine.Summary() })
	return s
}

// troubles returns what the view shows as problems.
func (t *tap) troubles() []string {
	if reason := t.idling.Load(); reason != nil {
		return []string{"not capturing, as configured: " + *reason}
	}
	return t.problems()
}

// close leaves the screen, and prints the report, the log and why the tap has ended. ctx is the context of showScreen.
func (s *screen) close(ctx context.Context, std streams) {
	reason := s.reason(ctx)
	s.quit(nil)
	select {
	case <-s.done:
	case <-time.After(leaveGrace):
	}
	s.leave()
	report.Text(std.out, s.tap.summary(), report.Options{Width: width(std.out), Color: s.colored}) //nolint:errcheck // the same
	s.log.print(std.err)
	fmt.Fprintf(std.err, "tap run: ended after %v: %s\n", time.Since(s.tap.started).Round(time.Second), reason)
}

// reason returns why the tap has ended.
func (s *screen) reason(ctx context.Context) string {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return "it failed"
	case errors.Is(cause, errTimeUp):
		return "the time is up"
	case errors.Is(cause, errNoReader):
		return "the terminal is gone"
	case errors.Is(cause, errQuit):
		return cause.Error()
	}
	return "it was interrupted"
}

// maxScreenLog bounds the lines of the log that are kept for the end.
const maxScreenLog = 200

// screenLog keeps the last lines of the log while the screen is shown. It is safe for concurrent use.
type screenLog struct {
	written bool // the lines are written elsewhere too

	mu      sync.Mutex
	lines   []string
	dropped int
}

// Write adds lines.
func (l *screenLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(string(b)) {
		l.lines = append(l.lines, strings.TrimSuffix(line, "\n"))
	}
	if more := len(l.lines) - maxScreenLog; more > 0 {
		l.lines, l.dropped = append([]string(nil), l.lines[more:]...), l.dropped+more
	}
	return len(b), nil
}

// last returns the last line.
func (l *screenLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 0 {
		return ""
	}
	return l.lines[len(l.lines)-1]
}

// print writes all lines, unless they were written elsewhere.
func (l *screenLog) print(out io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written {
		return
	}
	if l.dropped > 0 {
		fmt.Fprintf(out, "tap run: %d earlier lines of the log are left out\n", l.dropped)
	}
	for _, line := range l.lines {
		fmt.Fprintln(out, line)
	}
}

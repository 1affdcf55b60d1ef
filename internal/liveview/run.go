package liveview

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/term"
)

// Options are the streams of the terminal. Out must be set; without In there is no screen, only lines.
type Options struct {
	In  io.Reader
	Out io.Writer
	Env []string // as os.Environ; TERM and NO_COLOR are read

	Wide bool // Summary leaves no column out and shortens no name, however wide the terminal is

	clock func() time.Time // for tests; nil: time.Now
}

// framesPerSecond is how often the screen is redrawn at most, after key presses.
const framesPerSecond = 10

// Run shows states until the user quits, ctx ends or a state has Ended. On a terminal it uses the alternate screen. Elsewhere, and if
// TERM is dumb, it writes a line for each change. title names the tapped pods. Run reports whether the user quit.
func Run(ctx context.Context, title string, source Source, o Options) (quit bool, err error) {
	if o.clock == nil {
		o.clock = time.Now
	}
	if !o.fullScreen() {
		return false, follow(ctx, source, o)
	}
	m := &model{source: source, title: title, clock: o.clock, color: o.Color()}
	_, err = tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithEnvironment(o.Env),
		tea.WithoutSignalHandler(), tea.WithFPS(framesPerSecond)).Run()
	if errors.Is(err, tea.ErrProgramKilled) && !errors.Is(err, tea.ErrProgramPanic) && ctx.Err() != nil {
		err = nil
	}
	return m.quit, err
}

// fullScreen reports whether the output is a terminal that can be redrawn.
func (o *Options) fullScreen() bool {
	in, ok := o.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false
	}
	return o.terminal() != nil && !o.dumb()
}

// terminal returns the output if it is a terminal.
func (o *Options) terminal() *os.File {
	if f, ok := o.Out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

func (o *Options) dumb() bool {
	t, set := o.variable("TERM")
	return t == "dumb" || !set && os.PathSeparator == '/'
}

// Color reports whether the output may have colors: it is a terminal, and NO_COLOR is not set.
func (o *Options) Color() bool {
	no, _ := o.variable("NO_COLOR")
	return o.terminal() != nil && !o.dumb() && no == ""
}

// Width returns the columns of the terminal, or 0.
func (o *Options) Width() int {
	if f := o.terminal(); f != nil {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			return w
		}
	}
	return 0
}

func (o *Options) variable(name string) (value string, set bool) {
	for _, v := range o.Env {
		if k, rest, ok := strings.Cut(v, "="); ok && k == name {
			value, set = rest, true
		}
	}
	return value, set
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/liveview"
	hostnames "github.com/meshtls-tap/meshtls-tap/internal/names"
)

// watch attaches the taps of a plan and shows what they report until all have ended: on a terminal as a screen, elsewhere as lines, and then the
// summary, which is as wide as it needs to be if wide is set. Ctrl-C (ctx), or q on the screen, ends the taps.
func (o *options) watch(ctx context.Context, c *attach.Client, plan *attach.Plan, g *gathering, wide bool) error {
	session, stop := context.WithCancel(ctx)
	defer stop()
	over := make(chan struct{})
	go func() {
		defer close(over)
		c.Run(session, plan, func(e attach.Event) { g.add(&e) })
		g.end(session.Err() != nil)
	}()
	terminal := liveview.Options{In: o.In, Out: o.Out, Env: os.Environ(), Wide: wide}
	_, err := liveview.Run(ctx, plan.Title(), g.state, terminal)
	if g.state().Ended == "" {
		fmt.Fprintln(o.ErrOut, "Ending the taps that this command attached.")
	}
	stop()
	<-over
	return errors.Join(err, liveview.Summary(o.Out, g.state(), "", terminal), o.printWarnings(g))
}

// stream is watch with the records as JSON lines, and on standard error what is not a record.
func (o *options) stream(ctx context.Context, c *attach.Client, plan *attach.Plan, g *gathering) error {
	var failed error
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c.Run(ctx, plan, func(e attach.Event) {
		g.add(&e)
		switch {
		case e.Record != nil:
			if _, err := fmt.Fprintf(o.Out, "%s\n", hostnames.EscapeJSON(e.Record.Line)); err != nil && failed == nil {
				failed = err
				stop() // nobody reads
			}
		case e.Starts != "":
			fmt.Fprintf(o.ErrOut, "%s: the tap %s waits: %s\n", e.Tap.String(), e.Tap.Container, e.Starts)
		case e.Ended != nil:
			fmt.Fprintf(o.ErrOut, "%s: the tap %s: %s\n", e.Tap.String(), e.Tap.Container, e.Ended.Reason)
		case e.Stream != nil && e.Stream.Err != nil:
			fmt.Fprintf(o.ErrOut, "%s: %v\n", e.Tap.String(), e.Stream.Err)
		case e.Stream != nil:
			fmt.Fprintf(o.ErrOut, "%s: the log can be read again\n", e.Tap.String())
		}
	})
	return errors.Join(failed, o.printWarnings(g))
}

// printWarnings prints warnings of the taps, and how many of their records are missing.
func (o *options) printWarnings(g *gathering) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.taps {
		if t := &g.taps[i]; t.missing > 0 {
			fmt.Fprintf(o.ErrOut, "%s: the log of its tap lacks %s\n", t.view.Pod, plural(t.missing, "record"))
		}
	}
	for _, w := range g.warnings {
		fmt.Fprintln(o.ErrOut, w)
	}
	return nil
}

// maxWarnings bounds the different warnings that are kept.
const maxWarnings = 20

// maxWarning bounds a warning, in bytes.
const maxWarning = 1 << 10

// warn stores a line of a tap's log if it is a warning or an error.
func (g *gathering) warn(e *attach.Event) {
	if !strings.Contains(e.Notice, "level=WARN") && !strings.Contains(e.Notice, "level=ERROR") {
		return
	}
	if strings.Contains(e.Notice, "the memory that is left under the pod's limit") { // the plan has checked it, or has said that it could not
		return
	}
	_, text, _ := strings.Cut(e.Notice, "level=") // without the time, so that equal warnings are equal
	text = fmt.Sprintf("%s: the tap reports: %q", e.Tap.String(), text[:min(len(text), maxWarning)])
	if len(g.warnings) < maxWarnings && !slices.Contains(g.warnings, text) {
		g.warnings = append(g.warnings, text)
	}
}

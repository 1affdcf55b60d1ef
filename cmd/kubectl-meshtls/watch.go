package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// watch attaches the taps of a plan, and shows what they report until all have ended. Ctrl-C (ctx) ends them.
func (o *options) watch(ctx context.Context, c *attach.Client, plan *attach.Plan, g *gathering, asJSON bool) {
	c.Run(ctx, plan, func(e attach.Event) {
		g.add(&e)
		if asJSON {
			o.printRecord(&e)
		} else {
			o.printLine(&e)
		}
	})
}

// printRecord prints a record as JSON, and what is not a record on standard error.
func (o *options) printRecord(e *attach.Event) {
	if e.Record != nil {
		fmt.Fprintf(o.Out, "%s\n", e.Record.Line)
		return
	}
	o.printNotice(e)
}

// printLine prints a finding or an edge in a line.
func (o *options) printLine(e *attach.Event) {
	if e.Record == nil {
		o.printNotice(e)
		return
	}
	switch r := &e.Record.Record; r.Event.Dataset {
	case record.DatasetFinding, record.DatasetPosture:
		fmt.Fprintf(o.Out, "%s  %s %s: %s\n", timeText(r.Timestamp.Std()), strings.TrimPrefix(r.Event.Dataset, "meshtls."), r.Event.Action, r.Message)
	}
}

// printNotice prints on standard error what a user should know at once: how a tap ended, a broken stream, warnings in its log.
func (o *options) printNotice(e *attach.Event) {
	switch {
	case e.Ended != nil:
		fmt.Fprintf(o.ErrOut, "%s: the tap %s: %s\n", e.Tap.String(), e.Tap.Container, e.Ended.Reason)
	case e.Lost > 0:
		fmt.Fprintf(o.ErrOut, "%s: %s missing in the log of the tap\n", e.Tap.String(), counted(int(e.Lost), "record"))
	case e.Stream != nil && e.Stream.Err != nil:
		fmt.Fprintf(o.ErrOut, "%s: %v\n", e.Tap.String(), e.Stream.Err)
	case e.Stream != nil:
		fmt.Fprintf(o.ErrOut, "%s: the log is read again\n", e.Tap.String())
	case strings.Contains(e.Notice, "level=WARN"), strings.Contains(e.Notice, "level=ERROR"):
		fmt.Fprintf(o.ErrOut, "%s: %q\n", e.Tap.String(), e.Notice)
	}
}

// concludeTap prints the summary and returns the result of the command.
func (o *options) concludeTap(g *gathering, gate *failOn) error {
	t := g.take()
	fmt.Fprintln(o.ErrOut, t.answer)
	for i := range t.unknown {
		fmt.Fprintln(o.ErrOut, "Not known: "+t.unknown[i].Text)
	}
	if err := gate.result(t.edges, t.findings); err != nil {
		return err
	}
	if n, reason := t.failed(); n > 0 {
		return errors.New(counted(n, "tap") + " failed: " + reason)
	}
	return nil
}

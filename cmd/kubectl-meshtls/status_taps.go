package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
)

func newStatusCommand(o *options) *cobra.Command {
	var s selection
	var format output
	c := &cobra.Command{
		Use:   "status [POD|TYPE/NAME]... [-l SELECTOR] [-n NAMESPACE|-A]",
		Short: "Show which taps run, until when, and what they lost",
		Long: `Show which taps run in which pods, when they end and what they lost, and which taps have ended.
Without arguments the command reads all pods of the namespace.

The command says that no tap runs only about pods that it could read. It lists what it could not
read, and the exit status is then 1. A container that has not started, for example because its image
cannot be pulled, captures nothing and does not count as a tap that runs. Its state has the reason.`,
		Example: `  # After an incident: does any tap still run in the cluster?
  kubectl meshtls status -A

  # The taps of one namespace, for a program.
  kubectl meshtls status -n shop -o json`,
		RunE: func(c *cobra.Command, args []string) error {
			s.names = args
			if err := format.check("table", "wide", "json", "yaml"); err != nil {
				return err
			}
			return o.status(c.Context(), &s, format)
		},
		ValidArgsFunction: o.completeTargets,
	}
	s.addFlags(c)
	format.addFlag(c, "table", "wide", "json", "yaml")
	return c
}

// tapStatus is a tap with its losses.
type tapStatus struct {
	attach.Tap
	Losses *attach.Losses `json:"losses,omitempty"`
	// LossesUnknown is the reason for which Losses is nil.
	LossesUnknown string `json:"losses_unknown,omitempty"`
}

// status prints the taps of the selected pods.
func (o *options) status(ctx context.Context, s *selection, format output) error {
	client, config, err := o.client()
	if err != nil {
		return err
	}
	found, err := o.survey(ctx, client, s)
	if err != nil {
		return err
	}
	taps := withLosses(ctx, &attach.Client{Kube: client, Config: config}, found.taps)
	if format == "json" || format == "yaml" {
		err = printObject(o.Out, format, map[string]any{
			"taps": taps, "pods_read": found.pods, "namespaces_read": found.namespaces, "not_known": found.unproven,
		})
	} else {
		err = printStatus(o.Out, taps, found, format == "wide", time.Now())
	}
	if err == nil && len(found.unproven) > 0 {
		return errUnproven
	}
	return err
}

// withLosses reads the losses of taps, of five at a time.
func withLosses(ctx context.Context, c *attach.Client, taps []attach.Tap) []tapStatus {
	out := make([]tapStatus, len(taps))
	slots := make(chan struct{}, 5)
	var wg sync.WaitGroup
	for i := range taps {
		x := &out[i]
		x.Tap = taps[i]
		switch {
		case x.State == attach.Waiting:
			x.LossesUnknown = "it does not run"
		case x.Program != attach.ProgramRun:
			x.LossesUnknown = "it runs tap " + x.Program
		case !x.HasLog:
			x.LossesUnknown = "its records are not in its log"
		default:
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				l, err := c.Losses(ctx, &x.Tap)
				switch {
				case err != nil:
					x.LossesUnknown = "its log could not be read"
				case l == nil:
					x.LossesUnknown = "no report in its log"
				}
				x.Losses = l
			})
		}
	}
	wg.Wait()
	return out
}

// printStatus prints a table of taps and what it proves.
func printStatus(w io.Writer, taps []tapStatus, found *survey, wide bool, now time.Time) error {
	var b strings.Builder
	var c counts
	if len(taps) > 0 {
		t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
		fmt.Fprint(t, "POD\tTAP\tSTATE\tENDS\tPACKETS LOST")
		if wide {
			fmt.Fprint(t, "\tOLDER CONNECTIONS\tSTARTED\tIMAGE")
		}
		fmt.Fprintln(t)
		for i := range taps {
			x := &taps[i]
			c.add(&x.Tap)
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s", x.String(), containerText(x), stateText(x, now), endText(x, now), lostText(x))
			if wide {
				fmt.Fprintf(t, "\t%s\t%s\t%s", olderText(x), timeText(x.Started), clean(x.Image))
			}
			fmt.Fprintln(t)
		}
		t.Flush()
		b.WriteString("\n")
	}
	b.WriteString(verdictText(&c, found) + "\n")
	for _, line := range found.unproven {
		b.WriteString("Not known: " + line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// counts are the taps that run, and those that wait.
type counts struct {
	attached, sidecars int    // that run
	waiting            [2]int // attached taps and sidecars that do not run, but may still start
	reasons            [2][]string
}

// add counts a tap.
func (c *counts) add(t *attach.Tap) {
	switch kind := 1; {
	case t.State == attach.Running && t.Ephemeral:
		c.attached++
	case t.State == attach.Running:
		c.sidecars++
	case t.State == attach.Waiting:
		if t.Ephemeral {
			kind = 0
		}
		c.waiting[kind]++
		if reason := cmp.Or(t.Reason, "no state yet"); !slices.Contains(c.reasons[kind], reason) {
			c.reasons[kind] = append(c.reasons[kind], reason)
		}
	}
}

// waitingText returns the taps that wait, and why, or "".
func (c *counts) waitingText() string {
	var parts []string
	for kind, noun := range [...]string{"attached tap", "sidecar"} {
		if n := c.waiting[kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s (%s)", plural(n, noun), clean(some(c.reasons[kind]))))
		}
	}
	if parts == nil {
		return ""
	}
	return " " + strings.Join(parts, " and ") + choose(c.waiting[0]+c.waiting[1], " does not run, captures nothing", " do not run, capture nothing") + " and may still start."
}

// verdictText returns what a survey proves.
func verdictText(c *counts, f *survey) string {
	attached, sidecars := c.attached, c.sidecars
	var text string
	switch {
	case f.pods == 0:
		return f.scope()
	case attached+sidecars == 0:
		text = "No tap runs in " + choose(f.pods, "it.", "them.")
	case attached == 0:
		text = fmt.Sprintf("No attached tap runs there, but %s of the webhook %s.", plural(sidecars, "sidecar"), runs(sidecars))
	case sidecars == 0:
		text = fmt.Sprintf("%s %s.", plural(attached, "attached tap"), runs(attached))
	default:
		text = fmt.Sprintf("%s and %s of the webhook run.", plural(attached, "attached tap"), plural(sidecars, "sidecar"))
	}
	if attached > 0 {
		text += " To end attached taps: kubectl meshtls stop."
	}
	return f.scope() + " " + text + c.waitingText()
}

func runs(n int) string { return choose(n, "runs", "run") }

func containerText(x *tapStatus) string {
	kind := "sidecar"
	if x.Ephemeral {
		kind = "attached"
	}
	if x.Program != attach.ProgramRun {
		kind += ", " + x.Program
	}
	return fmt.Sprintf("%s (%s)", clean(x.Container), kind)
}

func stateText(x *tapStatus, now time.Time) string {
	switch x.State {
	case attach.Running:
		return "running for " + span(now.Sub(x.Started))
	case attach.Terminated:
		text := "ended " + span(now.Sub(x.Ended)) + " ago"
		if x.ExitCode != 0 {
			text += fmt.Sprintf(", status %d", x.ExitCode)
			if x.Reason != "" && x.Reason != "Error" {
				text += " " + clean(x.Reason)
			}
		}
		return text
	case attach.Waiting:
		return strings.TrimSuffix("waiting: "+clean(x.Reason), ": ")
	}
	return string(x.State)
}

func endText(x *tapStatus, now time.Time) string {
	switch {
	case x.State == attach.Terminated:
		return "-"
	case x.State == attach.Waiting:
		return "not running"
	case x.Ends.IsZero():
		return "with the pod"
	case x.Over(now):
		return "over for " + span(now.Sub(x.Ends))
	}
	return "in " + span(x.Ends.Sub(now))
}

func lostText(x *tapStatus) string {
	if x.Losses == nil {
		return "not known: " + x.LossesUnknown
	}
	text := fmt.Sprintf("%d at %s", x.Losses.Dropped, timeText(x.Losses.At.Std()))
	if x.Losses.Degraded != "" {
		text += ", degraded: " + clean(x.Losses.Degraded)
	}
	return text
}

func olderText(x *tapStatus) string {
	if x.Losses == nil {
		return "not known"
	}
	return fmt.Sprint(x.Losses.Older)
}

// timeText formats a time of this day, in UTC as in logs.
func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.TimeOnly)
}

// span formats a duration for people: whole seconds below 10 minutes, else whole minutes.
func span(d time.Duration) string {
	switch d = max(0, d); {
	case d < 10*time.Minute:
		text := d.Round(time.Second).String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		return text
	case d < 10*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dh", int(d.Hours()))
}

package main

import (
	"context"
	"fmt"
	"io"
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
read, and the exit status is then 1.`,
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
			x.LossesUnknown = "not started"
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
	var attached, sidecars, waiting int
	if len(taps) > 0 {
		t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
		fmt.Fprint(t, "POD\tTAP\tSTATE\tENDS\tPACKETS LOST")
		if wide {
			fmt.Fprint(t, "\tOLDER CONNECTIONS\tSTARTED\tIMAGE")
		}
		fmt.Fprintln(t)
		for i := range taps {
			x := &taps[i]
			if x.State != attach.Terminated {
				if x.Ephemeral {
					attached++
					if x.State == attach.Waiting {
						waiting++
					}
				} else {
					sidecars++
				}
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s", x.String(), containerText(x), stateText(x, now), endText(x, now), lostText(x))
			if wide {
				fmt.Fprintf(t, "\t%s\t%s\t%s", olderText(x), timeText(x.Started), x.Image)
			}
			fmt.Fprintln(t)
		}
		t.Flush()
		b.WriteString("\n")
	}
	b.WriteString(verdictText(attached, sidecars, found))
	if waiting > 0 {
		b.WriteString(" " + choose(waiting, "1 attached tap has", fmt.Sprintf("%d attached taps have", waiting)) + " not started yet.")
	}
	b.WriteString("\n")
	for _, line := range found.unproven {
		b.WriteString("Not known: " + line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// verdictText returns what a survey proves.
func verdictText(attached, sidecars int, f *survey) string {
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
	return f.scope() + " " + text
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
	return fmt.Sprintf("%s (%s)", x.Container, kind)
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
				text += " " + x.Reason
			}
		}
		return text
	case attach.Waiting:
		return strings.TrimSuffix("waiting: "+x.Reason, ": ")
	}
	return string(x.State)
}

func endText(x *tapStatus, now time.Time) string {
	switch {
	case x.State == attach.Terminated:
		return "-"
	case x.State == attach.Waiting:
		return "not started"
	case x.Ends.IsZero():
		return "with the pod"
	}
	return "in " + span(x.Ends.Sub(now))
}

func lostText(x *tapStatus) string {
	if x.Losses == nil {
		return "not known: " + x.LossesUnknown
	}
	text := fmt.Sprintf("%d at %s", x.Losses.Dropped, timeText(x.Losses.At.Std()))
	if x.Losses.Degraded != "" {
		text += ", degraded: " + x.Losses.Degraded
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

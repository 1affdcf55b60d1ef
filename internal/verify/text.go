package verify

import (
	"fmt"
	"io"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
)

// Write writes the answer in one line, then a line with the evidence of each end, the request and the notes.
func (a *Answer) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s to %s%s: %s\n", a.From, a.To, ports(a.Ports), a.Text)
	for _, e := range [...]struct {
		side string
		*End
	}{{"client", a.Client}, {"server", a.Server}} {
		if e.End == nil {
			continue
		}
		fmt.Fprintf(&b, "  %s   %s: %s\n", e.side, report.CleanMessage(e.Pod), e.Text)
		if len(e.Why) > 0 {
			fmt.Fprintf(&b, "           because %s\n", strings.Join(e.Why, "; "))
		}
	}
	if r := a.Request; r != nil {
		what := report.CleanMessage(r.Response)
		switch {
		case r.Error != "":
			what = report.CleanMessage(r.Error)
		case what == "":
			what = "sent"
		}
		fmt.Fprintf(&b, "  request  to %s: %s after %.0f ms\n", report.CleanMessage(r.Target), what, 1000*r.Seconds)
	}
	for _, n := range a.Notes {
		fmt.Fprintf(&b, "  note     %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func ports(list []uint16) string {
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf(" port %d", list[0])
}

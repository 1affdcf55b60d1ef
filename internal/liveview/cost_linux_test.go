package liveview

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"
)

// BenchmarkLive measures the view of 1,000 edges on a screen of 200 columns and 50 lines, of which 200 change each second, for some
// seconds of real time. It reports the processor time as a share of one core ("%core"; the aim is less than 2), and the same for a view
// in which nothing changes ("idle%core").
func BenchmarkLive(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(shareOf(b, 0), "idle%core")
		b.ReportMetric(shareOf(b, 200), "%core")
	}
}

// measured is how long a view is measured.
const measured = 5 * time.Second

// shareOf returns the processor time of the view as percent of one core, if so many edges change each second.
func shareOf(tb testing.TB, changes int) float64 {
	tb.Helper()
	all := many(1000)
	at := 0
	source := func() State {
		s := all
		for range changes {
			e := &s.Edges[at%len(s.Edges)]
			e.Connections.MTLS++
			e.Last = time.Now()
			if at%10 == 0 { // another verdict, so that the row moves
				e.Connections.Plaintext, e.Verdict = 1, "plaintext"
			}
			at++
		}
		return s
	}
	in, keys, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	defer in.Close()
	defer keys.Close()
	m := &model{source: source, title: "benchmark", clock: time.Now, color: true}
	ctx, cancel := context.WithTimeout(context.Background(), measured)
	defer cancel()
	before, start := processor(tb), time.Now()
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(io.Discard), tea.WithWindowSize(200, 50),
		tea.WithEnvironment([]string{"TERM=xterm-256color"}), tea.WithoutSignalHandler(), tea.WithFPS(framesPerSecond))
	p.Run() // it ends with ctx
	if m.width != 200 || at < 3*changes {
		tb.Fatalf("the view was not drawn: width %d, %d changes", m.width, at)
	}
	return 100 * float64(processor(tb)-before) / float64(time.Since(start))
}

// processor returns the processor time of the process.
func processor(tb testing.TB) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

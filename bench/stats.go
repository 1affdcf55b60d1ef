//go:build linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// sample has one figure for each round.
type sample []float64

func (s sample) median() float64 {
	if len(s) == 0 {
		return 0
	}
	x := slices.Sorted(slices.Values(s))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

func (s sample) least() float64 { return slices.Min(append(sample{}, s...)) }
func (s sample) most() float64  { return slices.Max(append(sample{}, s...)) }

// spread returns "median (least..most)". format formats each of the three numbers.
func (s sample) spread(format string) string {
	if len(s) == 0 {
		return "-"
	}
	return fmt.Sprintf(format+" ("+format+".."+format+")", s.median(), s.least(), s.most())
}

// over returns the quotients of s and the sample other, round by round. It leaves out rounds in which the value of
// other is 0.
func (s sample) over(other sample) sample {
	out := make(sample, 0, len(s))
	for i := range min(len(s), len(other)) {
		if other[i] != 0 {
			out = append(out, s[i]/other[i])
		}
	}
	return out
}

// result is one line of the table that is printed at the end.
type result struct {
	what     string
	measured string
	goal     string
	met      bool
	noGoal   bool // the result has no goal: the fields goal and met are not used
}

// atMost returns a result whose median should be at most limit.
func atMost(what string, s sample, format string, limit float64) result {
	return result{what: what, measured: s.spread(format), goal: fmt.Sprintf("at most "+format, limit), met: len(s) > 0 && s.median() <= limit}
}

// just returns a result without a goal.
func just(what, measured string) result {
	return result{what: what, measured: measured, noGoal: true}
}

// table prints the results to standard output.
func table(results []result) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tMEDIAN (LEAST..MOST)\tGOAL\t")
	for _, r := range results {
		verdict := "missed"
		switch {
		case r.noGoal:
			verdict = ""
		case r.met:
			verdict = "met"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.what, r.measured, cmp.Or(r.goal, "-"), verdict)
	}
	w.Flush()
}

// columns prints lines as a table to standard error, where all details are printed.
func columns(lines ...[]string) {
	w := tabwriter.NewWriter(os.Stderr, 0, 0, 2, ' ', 0)
	for _, l := range lines {
		fmt.Fprintln(w, "  "+strings.Join(l, "\t"))
	}
	w.Flush()
}

const mega = 1 << 20

// mb returns n bytes in MiB.
func mb(n int64) float64 { return float64(n) / mega }

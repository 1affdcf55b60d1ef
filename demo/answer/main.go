// Command answer holds what the demo's taps have published against what the demo did, and
// prints what they said. It judges nothing itself. Exit status 1: a record is missing or
// says something else.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// walk is what the demo did and what came of it.
type walk struct {
	out      string               // the folder of the records
	began    map[string]time.Time // when curl began, by namespace
	broker   string               // of the taps' records, empty if none
	flows    []*record            // published by the taps
	findings []*record
	wrong    []string // what was expected and what came
}

func main() {
	out := flag.String("out", "", "the folder with the records")
	began := flag.String("began", "", "NAMESPACE=MICROSECONDS,... since the epoch: when curl began")
	broker := flag.String("broker", "", "address and port of the broker, if records went through one")
	flag.Parse()
	w, err := newWalk(*out, *began, *broker)
	if err != nil {
		fmt.Fprintln(os.Stderr, "answer:", err)
		os.Exit(1)
	}
	w.check()
	w.print()
	if len(w.wrong) > 0 {
		fmt.Printf("\nNot as expected\n\n  %s\n", strings.Join(w.wrong, "\n  "))
		os.Exit(1)
	}
}

// newWalk reads the records: the taps' own output, or what was consumed from the topics.
func newWalk(out, began, broker string) (*walk, error) {
	w := &walk{out: out, began: map[string]time.Time{}, broker: broker}
	for item := range strings.SplitSeq(began, ",") {
		namespace, at, _ := strings.Cut(item, "=")
		us, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("-began=%s: expected NAMESPACE=MICROSECONDS", item)
		}
		w.began[namespace] = time.UnixMicro(us)
	}
	pattern := out + "/tap-*.jsonl"
	if broker != "" {
		pattern = out + "/topic-*.jsonl"
	}
	var err error
	if w.flows, err = load(pattern, flows); err != nil {
		return nil, err
	}
	w.findings, err = load(pattern, findings)
	w.findings = slices.DeleteFunc(w.findings, func(r *record) bool { return r.Meshtls.Finding.State != "open" }) // those that say: still so, or over
	return w, err
}

// expect notes what came in place of what was expected.
func (w *walk) expect(what string, want, came any) {
	if want != came {
		w.wrong = append(w.wrong, fmt.Sprintf("%s: expected %v, came %v", what, want, came))
	}
}

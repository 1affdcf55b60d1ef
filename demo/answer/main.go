// Command answer prints the records that the demo's taps published, and compares them with what the demo did. It judges
// nothing itself. Exit status 1 means that a record is missing or differs.
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

// walk is the input of the demo and its results.
type walk struct {
	out      string               // folder with the records
	began    map[string]time.Time // when curl was started, by namespace
	broker   string               // address of the broker for the taps' records, or ""
	flows    []*record            // flow records that the taps published
	findings []*record
	wrong    []string // differences between expected and actual values
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

// newWalk reads the records: from the taps' output, or from the topics if there is a broker.
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
	w.findings = slices.DeleteFunc(w.findings, func(r *record) bool { return r.Meshtls.Finding.State != "open" }) // only findings that were opened remain
	return w, err
}

// expect notes an error if the actual value differs from the expected one.
func (w *walk) expect(what string, want, came any) {
	if want != came {
		w.wrong = append(w.wrong, fmt.Sprintf("%s: expected %v, got %v", what, want, came))
	}
}

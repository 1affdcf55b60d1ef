package main

import (
	"fmt"
	"io"
)

// outcome is the result of comparing two values of one field.
type outcome int

const (
	neither outcome = iota
	agree
	onlyTap
	onlyTshark
	differ
	outcomes // number of outcomes
)

// compareValues compares the two values of a field.
func compareValues(ours, theirs string) outcome {
	switch {
	case ours == "" && theirs == "":
		return neither
	case ours == theirs:
		return agree
	case theirs == "":
		return onlyTap
	case ours == "":
		return onlyTshark
	}
	return differ
}

// table counts the outcomes of each field over pairs of connections.
type table struct {
	counts                    [fields][outcomes]int
	both, onlyTap, onlyTshark int // number of connections for which both programs, only the tap, or only tshark have values
}

// add counts one pair and returns its differences, a line for each field.
func (t *table) add(p pair) []string {
	var none connection
	ours, theirs := &none, &none
	if p.ours != nil {
		ours = p.ours
	}
	if p.theirs != nil {
		theirs = p.theirs
	}
	switch {
	case ours.hasValues() && theirs.hasValues():
		t.both++
	case ours.hasValues():
		t.onlyTap++
	case theirs.hasValues():
		t.onlyTshark++
	}
	var lines []string
	for f := range fields {
		o := compareValues(ours.values[f], theirs.values[f])
		t.counts[f][o]++
		name := map[outcome]string{onlyTap: "only tap", onlyTshark: "only tshark", differ: "differ"}[o]
		if name == "" {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s\t%s\t%q\t%q", name, fieldNames[f], ours.values[f], theirs.values[f]))
	}
	return lines
}

func (t *table) differences() int {
	n := 0
	for f := range fields {
		n += t.counts[f][differ]
	}
	return n
}

func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "TLS connections: %d found by both, %d only by the tap, %d only by tshark\n\n", t.both, t.onlyTap, t.onlyTshark)
	fmt.Fprintf(w, "%-20s %8s %8s %11s %8s\n", "", "agree", "only tap", "only tshark", "differ")
	for f := range fields {
		n := &t.counts[f]
		fmt.Fprintf(w, "%-20s %8d %8d %11d %8d\n", fieldNames[f], n[agree], n[onlyTap], n[onlyTshark], n[differ])
	}
}

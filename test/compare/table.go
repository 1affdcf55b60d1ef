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
	onlyWe
	onlyThey
	differ
	outcomes // number of outcomes
)

func hold(ours, theirs string) outcome {
	switch {
	case ours == "" && theirs == "":
		return neither
	case ours == theirs:
		return agree
	case theirs == "":
		return onlyWe
	case ours == "":
		return onlyThey
	}
	return differ
}

// table counts the outcomes of each field over pairs of connections.
type table struct {
	counts           [fields][outcomes]int
	both, ours, they int // connections with values from both, only from the tap, only from tshark
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
	case ours.says() && theirs.says():
		t.both++
	case ours.says():
		t.ours++
	case theirs.says():
		t.they++
	}
	var lines []string
	for f := range fields {
		o := hold(ours.values[f], theirs.values[f])
		t.counts[f][o]++
		name := map[outcome]string{onlyWe: "only we", onlyThey: "only they", differ: "differ"}[o]
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
	fmt.Fprintf(w, "TLS connections: %d by both, %d only by us, %d only by them\n\n", t.both, t.ours, t.they)
	fmt.Fprintf(w, "%-20s %8s %8s %10s %8s\n", "", "agree", "only we", "only they", "differ")
	for f := range fields {
		n := &t.counts[f]
		fmt.Fprintf(w, "%-20s %8d %8d %10d %8d\n", fieldNames[f], n[agree], n[onlyWe], n[onlyThey], n[differ])
	}
}

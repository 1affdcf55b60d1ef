package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// edgesOptions are the options of the command edges.
type edgesOptions struct {
	source
	output output
	failOn string
}

// edgesFormats are the values of -o.
var edgesFormats = []string{"table", "wide", "json", "yaml"}

func newEdgesCommand(o *options) *cobra.Command {
	var e edgesOptions
	c := &cobra.Command{
		Use:   "edges [-n NAMESPACE | -A] [--from taps|kafka|FILE]",
		Short: "List who talks to whom, and whether it is mutual TLS",
		Long: `List the edges that taps have seen. An edge is the traffic from one workload to one port of another,
with its verdict, protocol, the basis of the verdict, the number of connections, and the first time.

Records come from the logs of running and ended taps (attach some with "kubectl meshtls tap"), from
Kafka, or from a file: a capture (pcap, pcapng), or the records of a tap as JSON lines. If both ends
of an edge are tapped, their records are joined; if they differ, a line says so, and the weaker
verdict counts. Workloads without a tap are listed, and so is everything else that is not known: an
empty list of edges does not mean that nothing was sent.

If part of the input cannot be read, the rest is listed, the answer says so, and the exit status is
1. With -n this includes the logs of that namespace; for logs of other namespaces there is only a
note. A log counts only for its own pod; records in Kafka and in files are believed. Numbers of
connections are lower bounds. Only the client claimed a name that is marked with *.`,
		Example: `  # What the taps in the namespace shop have seen
  kubectl meshtls edges -n shop

  # All namespaces, with ciphers, ends and other traffic such as DNS and probes
  kubectl meshtls edges -A -o wide

  # Fail a pipeline if plaintext was found, or if nothing could be judged
  kubectl meshtls edges -n shop --fail-on=plaintext-edge -o json >edges.json

  # The last day from Kafka
  kubectl meshtls edges -A --from kafka --kafka-brokers kafka-0.kafka:9093 --kafka-tls --since 24h

  # A capture file; no cluster is needed
  kubectl meshtls edges --from capture.pcap`,
		Args: cobra.NoArgs,
		Annotations: map[string]string{annotationStatus: `3  a finding or connection that --fail-on names, even if part of the input could not be read
4  no connection between workloads could be judged`},
		RunE: func(c *cobra.Command, _ []string) error { return o.edges(c.Context(), &e) },
	}
	e.addFlags(c)
	e.output.addFlag(c, edgesFormats...)
	c.Flags().StringVar(&e.failOn, "fail-on", "", failOnHelp)
	return c
}

// edgesResult is the output of -o json and yaml.
type edgesResult struct {
	Answer   string              `json:"answer"`
	Tally    topology.Tally      `json:"tally"`
	Edges    []topology.Edge     `json:"edges"`
	Findings []topology.Finding  `json:"findings"`
	Untapped []topology.Untapped `json:"untapped"`
	Unknown  []topology.Unknown  `json:"unknown"`
}

func (o *options) edges(ctx context.Context, e *edgesOptions) error {
	if err := e.output.check(edgesFormats...); err != nil {
		return err
	}
	fail, err := parseFailOn(e.failOn)
	if err != nil {
		return err
	}
	g, partial := e.read(ctx, o)
	if g == nil {
		return partial
	}
	result := edgesResult{g.Answer(), g.Tally(), notNil(g.Edges()), notNil(g.Findings()), notNil(g.Untapped()), notNil(g.Unknown())}
	switch e.output {
	case "json", "yaml":
		err = printObject(o.Out, e.output, result)
	default:
		t := textOf(o, e.output == "wide")
		t.edges(&result)
		err = t.flush(o.Out)
	}
	if err != nil {
		return errors.Join(partial, err)
	}
	return withPart(partial, errors.Join(verdictFor(&fail, result.Edges, result.Findings), ctx.Err()))
}

// verdictFor returns the error of a command with --fail-on whose result was printed.
func verdictFor(fail *failOn, edges []topology.Edge, findings []topology.Finding) error {
	if err := fail.result(edges, findings); err != nil {
		return err
	}
	if !anyJudged(edges) {
		return unjudgedErrorf("no connection between workloads could be judged, so nothing is proven")
	}
	return nil
}

// anyJudged reports whether a connection between workloads was judged.
func anyJudged(edges []topology.Edge) bool {
	return slices.ContainsFunc(edges, func(e topology.Edge) bool { return e.Judged() })
}

// notNil returns an empty list for nil, so that JSON has a list.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// plural formats a number with a noun whose plural ends in s.
func plural[N int | int64 | uint64](n N, noun string) string {
	return choose(n, "1 "+noun, fmt.Sprintf("%d %ss", n, noun))
}

// choose returns the form of the singular or of the plural.
func choose[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// portion returns how many of all connections are meant: "1 connection", "both connections", "2 of 3 connections".
func portion(n, all uint64) string {
	switch {
	case n != all:
		return fmt.Sprintf("%d of %s", n, plural(all, "connection"))
	case n == 2:
		return "both connections"
	case n > 2:
		return "all " + plural(n, "connection")
	}
	return plural(n, "connection")
}

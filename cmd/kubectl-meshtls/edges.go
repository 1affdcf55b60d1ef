package main

import (
	"context"
	"errors"
	"fmt"

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
		Long: `List the edges between workloads as taps have seen them: verdict, from, to, port, protocol, basis,
number of connections, and since when.

Records come from the logs of taps that run or have ended (attach some with "kubectl meshtls tap"),
from Kafka, or from a file: a capture (pcap, pcapng), or the records of a tap as JSON lines. Both
ends of an edge are joined where both are tapped. If they report different things, a line says so,
and the weaker verdict counts. Workloads without a tap are listed, and so is what is not known: an
empty list of edges does not mean that nothing was sent.

If a part of the input cannot be read, the rest is listed, the answer says so, and the status is 1.
Numbers of connections are lower bounds. A name marked with * is only the client's claim.`,
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
		Annotations: map[string]string{annotationStatus: `3  a finding of --fail-on, also if not all of the input could be read
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
		return unjudgedErrorf("no connection between workloads could be judged, so nothing is shown to be fine")
	}
	return nil
}

// anyJudged reports whether a connection between workloads was judged.
func anyJudged(edges []topology.Edge) bool {
	for i := range edges {
		if n := edges[i].Connections; edges[i].Between() && n.Plaintext+n.TLS+n.Encrypted+n.MTLS > 0 {
			return true
		}
	}
	return false
}

// notNil returns an empty list for nil, so that JSON has a list.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// plural formats a number with a noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshtls-tap/meshtls-tap/internal/htmlreport"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// reportOptions are the options of the command report.
type reportOptions struct {
	source
	output string
	title  string
	failOn string
}

func newReportCommand(o *options) *cobra.Command {
	var r reportOptions
	c := &cobra.Command{
		Use:   "report -o FILE [-n NAMESPACE | -A] [--from taps|kafka|FILE]",
		Short: "Write an HTML page of edges and findings",
		Long: `Write one HTML page about what taps have seen: the answer in one sentence, a matrix of namespaces
and of workloads, the findings with their evidence, a table of edges with filters, the neighbors of
a workload, the timeline of an edge, what could not be known, and how the page was made.

The page is a single file that loads and sends nothing. It can be read without JavaScript, printed,
and used with the keyboard alone. Names from packets appear in it only as text. If nothing was
judged, the page says so.

Records come from the logs of running and ended taps, from Kafka, or from files: captures (pcap,
pcapng), or the records of a tap as JSON lines. If part of the input cannot be read, the page has
the rest, its answer says so, and the exit status is 1.`,
		Example: `  # What the taps in the namespace shop have seen
  kubectl meshtls report -o report.html -n shop

  # A capture file; no cluster is needed
  kubectl meshtls report -o report.html --from capture.pcap --title 'Incident 4711'

  # The last day of all namespaces from Kafka, on standard output
  kubectl meshtls report -o - -A --from kafka --kafka-brokers kafka-0:9093 --since 24h >report.html

  # In a pipeline: write the page, and exit with status 3 if plaintext was found
  kubectl meshtls report -o report.html --from capture.pcap --fail-on=plaintext-edge`,
		Args: cobra.NoArgs,
		Annotations: map[string]string{annotationStatus: `3  a finding or connection that --fail-on names; the page is written
4  no connection between workloads could be judged; the page is written and says so`},
		RunE: func(c *cobra.Command, _ []string) error { return o.report(c.Context(), &r, time.Now()) },
	}
	r.addFlags(c)
	c.Flags().StringVarP(&r.output, "output", "o", "", "the `FILE` to write; - is standard output")
	c.Flags().StringVar(&r.title, "title", "", "the title of the page")
	c.Flags().StringVar(&r.failOn, "fail-on", "", failOnHelp)
	must(c.MarkFlagFilename("output", "html"))
	return c
}

// report is the command report. now is the time that the page names.
func (o *options) report(ctx context.Context, r *reportOptions, now time.Time) error {
	if r.output == "" {
		return usageErrorf("-o is missing: expected the file to write, such as -o report.html, or -o - for standard output")
	}
	fail, err := parseFailOn(r.failOn)
	if err != nil {
		return err
	}
	if written, err := os.Stat(r.output); err == nil {
		for _, name := range r.from {
			if in, err := os.Stat(name); err == nil && os.SameFile(in, written) {
				return usageErrorf("-o %s: the file is read by --from: expected another file to write", r.output)
			}
		}
	}
	g, partial := r.read(ctx, o)
	if g == nil {
		return partial
	}
	edges, findings := g.Edges(), g.Findings()
	page := htmlreport.Report{
		Title: r.title, Answer: g.Answer(), Edges: edges, Findings: findings, Unknown: g.Unknown(),
		Made: htmlreport.Made{At: now, Version: versionText(), Sources: r.origins(o, g), Losses: losses(g)},
	}
	if err := o.writePage(r.output, &page); err != nil {
		return errors.Join(partial, err)
	}
	if r.output != "-" {
		fmt.Fprintf(o.ErrOut, "%s: %s\n", r.output, page.Answer)
	}
	return withPart(partial, errors.Join(verdictFor(&fail, edges, findings), ctx.Err()))
}

// writePage writes a page to a file, or to standard output for "-". An error leaves no page in part.
func (o *options) writePage(name string, page *htmlreport.Report) error {
	var b bytes.Buffer
	if err := htmlreport.Write(&b, page); err != nil {
		return err
	}
	if name == "-" {
		_, err := o.Out.Write(b.Bytes())
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644) //nolint:gosec // a report is made to be read by others
}

// origins returns where the records of a graph come from: the source as a whole, and each tap or capture in it.
func (r *reportOptions) origins(o *options, g *topology.Graph) []htmlreport.Source {
	var out []htmlreport.Source
	since := ""
	if r.since > 0 {
		since = fmt.Sprintf("the last %s.", r.since)
	}
	switch r.from[0] {
	case fromTaps:
		where := "all namespaces"
		if ns, err := r.scope(o); err == nil && ns != "" {
			where = "the namespace " + ns
		}
		out = append(out, htmlreport.Source{Kind: "logs of taps, for", Name: where, Note: since})
	case fromKafka:
		out = append(out, htmlreport.Source{Kind: "Kafka topics", Name: strings.Join(r.kafka.topics, ", "), Note: since})
	default:
		for _, name := range r.from {
			if name == "-" {
				name = "standard input"
			}
			out = append(out, htmlreport.Source{Kind: "file", Name: name})
		}
	}
	for _, t := range g.Taps() {
		kind := "tap in"
		if t.Capture {
			kind = "capture"
		}
		out = append(out, htmlreport.Source{Kind: kind, Name: cmp.Or(t.Name, "pods that are not known"), Note: describe(&t)})
	}
	return out
}

// describe returns when a tap saw what, and what it lost.
func describe(t *topology.Tap) string {
	text := plural(t.Packets, "packet")
	if !t.First.IsZero() {
		text += fmt.Sprintf(" from %s to %s", t.First.UTC().Format(time.DateTime), t.Last.UTC().Format(time.DateTime))
	}
	text += fmt.Sprintf("; %d lost", t.Dropped)
	if t.Older > 0 {
		text += fmt.Sprintf("; %s older than it", plural(t.Older, "connection"))
	}
	return text + "."
}

// losses returns what the taps together lost, in a sentence.
func losses(g *topology.Graph) []string {
	var dropped, packets uint64
	for _, t := range g.Taps() {
		dropped, packets = dropped+t.Dropped, packets+t.Packets
	}
	switch {
	case packets+dropped == 0:
		return []string{"No tap has reported how many packets it saw or lost."}
	case dropped == 0:
		return []string{"No tap has reported a lost packet."}
	}
	return []string{fmt.Sprintf("Taps lost %s, and saw %d.", plural(dropped, "packet"), packets)}
}

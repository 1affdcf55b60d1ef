package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// strictOptions are the options of the command strict.
type strictOptions struct {
	source
	output output
	limits topology.StrictOptions
}

// strictFormats are the values of -o.
var strictFormats = []string{"table", "wide", "json", "yaml"}

func newStrictCommand(o *options) *cobra.Command {
	var s strictOptions
	c := &cobra.Command{
		Use:   "strict [-n NAMESPACE | -A]",
		Short: "Can a namespace refuse everything but mutual TLS?",
		Long: `Report for each workload and port of a namespace whether it can be switched to STRICT, which refuses
everything but mutual TLS. The result depends on what taps have seen on the wire:

  ready            every client that was seen speaks the mesh's mutual TLS, and enough was seen
  cut_off          clients would be cut off; the output says which, how often and when last
  not_enough_seen  no client is known to be cut off, but some may not have been seen
  excluded         annotations exclude the port from the mesh: STRICT has no effect on it
  not_enrolled     the workload is not in a mesh: STRICT has no effect on it

Enough was seen if taps in all pods of the workload watched at the same time for at least --min-time
and lost nothing, and if every client had at least --min-connections connections in mutual TLS, also
by the records of the workload's own taps, and none that could not be judged. A client that did not
connect in that time is not known: choose a time in which all clients connect, such as a day.
Records in Kafka are believed: whoever may write to the topics can speak for any pod.

If part of the input cannot be read, nothing that depends on it is ready, and the exit status is 1.

-o yaml prints the policies that enforce STRICT, with the evidence, but only for ports that are
ready: PeerAuthentication for Istio; Server, MeshTLSAuthentication and AuthorizationPolicy for
Linkerd. Nothing is applied.`,
		Example: `  # What would STRICT break in the namespace shop?
  kubectl meshtls strict -n shop

  # From a day of records in Kafka
  kubectl meshtls strict -n shop --from kafka --kafka-brokers kafka-0:9093 --since 24h

  # The policies for ports that are ready; read them before you apply them
  kubectl meshtls strict -n shop -o yaml >strict.yaml`,
		Args: cobra.NoArgs,
		Annotations: map[string]string{annotationStatus: `3  a client would be cut off, also if not all of the input could be read
4  nothing is known to be ready or to be cut off`},
		RunE: func(c *cobra.Command, _ []string) error { return o.strict(c.Context(), &s) },
	}
	s.addFlags(c)
	s.output.addFlag(c, strictFormats...)
	c.Flags().Uint64Var(&s.limits.MinConnections, "min-connections", 1, "how many connections in mutual TLS each client must have had")
	c.Flags().DurationVar(&s.limits.MinTime, "min-time", time.Hour, "how long all pods of the workload must have been watched at the same time")
	c.Flags().Lookup("from").Usage = "where the records come from: `SOURCE` is taps (the logs of running and ended taps) or kafka"
	return c
}

// strictResult is the output of -o json.
type strictResult struct {
	Answer     string               `json:"answer"`
	Workloads  []topology.Readiness `json:"workloads"`
	Unenrolled []topology.Workload  `json:"unenrolled,omitempty"` // only with an ambient mesh
	Unknown    []topology.Unknown   `json:"unknown"`
}

func (o *options) strict(ctx context.Context, s *strictOptions) error {
	switch {
	case s.output.check(strictFormats...) != nil:
		return s.output.check(strictFormats...)
	case s.limits.MinConnections == 0:
		return usageErrorf("--min-connections=0: expected at least 1")
	case s.limits.MinTime < 0:
		return usageErrorf("--min-time=%s: expected a duration such as 24h", s.limits.MinTime)
	case s.from[0] != fromTaps && s.from[0] != fromKafka:
		return usageErrorf("--from=%s: expected taps or kafka, because only the cluster knows which pods there are", s.from[0])
	}
	g, partial := s.read(ctx, o)
	if g == nil {
		return partial
	}
	var err error
	list := g.Strict(s.limits)
	result := strictResult{Answer: strictAnswer(list), Workloads: notNil(list), Unknown: notNil(g.Unknown())}
	result.Unenrolled, _ = g.Unenrolled()
	switch s.output {
	case "json":
		err = printObject(o.Out, "json", result)
	case "yaml":
		err = writePolicies(o.Out, g, list)
	default:
		t := textOf(o, s.output == "wide")
		t.strict(&result)
		err = t.flush(o.Out)
	}
	switch {
	case err != nil:
		return errors.Join(partial, err)
	case has(list, topology.CutOff):
		err = findingErrorf("clients would be cut off: %s", result.Answer)
	case !has(list, topology.Ready):
		err = unjudgedErrorf("nothing is known to be ready for STRICT: %s", result.Answer)
	}
	return withPart(partial, errors.Join(err, ctx.Err()))
}

func has(list []topology.Readiness, state string) bool {
	return slices.ContainsFunc(list, func(r topology.Readiness) bool { return r.State == state })
}

// strictAnswer returns the answer in one sentence.
func strictAnswer(list []topology.Readiness) string {
	n := map[string]int{}
	for i := range list {
		n[list[i].State]++
	}
	switch {
	case len(list) == 0:
		return "There are no pods, so nothing is known."
	case n[topology.Ready] == len(list):
		return fmt.Sprintf("Ready: every client that was seen at %s speaks mutual TLS. Clients that did not connect in that time are not known.", plural(len(list), "port"))
	}
	var parts []string
	for _, x := range []struct{ state, only, one, many string }{
		{topology.CutOff, "it has clients that would be cut off", "1 has clients that would be cut off", "%d have clients that would be cut off"},
		{topology.NotEnough, "not enough was seen of it", "not enough was seen of 1", "not enough was seen of %d"},
		{topology.Excluded, "it is excluded from the mesh", "1 is excluded from the mesh", "%d are excluded from the mesh"},
		{topology.NotEnrolled, "it is not in a mesh", "1 is not in a mesh", "%d are not in a mesh"},
	} {
		switch k := n[x.state]; {
		case k == 0:
		case len(list) == 1:
			return "The only port is not ready: " + x.only + "."
		case k == 1:
			parts = append(parts, x.one)
		default:
			parts = append(parts, fmt.Sprintf(x.many, k))
		}
	}
	ready := choose(n[topology.Ready], "is", "are")
	return fmt.Sprintf("%d of %s %s ready; %s.", n[topology.Ready], plural(len(list), "port"), ready, strings.Join(parts, "; "))
}

// cutOff returns who would be cut off, why, how often and when last.
func cutOff(c *topology.Client) string {
	return fmt.Sprintf("%s would be cut off: %s (%s, last seen %s)", endOf(&c.From), c.Why, portion(c.Weak, c.Connections), clock(c.Last, false))
}

// strict writes the readiness of each port, what is not known, and the answer.
func (t *text) strict(r *strictResult) {
	rows := make([]row, 0, len(r.Workloads))
	for i := range r.Workloads {
		x := &r.Workloads[i]
		port := "-"
		if x.Port != 0 {
			port = strconv.Itoa(int(x.Port))
		}
		row := row{cells: []string{x.State, x.Workload.String(), port, x.Mesh, plural(len(x.Clients), "client"), strconv.FormatUint(x.Connections, 10), x.Watched}}
		for _, c := range x.Clients {
			switch {
			case c.CutOff:
				row.notes = append(row.notes, cutOff(&c))
			case t.wide:
				row.notes = append(row.notes, fmt.Sprintf("%s: %s, last seen %s", endOf(&c.From), plural(c.Connections, "connection"), clock(c.Last, false)))
			}
		}
		if x.State == topology.NotEnough || x.State == topology.CutOff || t.wide {
			row.notes = append(row.notes, x.Missing...)
		}
		row.notes = append(row.notes, x.Exempt...)
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		t.table([]column{{head: "STRICT"}, {head: "WORKLOAD"}, {head: "PORT", right: true}, {head: "MESH", optional: 2}, {head: "SEEN"}, {head: "MUTUAL TLS", right: true}, {head: "WATCHED", optional: 1}}, rows)
	}
	if len(r.Unenrolled) > 0 {
		t.heading("Not enrolled in the ambient mesh")
		for i := range r.Unenrolled {
			t.wrap("  ", r.Unenrolled[i].String())
		}
	}
	t.unknown(r.Unknown)
	t.answer(r.Answer, len(r.Unknown))
}

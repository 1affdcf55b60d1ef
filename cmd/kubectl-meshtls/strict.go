package main

import (
	"context"
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
		Long: `Answer for each workload and port of a namespace whether it can be switched to STRICT, from what
taps have seen on the wire:

  ready            each client that was seen speaks the mesh's mutual TLS, and enough was seen
  cut_off          these clients would be cut off: who, how often and when last
  not_enough_seen  no client is known to be cut off, but some may not have been seen, and why
  excluded         annotations exclude the port from the mesh: STRICT has no effect on it
  not_enrolled     the workload is in no mesh: STRICT has no effect on it

Enough was seen if a tap ran in each pod of the workload for --min-time and lost nothing, and if
each client had --min-connections in mutual TLS and none that could not be judged. A client that
did not connect in this time is not known: choose a time in which all of them do, such as a day.

-o yaml prints what enforces it, only for what is ready, with the evidence: PeerAuthentication for
Istio; Server, MeshTLSAuthentication and AuthorizationPolicy for Linkerd. Nothing is applied.`,
		Example: `  # What would STRICT break in the namespace shop?
  kubectl meshtls strict -n shop

  # By a day of records in Kafka
  kubectl meshtls strict -n shop --from kafka --kafka-brokers kafka-0:9093 --since 24h

  # The policies for what is ready; read them before you apply them
  kubectl meshtls strict -n shop -o yaml >strict.yaml`,
		Args: cobra.NoArgs,
		Annotations: map[string]string{annotationStatus: `3  a client would be cut off
4  nothing is known to be ready or to be cut off`},
		RunE: func(c *cobra.Command, _ []string) error { return o.strict(c.Context(), &s) },
	}
	s.addFlags(c)
	s.output.addFlag(c, strictFormats...)
	c.Flags().Uint64Var(&s.limits.MinConnections, "min-connections", 1, "connections in mutual TLS that each client must have had")
	c.Flags().DurationVar(&s.limits.MinTime, "min-time", time.Hour, "time for which each pod of the workload must have been watched")
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
		return usageErrorf("--from=%s: expected taps or kafka, because the cluster must say which pods there are", s.from[0])
	}
	g, err := s.read(ctx, o)
	if err != nil {
		return err
	}
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
		return err
	case has(list, topology.CutOff):
		return findingErrorf("clients would be cut off: %s", result.Answer)
	case !has(list, topology.Ready):
		return unjudgedErrorf("nothing is known to be ready for STRICT: %s", result.Answer)
	}
	return ctx.Err()
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
		return fmt.Sprintf("Ready: every client that was seen at %s speaks mutual TLS. Clients that did not connect meanwhile are not known.", plural(len(list), "port"))
	}
	parts := []string{fmt.Sprintf("%d of %s ready", n[topology.Ready], plural(len(list), "port"))}
	for _, x := range []struct{ state, words string }{
		{topology.CutOff, "with clients that would be cut off"}, {topology.NotEnough, "where not enough was seen"},
		{topology.Excluded, "excluded from the mesh"}, {topology.NotEnrolled, "not in a mesh"},
	} {
		if n[x.state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[x.state], x.words))
		}
	}
	return strings.Join(parts, "; ") + "."
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
				row.notes = append(row.notes, fmt.Sprintf("%s would be cut off: %s, %d of %d connections, last seen %s", endOf(&c.From), c.Why, c.Weak, c.Connections, clock(c.Last, false)))
			case t.wide:
				row.notes = append(row.notes, fmt.Sprintf("%s: %d connections, last seen %s", endOf(&c.From), c.Connections, clock(c.Last, false)))
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

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/offline"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// Values of --from that are not files.
const (
	fromTaps  = "taps"
	fromKafka = "kafka"
)

// source is where a command gets records from.
type source struct {
	from  []string
	all   bool // namespaces
	since time.Duration
	kafka kafkaFlags
}

// addFlags adds the flags of the source to a command.
func (s *source) addFlags(c *cobra.Command) {
	c.Flags().StringArrayVar(&s.from, "from", []string{fromTaps}, "where the records come from: `SOURCE` is taps (the logs of running and ended taps), kafka, or a file (a capture, or records as JSON lines; - is standard input). Repeat the flag to read several files")
	c.Flags().BoolVarP(&s.all, "all-namespaces", "A", false, "include all namespaces")
	c.Flags().DurationVar(&s.since, "since", 0, "read only records that are at most so old, such as 1h (not for files); 0: all")
	s.kafka.addFlags(c)
	must(c.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{fromTaps, fromKafka}, cobra.ShellCompDirectiveDefault)))
}

// check returns a usage error about the flags.
func (s *source) check() error {
	special := slices.Contains(s.from, fromTaps) || slices.Contains(s.from, fromKafka)
	switch {
	case len(s.from) == 0 || slices.Contains(s.from, ""):
		return usageErrorf("--from: expected taps, kafka or a file")
	case special && len(s.from) > 1:
		return usageErrorf("--from: taps and kafka cannot be combined with each other or with files: choose one of them")
	case s.since < 0:
		return usageErrorf("--since=%s: expected a duration such as 1h", s.since)
	}
	return s.kafka.check(s.from[0] == fromKafka)
}

// read returns a graph of all records, nil if none could be read. If there is an error too, not all of the input could be read. What is missing is also in
// the graph's Unknown. After an interruption the graph has what was read until then.
func (s *source) read(ctx context.Context, o *options) (*topology.Graph, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	switch s.from[0] {
	case fromTaps:
		return s.readTaps(ctx, o)
	case fromKafka:
		return s.readKafka(ctx, o)
	}
	return s.readFiles(ctx, o)
}

// scope returns the namespace that the command is about; empty means all.
func (s *source) scope(o *options) (string, error) {
	if s.all {
		return "", nil
	}
	return o.namespace()
}

// readFiles reads capture files and files of records. -n limits the result only if it is given, because a file has no current namespace.
func (s *source) readFiles(ctx context.Context, o *options) (*topology.Graph, error) {
	inv := topology.Inventory{}
	if ns := o.config.Namespace; ns != nil && !s.all {
		inv.Namespace = *ns
	}
	g := topology.New(inv)
	n := 0
	add := func(r *record.Record) { n++; g.Add(r) }
	var errs []error
	for _, name := range s.from {
		if err := offline.Read(ctx, name, o.In, add); err != nil {
			errs = append(errs, err)
			g.Incomplete(fmt.Sprintf("Part of the input could not be read: %s.", strings.ReplaceAll(err.Error(), "\n", "; ")))
		}
	}
	if n == 0 && len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return g, inPart(g, errs)
}

// inPart returns the error of a source of which not all could be read, for the reasons errs or because of records of another schema; otherwise nil.
func inPart(g *topology.Graph, errs []error) error {
	if n := g.Foreign(); n > 0 {
		errs = append(errs, fmt.Errorf("%s another version of the schema: expected version %d; use the kubectl-meshtls of the same version as the tap", choose(n, "1 record has", fmt.Sprintf("%d records have", n)), record.SchemaVersion))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("not all of the input could be read: %w", errors.Join(errs...))
}

// atOnce bounds the logs that are read at the same time.
const atOnce = 8

// readTaps reads the logs of the taps. With -n it reads those of all namespaces that it may list, since they know the other ends.
func (s *source) readTaps(ctx context.Context, o *options) (*topology.Graph, error) {
	ns, err := s.scope(o)
	if err != nil {
		return nil, err
	}
	kube, config, err := o.client()
	if err != nil {
		return nil, err
	}
	client := &attach.Client{Kube: kube, Config: config}
	inv, taps, err := client.Inventory(ctx, ns, time.Now())
	if err != nil {
		return nil, err
	}
	g := topology.New(inv)
	taps = slices.DeleteFunc(taps, func(t attach.Tap) bool { return t.Program != attach.ProgramRun })
	return g, inPart(g, readLogs(ctx, client, g, taps, s.since, ns))
}

// readLogs adds the records in the logs of taps to a graph. The errors are about the logs of pods in a namespace (empty: all) that could not be read to their ends.
// Logs in other namespaces only become notes: they know other ends.
func readLogs(ctx context.Context, client *attach.Client, g *topology.Graph, taps []attach.Tap, since time.Duration, namespace string) (errs []error) {
	var mu sync.Mutex
	var wait sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	var elsewhere []string
	for i := range taps {
		t := &taps[i]
		if !t.HasLog {
			elsewhere = append(elsewhere, t.String())
			continue
		}
		if t.State == attach.Waiting {
			continue
		}
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			of := topology.Source{Namespace: t.Namespace, Pod: t.Pod, UID: t.UID}
			err := client.ReadLog(ctx, t, since, func(r *record.Record) {
				mu.Lock()
				defer mu.Unlock()
				g.AddFrom(&of, r)
			})
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				g.IncompleteLog(&of, fmt.Sprintf("Not all of the log of the tap in %s could be read: %s.", t.String(), strings.ReplaceAll(err.Error(), "\n", "; ")))
				if namespace == "" || namespace == t.Namespace {
					errs = append(errs, fmt.Errorf("the log of the tap in %s: %w", t.String(), err))
				}
			}
		})
	}
	wait.Wait()
	if len(elsewhere) > 0 {
		slices.Sort(elsewhere)
		g.Note(fmt.Sprintf("The records of the taps in %s are not in their logs, but go to Kafka or have another format: use --from kafka.", some(slices.Compact(elsewhere))))
	}
	return errs
}

// some returns the first names of a list.
func some(names []string) string {
	const most = 5
	out := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	return out
}

// readKafka reads topics. The inventory is optional: without it, names come from the taps.
func (s *source) readKafka(ctx context.Context, o *options) (*topology.Graph, error) {
	ns, err := s.scope(o)
	if err != nil {
		return nil, err
	}
	g := topology.New(s.inventory(ctx, o, ns))
	n := 0
	notes, missing, err := s.kafka.read(ctx, s.since, time.Now(), func(r *record.Record) { n++; g.Add(r) })
	for _, text := range notes {
		g.Note(text)
	}
	var errs []error
	for _, text := range missing {
		g.Incomplete(text)
		errs = append(errs, errors.New(strings.TrimSuffix(text, ".")))
	}
	switch {
	case err != nil && n == 0:
		return nil, err
	case err != nil:
		errs = append(errs, err)
	}
	return g, inPart(g, errs)
}

// inventory returns the inventory of the cluster; without a cluster, an empty one with a note.
func (s *source) inventory(ctx context.Context, o *options, ns string) topology.Inventory {
	kube, config, err := o.client()
	var inv topology.Inventory
	if err == nil {
		inv, _, err = (&attach.Client{Kube: kube, Config: config}).Inventory(ctx, ns, time.Now())
	}
	if err != nil {
		return topology.Inventory{Namespace: ns, Notes: []string{fmt.Sprintf("The pods of the cluster could not be listed (%s): only taps give names to addresses, and pods without a tap are not listed.", cmp.Or(firstLine(err), "no reason"))}}
	}
	return inv
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

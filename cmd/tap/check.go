package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/live"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/sink"
)

const checkHelp = `Usage: tap check

Checks whether a tap with the environment of "tap run" can work, and prints a line for each step, with what to do if it fails: the
variables, a packet socket on each interface, files, the spool's folder (which it does not create), each broker, TLS, login, topics and
the right to write to them, and one record of the dataset meshtls.tap, written to TAP_KAFKA_POSTURE_TOPIC. Exit status 1 if something
is wrong, 2 if a variable is invalid. An interface that does not exist is no failure, since a tap captures it once it exists.

Examples:
  tap check
  kubectl exec POD -c meshtls-tap -- /tap check
`

// checkLimit bounds the time until the broker acknowledges the test record.
const checkLimit = 20 * time.Second

// checklist prints the result of each step and records whether one failed.
type checklist struct {
	out    io.Writer
	failed bool
}

func (c *checklist) step(name, found string, err error) bool {
	if err != nil {
		c.failed = true
		fmt.Fprintf(c.out, "FAIL  %-28s %v\n", name, err)
		return false
	}
	fmt.Fprintf(c.out, "ok    %-28s %s\n", name, found)
	return true
}

func (c *checklist) result() error {
	if c.failed {
		return errors.New("some checks failed")
	}
	return nil
}

// check is the command `tap check`.
func check(ctx context.Context, args, environ []string, std streams) error {
	s, err := sinkSettings("check", checkHelp, args, environ, std)
	if err != nil {
		return err
	}
	list := &checklist{out: std.out}
	if len(s.doubtful) == 0 {
		list.step("settings", "all variables are valid and have an effect", nil)
	}
	for _, c := range s.localChecks() {
		list.step(c.name, c.found, c.err)
	}
	s.checkSockets(list)
	if !s.publishToKafka {
		list.step("sink", "records go to standard output", nil)
		return list.result()
	}

	all, err := sink.NewAdmin(s.kafka)
	if err != nil {
		return fmt.Errorf(`%w: %w; see "tap run --help"`, errUsage, err)
	}
	defer all.Close()
	if s.checkBrokers(ctx, list) && s.checkTopics(ctx, all, list) {
		found, err := s.checkWrite(ctx)
		list.step("write", found, err)
	}
	return list.result()
}

// checkSockets checks whether packets can be captured on each interface.
func (s *settings) checkSockets(list *checklist) {
	names := s.Interfaces
	if slices.Contains(names, everyInterface) {
		names = nil
		all, err := net.Interfaces()
		if err != nil {
			list.step("sockets", "", err)
		}
		for _, i := range all {
			if i.Flags&net.FlagUp != 0 {
				names = append(names, i.Name)
			}
		}
	}
	for _, name := range names {
		found, err := "no such interface now: the tap captures it once it exists", error(nil)
		if _, missing := net.InterfaceByName(name); missing == nil {
			found = "packets can be captured"
			err = live.CheckSocket(name, func(c pcapfilter.Config) (pcapfilter.Program, error) { return liveProgram(s.filter, c) })
		}
		list.step("socket "+name, found, err)
	}
}

// localCheck is the result of a check that needs no broker.
type localCheck struct {
	name, found string
	err         error
}

// localChecks checks settings without effect, files and the spool's folder. It creates nothing that remains.
func (s *settings) localChecks() (out []localCheck) {
	for _, doubt := range s.doubtful {
		out = append(out, localCheck{name: "settings", err: errors.New(doubt)})
	}
	if !s.publishToKafka {
		return out
	}
	for _, err := range s.kafka.CheckFiles() {
		out = append(out, localCheck{name: "files", err: err})
	}
	if s.SpoolDir != "" {
		remark, err := buffer.CheckSpool(s.SpoolDir, "TAP_SPOOL_DIR")
		out = append(out, localCheck{"spool", s.SpoolDir + remark, err})
	}
	return out
}

// sinkSettings parses the environment. The only argument that args may contain is --help.
func sinkSettings(name, help string, args, environ []string, std streams) (settings, error) {
	f := newFlags(name, help)
	rest, err := f.parse(args, std.out)
	if err == nil && len(rest) > 0 {
		err = f.wrong("unexpected argument %q: everything is set by the environment", rest[0])
	}
	if err != nil {
		return settings{}, err
	}
	return readEnvironment(environ)
}

// checkBrokers checks each broker and reports whether at least one can be reached.
func (s *settings) checkBrokers(ctx context.Context, list *checklist) (some bool) {
	for _, broker := range s.kafka.Brokers {
		cfg := s.kafka
		cfg.Brokers = []string{broker}
		a, err := sink.NewAdmin(cfg)
		var found string
		if err == nil {
			found, err = a.Reach(ctx)
			a.Close()
		}
		some = list.step("broker "+broker, found, err) || some
	}
	return some
}

// checkTopics reports whether all used topics may be written to.
func (s *settings) checkTopics(ctx context.Context, a *sink.Admin, list *checklist) bool {
	all := true
	for _, name := range s.usedTopics() {
		t, err := a.Topic(ctx, name)
		if err == nil {
			err = a.MayWrite(ctx, name)
		}
		all = list.step("topic "+name, fmt.Sprintf("%d partitions, %d of %d replicas in sync, may be written to", t.Partitions, t.InSync, t.Replicas), err) && all
	}
	return all
}

// usedTopics returns the names of the topics of the datasets in TAP_EMIT, and that of evidence.
func (s *settings) usedTopics() []string {
	var out []string
	for _, x := range []struct {
		name string
		used bool
	}{{s.kafka.FindingsTopic, s.emit[datasets["findings"]]}, {s.kafka.PostureTopic, true}, {s.kafka.FlowsTopic, s.emit[datasets["flows"]]}, {s.kafka.EvidenceTopic, s.kafka.EvidenceTopic != ""}} {
		if x.used && (len(out) == 0 || out[len(out)-1] != x.name) {
			out = append(out, x.name)
		}
	}
	return out
}

// checkWrite publishes one record in the same way as the tap, and returns a text about it to print.
func (s *settings) checkWrite(ctx context.Context) (found string, err error) {
	cfg := s.kafka
	cfg.Spool, cfg.Spread = nil, 0
	k, err := sink.NewKafka(cfg)
	if err != nil {
		return "", err
	}

	e := finding.New(finding.Config{
		Tap: s.PodUID, Identity: s.identity(), Now: time.Now, Encode: s.format.encode,
		Emit: func(r finding.Record) {
			found = r.ID
			k.Put(message(r))
		},
	})
	e.Checked(time.Now().UnixNano())

	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	left, _ := k.Close(ctx)
	if left > 0 {
		return "", errors.New(k.Status().Reason)
	}
	return fmt.Sprintf("record %s was acknowledged after %v", found, time.Since(start).Round(time.Millisecond)), nil
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/sink"
)

const topicsHelp = `Usage: tap topics [--apply] [--partitions=3] [--replication-factor=N]

Says of the topics that "tap run" needs, by the same environment, whether they are there, how they are set, and whether this
login may write to them. With --apply those that are missing are made; one that is there is never changed.

  --apply                 make what is missing
  --partitions=3          of each topic that is made
  --replication-factor=N  of each topic that is made; default the brokers' default. From 3 on, min.insync.replicas is 2

Findings are kept for 30 days, posture and the tap's own state for 7, flows for 3. A topic of its own for posture
(TAP_KAFKA_POSTURE_TOPIC is set) is compacted too: the last word on each edge stays while its pod does. Exit status 1 if
something is wrong.
`

// topics is the command `tap topics`.
func topics(ctx context.Context, args, environ []string, std streams) error {
	f := newFlags("topics", topicsHelp)
	apply := f.Bool("apply", false, "")
	partitions := f.Int("partitions", 3, "")
	replicas := f.Int("replication-factor", 0, "")
	rest, err := f.parse(args, std.out)
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return f.wrong("unexpected argument %q", rest[0])
	case *partitions < 1:
		return f.wrong("--partitions=%d: expected 1 or more", *partitions)
	case *replicas < 0:
		return f.wrong("--replication-factor=%d: expected 1 or more", *replicas)
	}
	s, err := readEnvironment(append(slices.Clone(environ), "TAP_SINK=kafka"))
	if err != nil {
		return err
	}
	a, err := sink.NewAdmin(s.kafka)
	if err != nil {
		return fmt.Errorf(`%w: %w; see "tap run --help"`, errUsage, err)
	}
	defer a.Close()
	list := &checklist{out: std.out}
	for _, want := range s.wantedTopics(*partitions, *replicas, slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, "TAP_KAFKA_POSTURE_TOPIC=") })) {
		s.oneTopic(ctx, a, want, *apply, list)
	}
	return list.result()
}

// wantedTopics returns the topics as they are made.
func (s *settings) wantedTopics(partitions, replicas int, compact bool) []sink.Topic {
	var out []sink.Topic
	for _, name := range s.usedTopics() {
		t := sink.Topic{Name: name, Partitions: partitions, Replicas: replicas, Config: map[string]string{"cleanup.policy": "delete"}}
		days := 30
		switch name {
		case s.kafka.FindingsTopic:
		case s.kafka.PostureTopic:
			days = 7
			if compact {
				t.Config["cleanup.policy"] = "compact,delete"
			}
		default:
			days = 3
		}
		t.Config["retention.ms"] = strconv.FormatInt((time.Duration(days) * 24 * time.Hour).Milliseconds(), 10)
		if replicas >= 3 {
			t.Config["min.insync.replicas"] = "2"
		}
		if s.kafka.BatchBytes > 1<<20 { // Kafka's own limit is 1048588
			t.Config["max.message.bytes"] = strconv.Itoa(s.kafka.BatchBytes + 1024)
		}
		out = append(out, t)
	}
	return out
}

func (s *settings) oneTopic(ctx context.Context, a *sink.Admin, want sink.Topic, apply bool, list *checklist) {
	name := "topic " + want.Name
	is, err := a.Topic(ctx, want.Name)
	if err != nil && apply {
		if err = a.Create(ctx, want); err == nil {
			list.step(name, fmt.Sprintf("made with %d partitions, %s", want.Partitions, settingsOf(want.Config, want.Config)), nil)
			return
		}
	}
	if err != nil {
		list.step(name, "", fmt.Errorf(`%w; "tap topics --apply" makes what is missing`, err))
		return
	}
	list.step(name, fmt.Sprintf("%d partitions, %d of %d replicas in sync, %s", is.Partitions, is.InSync, is.Replicas, settingsOf(is.Config, want.Config)), nil)
	list.step("  may be written to", "", a.MayWrite(ctx, want.Name))
	if err := s.unfit(is); err != nil {
		list.step("  settings", "", err)
	}
}

// settingsOf writes those of a topic's settings that matter here.
func settingsOf(is, of map[string]string) string {
	if is == nil {
		return "settings not known (DescribeConfigs is not granted)"
	}
	names := slices.Sorted(maps.Keys(of))
	for i, n := range names {
		names[i] = n + "=" + cmp.Or(is[n], "?")
	}
	return strings.Join(names, " ")
}

// unfit says what of a topic's settings will lose records or stop them.
func (s *settings) unfit(t sink.Topic) error {
	number := func(name string) int {
		n, _ := strconv.Atoi(t.Config[name])
		return n
	}
	switch {
	case t.Config == nil:
		return nil
	case number("min.insync.replicas") > t.InSync:
		return fmt.Errorf("min.insync.replicas=%d, but a partition has %d in sync: nothing can be written there", number("min.insync.replicas"), t.InSync)
	case number("max.message.bytes") < s.kafka.BatchBytes:
		return fmt.Errorf("max.message.bytes=%d is less than TAP_KAFKA_BATCH_BYTES=%d: a large batch is refused and sent again in parts", number("max.message.bytes"), s.kafka.BatchBytes)
	case t.Config["cleanup.policy"] == "compact" && t.Name != s.kafka.PostureTopic:
		return fmt.Errorf("cleanup.policy=compact keeps only the last record of each edge: findings and flows get lost")
	}
	return nil
}

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

Reports whether the topics exist that "tap run" needs with the same environment, how they are configured, and whether this login
may write to them. With --apply it creates missing topics; it never changes an existing one.

  --apply                 create missing topics
  --partitions=3          partitions of each new topic
  --replication-factor=N  replicas of each new topic; default the brokers' default. From 3 on, min.insync.replicas is 2

New topics keep findings for 30 days, posture, the tap's own state and evidence for 7, flows for 3. If TAP_KAFKA_POSTURE_TOPIC is set, the
topic for posture is compacted too: the last record of each edge is kept while its pod exists. Exit status 1 if something is wrong.

Examples:
  TAP_KAFKA_BROKERS=kafka-0.kafka:9092 tap topics
  TAP_KAFKA_BROKERS=kafka-0.kafka:9092 tap topics --apply --partitions=6
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
	for _, err := range s.kafka.CheckFiles() {
		list.step("files", "", err)
	}
	if _, err := a.Reach(ctx); err != nil { // the same for every topic
		list.step("brokers", "", err)
		return list.result()
	}
	for _, want := range s.wantedTopics(*partitions, *replicas, slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, "TAP_KAFKA_POSTURE_TOPIC=") })) {
		s.checkTopic(ctx, a, want, *apply, list)
	}
	return list.result()
}

// wantedTopics returns the topics, with the configuration that new topics get.
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
		case s.kafka.EvidenceTopic:
			days = 7
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

// checkTopic checks a topic. If the topic is missing and apply is set, it is created.
func (s *settings) checkTopic(ctx context.Context, a *sink.Admin, want sink.Topic, apply bool, list *checklist) {
	name := "topic " + want.Name
	is, err := a.Topic(ctx, want.Name)
	if err != nil && apply {
		if err = a.Create(ctx, want); err == nil {
			list.step(name, fmt.Sprintf("created with %d partitions, %s", want.Partitions, settingsOf(want.Config, want.Config)), nil)
			return
		}
	}

	if sink.IsMissing(err) {
		err = fmt.Errorf(`%w; "tap topics --apply" creates missing topics`, err)
	}
	if err != nil {
		list.step(name, "", err)
		return
	}

	list.step(name, fmt.Sprintf("%d partitions, %d of %d replicas in sync, %s", is.Partitions, is.InSync, is.Replicas, settingsOf(is.Config, want.Config)), nil)
	list.step("  may be written to", "", a.MayWrite(ctx, want.Name))
	if err := s.topicProblem(is); err != nil {
		list.step("  settings", "", err)
	}
}

// settingsOf formats the settings of a topic whose names are in wanted. actual is nil if the settings are unknown.
func settingsOf(actual, wanted map[string]string) string {
	if actual == nil {
		return "settings unknown (DescribeConfigs is not granted)"
	}
	names := slices.Sorted(maps.Keys(wanted))
	for i, n := range names {
		names[i] = n + "=" + cmp.Or(actual[n], "?")
	}
	return strings.Join(names, " ")
}

// topicProblem returns an error if a topic's settings will lose records or prevent writing.
func (s *settings) topicProblem(t sink.Topic) error {
	number := func(name string) int {
		n, _ := strconv.Atoi(t.Config[name])
		return n
	}
	switch {
	case t.Config == nil:
		return nil
	case number("min.insync.replicas") > t.InSync:
		return fmt.Errorf("min.insync.replicas=%d, but a partition has %d replicas in sync: nothing can be written to it", number("min.insync.replicas"), t.InSync)
	case t.Name == s.kafka.EvidenceTopic && number("max.message.bytes") < int(s.EvidenceMax)+messageOverhead:
		return fmt.Errorf("max.message.bytes=%d is too little for TAP_EVIDENCE_FILE_MAX=%d: large files are dropped", number("max.message.bytes"), s.EvidenceMax)
	case number("max.message.bytes") < s.kafka.BatchBytes:
		return fmt.Errorf("max.message.bytes=%d is less than TAP_KAFKA_BATCH_BYTES=%d: a large batch is refused and sent again in parts", number("max.message.bytes"), s.kafka.BatchBytes)
	case t.Config["cleanup.policy"] == "compact" && t.Name != s.kafka.PostureTopic:
		return fmt.Errorf("cleanup.policy=compact keeps only the last record of each edge: findings, flows and evidence are lost")
	}
	return nil
}

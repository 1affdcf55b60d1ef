package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/offline"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
	"github.com/meshtls-tap/meshtls-tap/test/kafka/kafkatest"
)

// TestKafka: the records of a real broker's topics are read once each, up to their ends, from the time of --since, without and with TLS and a login.
func TestKafka(t *testing.T) {
	b := kafkatest.Start(t, "tls", nil, nil)
	topics := []string{"meshtls-tap.posture", "meshtls-tap.findings", "meshtls-tap.flows"}
	b.Create(topics...)
	now := time.Now()
	of := map[string]string{record.DatasetPosture: topics[0], record.DatasetFinding: topics[1], record.DatasetFlow: topics[2]}
	var messages []kafka.Message
	file := capture(t, talk{client: "10.0.0.1", server: "10.0.0.2", port: 8080, plain: true, n: 3}, talk{client: "10.0.0.1", server: "10.0.0.3", port: 8443, auth: capturetest.Presented, n: 2, at: 10})
	flows := 0
	if err := offline.Read(t.Context(), file, nil, func(r *record.Record) {
		at := now.Add(-time.Minute)
		if r.Event.Dataset == record.DatasetFlow && r.Meshtls.Verdict == "plaintext" {
			at = now.Add(-48 * time.Hour)
		}
		if r.Event.Dataset == record.DatasetFlow {
			flows++
		}
		messages = append(messages, kafka.Message{Topic: of[r.Event.Dataset], Key: []byte(r.Event.ID), Value: r.AppendJSON(nil), Time: at})
	}); err != nil {
		t.Fatal(err)
	}
	messages = append(messages, kafka.Message{Topic: topics[0], Value: []byte("no record"), Time: now}, kafka.Message{Topic: topics[0], Key: []byte("gone"), Time: now})
	b.Admin(func(ctx context.Context, c *kafka.Client) error {
		w := kafka.Writer{Addr: c.Addr, Transport: c.Transport, RequiredAcks: kafka.RequireAll, BatchTimeout: 10 * time.Millisecond}
		return errors.Join(w.WriteMessages(ctx, messages...), w.Close())
	})
	read := func(k kafkaFlags, since time.Duration) (n map[string]int, answer, missing string) {
		t.Helper()
		k.topics = append(topics, "meshtls-tap.absent")
		if err := k.check(true); err != nil {
			t.Fatal(err)
		}
		n = map[string]int{}
		g := topology.New(topology.Inventory{})
		notes, list, err := k.read(t.Context(), since, now, func(r *record.Record) { n[r.Event.Dataset]++; g.Add(r) })
		if err != nil {
			t.Fatalf("%v\n%s", err, b.Log())
		}
		if len(notes) != 1 || !strings.Contains(notes[0], "The topic meshtls-tap.absent does not exist") {
			t.Errorf("the absent topic: %v", notes)
		}
		return n, g.Answer(), strings.Join(list, " ")
	}
	n, answer, missing := read(kafkaFlags{brokers: []string{"127.0.0.1:1", b.Plain}}, 0)
	if n[record.DatasetFlow] != flows || !strings.HasPrefix(answer, "1 of 2 edges between workloads carried plaintext") || missing != "1 message in the topics is not a record of meshtls-tap." {
		t.Errorf("%v, %s, %s", n, answer, missing)
	}
	secure := kafkaFlags{brokers: []string{b.TLS}, tls: true, ca: b.CA}
	secure.sasl.Mechanism, secure.sasl.Username, secure.sasl.Password = "scram-sha-512", "tap", "tap-secret"
	if n, _, _ := read(secure, time.Hour); n[record.DatasetFlow] != flows-3 {
		t.Errorf("of the last hour: %v", n)
	}
	if _, _, err := (&kafkaFlags{brokers: []string{b.Plain}, topics: []string{"absent"}}).read(t.Context(), 0, now, nil); err == nil || !strings.Contains(err.Error(), "none of the topics absent exists") {
		t.Errorf("no topic: %v", err)
	}
	if _, _, err := (&kafkaFlags{brokers: []string{"127.0.0.1:1"}, topics: topics}).read(t.Context(), 0, now, nil); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("no broker: %v", err)
	}
}

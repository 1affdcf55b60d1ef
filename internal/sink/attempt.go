package sink

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
)

// attempt sends one batch of the lane, or, when none waits, asks whether it could.
func (k *Kafka) attempt(l *lane) {
	k.tried = k.secrets()
	items := k.queue.take(l.kinds, l.limit, k.batchBytes)
	if len(items) == 0 {
		k.conclude(l, k.probe(l))
		return
	}
	l.used = true
	begun := time.Now()
	failed, err := k.write(l, items)
	l.pace(time.Since(begun), k.cfg.IOTimeout, len(items), k.batchRecords)
	if err == nil {
		k.conclude(l, nil)
		return
	}
	if large, ok := errors.AsType[kafka.MessageTooLargeError](err); ok {
		k.oversize(l, failed, large)
		return
	}
	if reason, ok := perRecord(err); ok {
		k.narrow(l, failed, reason, err)
		return
	}
	k.queue.giveBack(failed)
	k.conclude(l, err)
}

// write sends items, settles those that were acknowledged and returns the others with
// the first error.
func (k *Kafka) write(l *lane, items []item) (failed []item, err error) {
	err = k.writer.WriteMessages(k.life, k.messages(l.topic, items)...)
	if err == nil {
		k.queue.settle(items)
		return nil, nil
	}
	if each, ok := errors.AsType[kafka.WriteErrors](err); ok {
		return k.sort(items, each)
	}
	return items, err
}

// oversize drops the record that made the writer refuse items before it sent anything.
func (k *Kafka) oversize(l *lane, items []item, large kafka.MessageTooLargeError) {
	if i := slices.IndexFunc(items, func(it item) bool { return it.seq == large.Message.WriterData }); i >= 0 {
		k.lose(l, items[i:i+1], DropTooLarge, large)
		items = slices.Delete(items, i, i+1)
	}
	k.queue.giveBack(items)
}

// sort settles the items that have no error and returns the others with the first one.
func (k *Kafka) sort(items []item, errs []error) (failed []item, first error) {
	var sent []item
	for i := range items {
		if errs[i] == nil {
			sent = append(sent, items[i])
			continue
		}
		failed = append(failed, items[i])
		first = cmp.Or(first, errs[i])
	}
	k.queue.settle(sent)
	return failed, first
}

func (k *Kafka) messages(topic string, items []item) []kafka.Message {
	out := make([]kafka.Message, len(items))
	for i := range items {
		it := &items[i]
		out[i] = kafka.Message{
			Topic: topic, Value: it.Value, Time: it.Time, WriterData: it.seq,
			Headers: []kafka.Header{
				{Key: "schema", Value: []byte(k.cfg.Schema)},
				{Key: "content-type", Value: []byte("application/json")},
				{Key: "event-id", Value: []byte(it.ID)},
			},
		}
		if it.Key != "" {
			out[i].Key = []byte(it.Key)
		}
	}
	return out
}

// narrow deals with a batch that was refused for what it holds: smaller batches find the
// record that is to blame, and that one is dropped.
func (k *Kafka) narrow(l *lane, failed []item, reason string, err error) {
	if len(failed) == 1 {
		k.lose(l, failed, reason, err)
		return
	}
	k.queue.giveBack(failed)
	l.limit = max(1, len(failed)/2)
}

func (k *Kafka) lose(l *lane, items []item, reason string, err error) {
	k.queue.lose(items, reason)
	for i := range items {
		k.cfg.Log.Warn("record dropped", "topic", l.topic, "dataset", items[i].Dataset, "event_id", items[i].ID,
			"bytes", len(items[i].Value), "reason", reason, "error", err)
	}
}

// probe asks, without writing, for the lane's topic, and once whether records may be
// written there: else the first alert would find out.
func (k *Kafka) probe(l *lane) error {
	err := k.exists(l.topic)
	if err == nil && !l.tried {
		err = k.mayWrite(l.topic)
		l.tried = err == nil
	}
	return err
}

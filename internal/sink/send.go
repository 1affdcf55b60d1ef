package sink

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
)

// send sends one batch to a topic. If no record waits, it checks the topic instead.
func (k *Kafka) send(t *topic) {
	k.currentSecrets = k.secrets()
	items := k.buffer.Take(t.datasets, t.limit, k.batchBytes)
	if len(items) == 0 {
		k.conclude(t, k.checkTopic(t))
		return
	}

	t.used = true
	begun := time.Now()
	failed, err := k.write(t, items)
	t.adaptBatch(time.Since(begun), k.cfg.IOTimeout, len(items), k.batchRecords)
	if err == nil {
		k.conclude(t, nil)
		return
	}

	if large, ok := errors.AsType[kafka.MessageTooLargeError](err); ok {
		k.dropTooLarge(t, failed, large)
		return
	}
	if reason, ok := perRecord(err); ok {
		k.bisect(t, failed, reason, err)
		return
	}
	k.buffer.Requeue(failed)
	k.conclude(t, err)
}

// write sends items and acknowledges the delivered ones to the buffer. It returns the items that
// were not delivered, and the first error.
func (k *Kafka) write(t *topic, items []buffer.Item) (failed []buffer.Item, err error) {
	err = k.writer.WriteMessages(k.life, k.messages(t.name, items)...)
	if err == nil {
		k.buffer.Ack(items)
		return nil, nil
	}
	if each, ok := errors.AsType[kafka.WriteErrors](err); ok {
		return k.ackDelivered(items, each)
	}
	return items, err
}

// dropTooLarge drops the record that is too large. The writer has refused the whole batch because
// of this record, and has sent nothing.
func (k *Kafka) dropTooLarge(t *topic, items []buffer.Item, large kafka.MessageTooLargeError) {
	if i := slices.IndexFunc(items, func(it buffer.Item) bool { return it.Seq == large.Message.WriterData }); i >= 0 {
		k.drop(t, items[i:i+1], buffer.DropTooLarge, large)
		items = slices.Delete(items, i, i+1)
	}
	k.buffer.Requeue(items)
}

// ackDelivered acknowledges the items without an error. It returns the other items, and the first
// error.
func (k *Kafka) ackDelivered(items []buffer.Item, errs []error) (failed []buffer.Item, first error) {
	var sent []buffer.Item
	for i := range items {
		if errs[i] == nil {
			sent = append(sent, items[i])
			continue
		}
		failed = append(failed, items[i])
		first = cmp.Or(first, errs[i])
	}
	k.buffer.Ack(sent)
	return failed, first
}

func (k *Kafka) messages(topic string, items []buffer.Item) []kafka.Message {
	out := make([]kafka.Message, len(items))
	for i := range items {
		it := &items[i]
		out[i] = kafka.Message{
			Topic: topic, Value: it.Value, Time: it.Time, WriterData: it.Seq,
			Headers: k.headers(it),
		}
		if it.Key != "" {
			out[i].Key = []byte(it.Key)
		}
	}
	return out
}

// headers returns the headers of a record.
func (k *Kafka) headers(it *buffer.Item) []kafka.Header {
	id := kafka.Header{Key: "event-id", Value: []byte(it.ID)}
	if f := it.File; f != nil {
		return []kafka.Header{
			{Key: "content-type", Value: []byte("application/x-pcapng")},
			{Key: "name", Value: []byte(f.Name)},
			{Key: "sha256", Value: []byte(f.SHA256)},
			id,
		}
	}
	return []kafka.Header{{Key: "schema", Value: []byte(k.cfg.Schema)}, {Key: "content-type", Value: []byte("application/json")}, id}
}

// bisect handles a batch that was refused for its content. It halves the batch until it has
// isolated the record that is the cause, and drops that record.
func (k *Kafka) bisect(t *topic, failed []buffer.Item, reason string, err error) {
	if len(failed) == 1 {
		k.drop(t, failed, reason, err)
		return
	}
	k.buffer.Requeue(failed)
	t.limit = max(1, len(failed)/2)
}

// drop drops items and logs each.
func (k *Kafka) drop(t *topic, items []buffer.Item, reason string, err error) {
	k.buffer.Drop(items, reason)
	for i := range items {
		k.cfg.Log.Warn("record dropped", "topic", t.name, "dataset", items[i].Dataset, "event_id", items[i].ID,
			"bytes", len(items[i].Value), "reason", reason, "error", err)
	}
}

// checkTopic checks that a topic exists and, once, that records may be written to it. It writes no
// record. Without this check, a missing permission would be noticed only at the first alert.
func (k *Kafka) checkTopic(t *topic) error {
	err := k.exists(t.name)
	if err == nil && !t.checked {
		err = k.mayWrite(t.name)
		t.checked = err == nil
	}
	return err
}

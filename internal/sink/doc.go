// Package sink delivers finished records: [Kafka] to topics, [JSONLines] as lines to a pipe.
//
// Order of use: create a sink with [NewKafka] or [NewJSONLines]; Put records; Close flushes within its context's deadline and returns how many
// records were left. Put never waits for a broker or for the reader of the pipe. Records wait in a buffer.Buffer, whose bounds apply. Status
// returns the state of delivery at any time, for logs, metrics and /readyz. Put and Status are safe for concurrent use.
//
// Delivery is at least once. Consumers recognize repeated records by the header event-id, or the record's event.id.
//
// [Admin] checks the brokers and creates topics, for `tap check` and `tap topics`.
package sink

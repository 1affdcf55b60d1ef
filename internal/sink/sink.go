// Package sink takes finished records away: to Kafka, or as JSON lines to a pipe.
//
// Both sinks have the same three methods. Put hands a record over: capture never waits for
// a broker or a reader, and for the disk of a spool within bounds; Status says how delivery stands;
// Close flushes within its context's deadline and says how many records were left. In
// front of each stands a bounded Queue: what does not fit is dropped, least telling
// first, and counted. Delivery is at least once: a consumer tells repeats by the
// record's event.id.
package sink

import "time"

// The datasets (event.dataset) that a record can belong to.
const (
	Finding = "meshtls.finding" // an alert
	Posture = "meshtls.posture" // the state of one edge
	Tap     = "meshtls.tap"     // the tap's own state
	Flow    = "meshtls.flow"    // one connection
)

// Message is one finished record.
type Message struct {
	Dataset string    // Finding, Posture, Tap or Flow; any other is refused and counted
	ID      string    // event.id; the same for the same record however often it is sent
	Key     string    // keeps the records of one edge on one partition; may be empty
	Value   []byte    // JSON without a line break; belongs to the sink once it is Put
	Time    time.Time // becomes the Kafka timestamp; brokers refuse what is over an hour ahead
}

// Reasons that records are dropped for, as they stand in Status.Reasons.
const (
	DropQueueFull  = "queue_full"  // the queue was full and the record the least telling one
	DropTooLarge   = "too_large"   // larger than the queue, the request or the broker allows
	DropBadTime    = "bad_time"    // too far from the broker's clock (message.timestamp.*.max.ms)
	DropRejected   = "rejected"    // the broker refused this record for what it holds
	DropClosed     = "closed"      // Put after Close, or the reader of the pipe is gone
	DropBadDataset = "bad_dataset" // Message.Dataset is none of the four

	DropSpoolFull    = "spool_full"    // the spool was full and the record among the least telling ones
	DropSpoolDamaged = "spool_damaged" // a file of the spool was; at least that many are lost
)

// Kinds of faults, as they stand in Status.Fault and in metrics.
const (
	FaultConnection    = "connection"    // no broker at these addresses
	FaultName          = "name"          // a name cannot be resolved
	FaultAdvertised    = "advertised"    // the brokers tell an address that leads nowhere from here
	FaultTimeout       = "timeout"       // no answer in time
	FaultClosed        = "closed"        // the other end closed the connection
	FaultTLS           = "tls"           // certificates, or TLS where there is none and the reverse
	FaultLogin         = "login"         // user, password, token or mechanism
	FaultFile          = "file"          // of a certificate or secret cannot be used
	FaultTopic         = "topic"         // missing, or its name is not valid
	FaultAuthorization = "authorization" // Write or Describe is not granted
	FaultBroker        = "broker"        // it answered with another error
	FaultQuota         = "quota"         // it slows this client down; records are delivered
	FaultOutput        = "output"        // standard output cannot be written to
	FaultOther         = "other"
)

// Status is a snapshot of a sink. Its maps belong to the caller.
type Status struct {
	OK     bool      // the last attempt to deliver succeeded
	Reason string    // one line: why not, and which setting to look at; empty when OK
	Fault  string    // the kind of Reason: one of the Fault constants, empty where there is none
	Since  time.Time // when OK or Reason last changed

	Down        bool // no broker could be reached at the last attempt
	Queued      int  // records accepted, neither delivered nor dropped; includes those being sent
	QueuedBytes int  // what those in memory take, overhead included

	Spooled     int    // those of them that are on disk, and survive the process
	SpoolBytes  int64  // what the spool's files take
	SpoolReason string // one line: why records are not spooled; empty if they are, or need not be
	Recovered   int    // records that an earlier run left in the spool: queued here without a Put

	SpoolRemovals uint64 // times that the spool's folder, or a file in it, was removed while it was in use

	Throttled time.Duration // how long the broker's quotas have made the sink wait

	Delivered map[string]uint64 // by dataset: acknowledged by the broker, or written to the pipe
	Dropped   map[string]uint64 // by dataset
	Reasons   map[string]uint64 // the same drops by reason
	Retries   uint64            // attempts that failed and were, or will be, made again
}

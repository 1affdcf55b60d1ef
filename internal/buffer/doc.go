// Package buffer keeps records between capture and delivery: in a queue in memory, and in a spool on disk if
// configured. It is bounded in records and bytes. A full buffer drops the least important records first, and counts
// them.
//
// Order of use:
//
//   - [New] returns a buffer; [Buffer.Put] adds a record. Put never waits for a receiver. It waits for the spool's disk for a bounded
//     time.
//   - A sender waits for [Buffer.Ready], calls [Buffer.Take] and sends the records. It then passes each record to exactly one call:
//     [Buffer.Ack] if it was delivered, [Buffer.Requeue] if it must be sent again, [Buffer.Drop] if it cannot be delivered. Until then the
//     records count as buffered. Take, Ack, Requeue and Drop must be called from one goroutine. All other methods are safe for concurrent
//     use.
//   - [Buffer.Seal] refuses further records. [Buffer.Close] moves the remaining ones to the spool and releases its folder.
//
// A record in the spool survives the process until it is acknowledged or dropped. Delivery is at least once: after
// SIGKILL, records whose acknowledgement was not yet written are delivered again.
package buffer

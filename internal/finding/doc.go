// Package finding turns judged connections into published records: one for each connection (flow), for each edge and window (posture), for
// each broken rule of an edge (finding), and for the tap itself.
//
// Order of use:
//
//   - [New] makes an [Engine]. Only Config.Emit must be set.
//   - [Engine.Started] publishes the start of the tap. A capture file needs no such record.
//   - [Engine.Add] adds a connection when its verdict has settled, again whenever its judgement changes, and a last time when it has ended.
//   - [Engine.Tick] advances the time: it closes windows and emits heartbeats.
//   - [Engine.Flush] closes the open window at the end. [Engine.Summary] returns the totals of the run, for internal/report.
//
// The record is described by the JSON Schema in the folder schema. The same input gives the same bytes: time is the packets' time, order is
// fixed, and event identities are hashes. An Engine is synchronous, is not safe for concurrent use, and reads no clock but Config.Now.
// Its memory is bounded: live connections by the flow table that feeds it, edges by Config.MaxEdges, and the data of each edge by the number
// of verdicts and rules.
package finding

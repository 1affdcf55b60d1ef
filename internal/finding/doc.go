// Package finding turns judged connections into published records: one for each connection (flow), for each edge and window (posture), for
// each broken rule of an edge (finding), and for the tap itself.
//
// Order of use:
//
//   - [New] makes an [Engine]. Only Config.Emit must be set.
//   - [Engine.Started] once, if the tap's own records are wanted.
//   - [Engine.Add] takes each connection when its verdict is settled, again when that has changed, and a last time when it has ended.
//   - [Engine.Tick] moves the time on: windows end, heartbeats are emitted.
//   - [Engine.Flush] emits what is open at the end. [Engine.Summary] returns what the whole run has seen, for internal/report.
//
// The record is described by the JSON Schema in the folder schema. The same input gives the same bytes: time is the packets' time, order is
// fixed, and event identities are hashes. An Engine is synchronous, is not safe for concurrent use, and reads no clock but Config.Now.
// Everything that it keeps is bounded: live connections by the table that feeds it, edges by Config.MaxEdges, and what is kept for each edge
// by the number of verdicts and rules.
package finding

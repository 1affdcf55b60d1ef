// Package finding turns judged connections into published records: one for each connection (flow), for each edge and window (posture), for
// each broken rule of an edge (finding), and for the tap itself.
//
// Order of use:
//
//   - [New] makes an [Engine]. Only Config.Emit must be set.
//   - [Engine.Mute], [Engine.Expect] and [Engine.Namespace] replace the mutes and the expectations, before the first connection or at any
//     later time.
//   - [Engine.Started] publishes the start of the tap. A capture file needs no such record. `tap check` publishes [Engine.Checked] instead, and nothing
//     else.
//   - [Engine.Add] adds a connection when its verdict has settled, whenever its judgement changes later, and a last time when it has ended.
//   - [Engine.Tick] advances the time: it closes windows and emits heartbeats.
//   - [Engine.Lost] and [Engine.Recovered] publish that an interface is no longer captured, or is captured again; [Engine.Degraded] that the tap
//     sees or delivers less than it should for another reason.
//   - [Engine.Flush] closes the open window at the end; [Engine.Stopped] then publishes the end of the tap. [Engine.Summary] returns the totals of the run, for internal/report.
//
// The JSON Schema in the folder schema describes the records. The same input gives the same bytes, because time is the packets' time, the
// order is fixed, and event identities are hashes. An Engine is synchronous, is not safe for concurrent use, and reads no clock except
// Config.Now. Its memory is bounded. The flow table that feeds the Engine bounds the live connections, Config.MaxEdges bounds the edges, and
// the number of verdicts and rules bounds the data of each edge.
package finding

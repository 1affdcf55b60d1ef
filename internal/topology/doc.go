// Package topology joins the records of many taps to edges between workloads. It resolves addresses to names, joins both ends of
// a connection where both are tapped, and keeps what was not seen apart from what is absent.
//
// Order of use: [New] with an [Inventory], [Graph.Add] for each record in any order, then [Graph.Edges], [Graph.Findings],
// [Graph.Unknown] and [Graph.Answer], as often as needed.
//
// # Counts
//
// One connection may be in several records: a flow, several postures, a finding, each by two taps. Counts are lower bounds, and each connection counts
// at most once, unless records contradict each other. For each verdict the following rules apply:
//
//   - The flows of a tap add up, because each connection has one. Repeated records are recognized by event.id.
//
//   - A posture replaces an earlier one with the same start. Of different posture intervals the largest count applies, because a connection
//     counts in each interval in which it lived.
//
//   - Of the flows, the postures and the findings of a tap the largest count applies.
//
//   - If a tap counts several workloads as one edge, because its client claims the same name for them, each of them has an edge with its flows, and one
//     more edge under the name has the connections of the posture beyond the flows.
//
//   - Of several runs of a tap in one pod the largest count applies, because two taps may run in a pod at the same time. Pods add up.
//
//   - Of the two ends of an edge the larger total applies. Where the ends differ, the weaker verdicts of either end count.
//
//   - Edges and taps beyond the bounds of a Graph are counted together, edges with plaintext last. There no record replaces another one: postures add up,
//     and no finding is retracted.
//
// So a count is never too high (except those of edges that were counted together, as the last rule says, and that of plaintext in them), and plaintext
// that any record reports is always in an edge.
//
// # Names
//
// The taps' identity and the inventory give names to addresses. A ClusterIP stands for the only workload that its service selects, with the
// service's target port; if there are several, it stands for the service. Names from packets are claims of the client and never select a
// workload. Two ends that do not match by name and port are joined if their records have a hash of a connection in common, unless
// the hashes lead to different workloads. An address whose owner has changed stays an address.
//
// Captures have no identity, so a connection that two captures have with different addresses stays on two edges. Unknown says how many there are.
//
// # Trust
//
// A record in the log of a pod ([Graph.AddFrom]) can only be about that pod, and cannot replace or hide one of another pod. Addresses that it claims for its pod do not count against the
// inventory. [Graph.Add] believes the identity in a record: who may write to a topic, or made a file, can speak for any pod. Records with one event.id and other contents all count.
package topology

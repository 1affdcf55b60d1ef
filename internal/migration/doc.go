// Package migration compares two captures or two sets of records of the same workloads,
// before and after a change such as the move from sidecars to an ambient mesh. It returns
// the state of each edge on both sides.
//
// An edge is matched by workload and service. HBONE, the tunnel of ambient meshes, has a
// port of its own and hides the inner destination, so HBONE between two workloads represents
// all services between them. An edge is called kept only if mutual TLS, and nothing
// less, was seen after the change. An unseen edge is not necessarily absent. It is called gone only
// if its source was watched for as long as before the change, and no input was lost.
//
// The package does no I/O except in Side.Read, which reads from its argument. The size of a
// Side is bounded, and records that exceed it are counted.
//
// Order of use: [NewSide] creates a Side for the time before the change, and another one for the time after it.
// [Side.Read] or [Side.Add] adds records to a Side. For a capture, [Side.Captured] sets its start and end. [Compare]
// returns the [Result].
package migration

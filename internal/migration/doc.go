// Package migration compares two captures or two sets of records of the same workloads,
// before and after a change such as the move from sidecars to an ambient mesh. It returns
// the state of each edge on both sides.
//
// An edge is matched by workload and service. HBONE, the tunnel of ambient meshes, has a
// port of its own and hides the inner destination, so HBONE between two workloads represents
// all services between them. An edge keeps mutual TLS only where mutual TLS was seen after
// the change and nothing less. An unseen edge is not necessarily absent: it is called gone
// only where its source was watched for as long as before the change and no input was
// lost.
//
// The package does no I/O except in Side.Read, which reads from its argument. The size of a
// Side is bounded, and records that exceed it are counted.
//
// Order of use: [NewSide] for the time before the change and one for the time after it; [Side.Read] or [Side.Add] takes the records of each,
// and [Side.Captured] the extent of a capture; [Compare] returns the [Result].
package migration

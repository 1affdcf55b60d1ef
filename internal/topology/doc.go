// Package topology joins the records of many taps to edges between workloads. It resolves addresses to names, joins both ends of
// a connection where both are tapped, and keeps what was not seen apart from what is absent.
package topology

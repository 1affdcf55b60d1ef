// Package tapfilter writes the tap's own filters for live interfaces, as classic BPF: [Default] truncates bytes that no dissector reads,
// and [Thin] leaves out most packets of judged connections.
//
// Order of use: Default returns the program of an interface; pcapfilter.And puts a user's expression before it, and a program of Thin
// before both. Only the program of Thin changes with the list of judged connections.
package tapfilter

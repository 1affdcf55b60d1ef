// Package tapfilter has the tap's own filters for live interfaces, as classic BPF: [Default], which truncates packets where no dissector
// looks, and [Thin], which leaves packets of judged connections in the kernel.
//
// Order of use: Default makes the program of an interface; pcapfilter.And puts a user's expression before it, and a program of Thin in
// front of both. Only the program of Thin changes with the list of judged connections.
package tapfilter

// Package wire has the numbers of packets that several packages need, each with its standard, so that they are defined once. It is a
// leaf: it imports nothing of this module, and every stage may import it.
package wire

// Package wire defines the protocol constants that several packages need (IP protocols, TCP flags, EtherTypes, link types, TLS content
// types), each with its standard. It is a leaf: it imports nothing of this module, and every stage may import it.
package wire

// Package dissect turns the bytes of a connection into a [Session], which shows the protocol and the plaintext part of its handshake.
//
// Order of use, for each connection:
//
//   - [Pool.New] returns a session that shares buffers with others; [New] returns one without a Pool. [Session.Midstream] and
//     [Session.SetSource] come before the first bytes, if they apply.
//   - [Session.Data] processes the bytes of a direction in order, and [Session.Datagram] a datagram. [Session.Truncated] and [Session.Skip]
//     note bytes that are unknown, and [Session.Closed] a FIN or RST.
//   - [Session.Revision] changes whenever a judgement may change. [Session.Kind], [Session.TLS] and [Session.HTTP] return what is known.
//   - [Session.Finish] ends the examination of a session: it releases the buffers and only follows the TLS records, because plaintext may
//     follow them ([Session.After]). [Session.Conclude] decides the kinds that are still undecided at the end of a connection.
//   - [Session.Drop] returns the session to its Pool.
//
// The package is pure: no clock, no I/O, no goroutines. Input is hostile: every read is checked for length, every buffer is bounded, and a
// panic costs one connection ([Session.Failed]), never the process. A Session is not safe for concurrent use; neither is a Pool.
package dissect

// Package dissect turns the bytes of a connection into a [Session]: which protocol is spoken, and what its handshake shows in plaintext.
//
// Order of use, for each connection:
//
//   - [Pool.New] returns a session that shares buffers with others; [New] one without a Pool. [Session.Midstream] and [Session.SetSource]
//     come before the first bytes, where they apply.
//   - [Session.Data] takes the bytes of a direction in order, [Session.Datagram] a datagram, [Session.Cut] and [Session.Skip] bytes that are
//     not known, [Session.Closed] a FIN or RST.
//   - [Session.Revision] changes whenever a judgement may change. [Session.Kind], [Session.TLS] and [Session.HTTP] return what is known.
//   - [Session.Finish] is for a session of which nothing more is needed: it frees the buffers and only follows the TLS records, because
//     plaintext may follow them ([Session.After]). [Session.Conclude] decides what is open at the end of a connection.
//   - [Session.Drop] returns the session to its Pool.
//
// The package is pure: no clock, no I/O, no goroutines. Input is hostile: every read is checked for length, every buffer is bounded, and a
// panic costs one connection ([Session.Failed]), never the process. A Session is not safe for concurrent use; neither is a Pool.
package dissect

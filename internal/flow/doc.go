// Package flow decodes packets, keeps the bounded table of connections, and puts the bytes of each direction in order.
//
// Order of use:
//
//   - [NewTable] returns a table that calls a [Handler].
//   - [Table.Add] processes one packet. It calls Handler.Data for payload in order, Changed for a FIN or RST, and End once when the
//     connection leaves the table. A handler keeps its own state of a connection in Conn.User.
//   - [Table.Tick] advances packet time where no packets arrive: gaps and idle connections expire.
//   - [Table.Done] marks a connection as judged: it is then among the first to be evicted.
//   - [Table.Shed] evicts a connection when the handler needs memory. The handler must not call it.
//   - [Table.Flush] ends all connections.
//
// A connection has an originator, a responder and a state, named as in Zeek's conn.log. Time is the packets' time:
// nothing here reads a clock. A Table is not safe for concurrent use.
package flow

// Package pipeline turns packets into records. It finds the connection of each packet, passes the bytes to the connection's
// session, judges the connection and passes the judgement to the engine that makes records:
//
//	packets > flow.Table > dissect.Session > verdict.Judge > finding.Engine > records
//
// Live captures and capture files both use it. No other package knows the order in which these packages are called.
//
// # Order of use
//
//  1. [New] connects the stages.
//  2. [Locked.AddInterface] adds an interface by name; its result is for flow.Packet.Interface.
//  3. [Pipeline.Add] adds packets in the order of their capture, one or more at a time. It passes records to finding.Config.Emit
//     before it returns. A live capture also calls [Locked.Tick] while there are no packets.
//  4. [Pipeline.Flush] ends the connections at the end of a capture. The pipeline can be used again for another capture.
//  5. finding.Engine.Flush (by [Locked].Engine) closes the open window.
//
// A Pipeline has one lock. Add and Flush take it, and [Pipeline.Do] takes it for everything else: its argument, a Locked, is a
// pipeline whose lock is held. The functions of a [Config] are called with the lock held and must not call the Pipeline.
//
// # The life of a connection
//
// States and ends have the names of package flow, which are Zeek's.
//
//   - The first packet creates a flow.Conn. If the connection never has payload, it is judged only at its end, as verdict.None.
//   - The first payload starts a dissect.Session. Payload, FIN and RST are passed to the session in order. Each one that may
//     affect the verdict causes a judgement.
//   - Once the verdict has settled it is passed to the engine, and again whenever it changes: plaintext may follow TLS.
//   - Once further bytes of the session cannot change the verdict, the session is finished and only its verdict.Conclusion is
//     kept, some 110 bytes. Then a segment that holds only TLS records advances the offset in the stream and does nothing else.
//     Any other segment resumes the session.
//   - A connection ends when both sides have closed it, after an RST, after an idle time, when its ports are reused, at the end
//     of the capture, or when it is evicted. It is then judged for the last time. An evicted connection continues unseen, so
//     its end implies nothing.
//
// A panic caused by a packet is contained: all connections are evicted, and the next packet starts with an empty table.
package pipeline

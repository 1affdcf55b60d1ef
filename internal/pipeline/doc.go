// Package pipeline turns packets into records. It finds the connection of each packet, reads what its bytes say, judges the
// connection and reports the judgement to the engine that makes records:
//
//	packets > flow.Table > dissect.Session > verdict.Judge > finding.Engine > records
//
// It is for whoever has packets, live or from a file, and the only place that knows in which order these packages are called.
//
// # Order of use
//
//  1. New wires the stages.
//  2. Locked.AddInterface names the interfaces; its result goes into flow.Packet.Interface.
//  3. Pipeline.Add takes packets in the order of their capture, some at a time. Records are handed to finding.Config.Emit
//     before it returns. A live capture also calls Locked.Tick while no packet comes.
//  4. Pipeline.Flush ends the connections when the capture is over. The pipeline can be used on, for another capture.
//  5. finding.Engine.Flush (by Locked.Engine) closes the window that is open.
//
// A Pipeline has one lock. Add and Flush take it, and Do takes it for everything else: its argument, a Locked, is a pipeline
// whose lock is held. The functions of a Config are called with the lock held and must not call the Pipeline.
//
// # The life of a connection
//
// The names of states and of ends are those of package flow, which are Zeek's.
//
//   - The first packet creates a flow.Conn. It is judged only at its end, as verdict.None, if it never has payload.
//   - The first payload begins a dissect.Session. Payload, FIN and RST go to the session in order; each time that they may
//     matter for the verdict the connection is judged.
//   - Once the verdict has settled the engine is told, and again whenever it changes: plaintext may follow TLS.
//   - Once further bytes would add nothing, the session is finished and only its verdict.Conclusion is kept, some 110 bytes. From
//     then on a segment with nothing but TLS records only moves the place in the stream. Anything else resumes the session.
//   - A connection ends when both sides have closed it, after a RST, after an idle time, when its ports are used again, when
//     the capture is over, or when it is evicted. It is judged for the last time; nothing is concluded from how an evicted
//     connection ended, since it goes on.
//
// A panic caused by a packet is contained: the connections in the table are evicted, and the next packet finds an empty one.
package pipeline

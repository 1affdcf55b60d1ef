package flow

// State is a connection's state as Zeek's conn.log names it
// (https://docs.zeek.org/en/master/scripts/base/protocols/conn/main.zeek.html).
type State uint8

// The states.
const (
	OTH    State = iota // no SYN seen, midstream traffic
	S0                  // attempt seen, no reply
	S1                  // established, not terminated
	SF                  // normal establishment and termination
	REJ                 // attempt rejected
	S2                  // established, close attempt by the originator seen, no reply
	S3                  // established, close attempt by the responder seen, no reply
	RSTO                // established, originator aborted
	RSTR                // responder aborted
	RSTOS0              // originator sent a SYN and then a RST, no SYN-ACK seen
	RSTRH               // responder sent a SYN-ACK and then a RST, no SYN seen
	SH                  // originator sent a SYN and then a FIN, no SYN-ACK seen
	SHR                 // responder sent a SYN-ACK and then a FIN, no SYN seen
)

var stateNames = [...]string{"OTH", "S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR"}

// String returns Zeek's name of the state.
func (s State) String() string { return stateNames[s] }

// EndReason is why a connection left the table.
type EndReason uint8

// The reasons.
const (
	EndClosed  EndReason = iota // both sides sent a FIN or one sent a RST, and the linger time is over
	EndReused                   // a new connection uses the same addresses and ports
	EndIdle                     // no packet arrived during the idle timeout
	EndEvicted                  // the table was full, or the Handler needed memory (Shed)
	EndFlush                    // the capture ended
)

package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// In TLS 1.3 a refusal, a close_notify and application data of two bytes are records of the same size. A server
// that sends neither other data nor tickets (syslog, RFC 5425) shows nothing else. So such a record counts as a
// refusal only under two conditions: nothing indicates that the connection continued, and if it had continued,
// tickets or unread data would have shown this.

const (
	// refusalRecords and refusalBytes bound how much a client sends after its flight before it learns of the refusal.
	// A server that refuses stops reading, so its host acknowledges no more than the initial receive window (64 KiB).
	refusalRecords = 8
	refusalBytes   = 64 << 10
	// refusalTime bounds the age of a connection at the time of a refusal, in nanoseconds.
	refusalTime = 5e9
	// refusalDelay bounds the time from the client's flight to the refusal, and from the refusal to the server's
	// close, in nanoseconds.
	refusalDelay = 1e9
)

// served reports whether a refusal is impossible, because the client sent too much after its flight, or because
// the connection lasted too long. end is the offset at which the flight ends.
func served(t *dissect.TLS, end int64, e ends) bool {
	r, _ := t.Records(t.Client)
	n, most := 0, end
	for _, x := range r {
		if x.End > end {
			n, most = n+1, x.End
		}
	}
	return n > refusalRecords || most-end > refusalBytes || t.More(t.Client) > 0 || e.lasted > refusalTime
}

// clientFinished returns the size of the client's Finished, the last record of its flight; -1 if unknown. end is
// the offset at which the flight ends.
func clientFinished(r []dissect.TLSRecord, end int64, s suite) int {
	for _, x := range r {
		for _, d := range s.senders() {
			if x.End == end && x.Length == d.finished {
				return x.Length
			}
		}
	}
	return -1
}

// reactsToEnd reports whether the server's record i may be a reaction to the client's close: the record
// follows the client's FIN or RST, or acknowledges the FIN, or the last record after the client's flight that
// it acknowledges may be an alert. end is the offset at which the flight ends. A client that pads its flight
// also pads its alerts, so the sizes of the flight's records are compared too.
func (f *serverFlight) reactsToEnd(i int, end int64, s suite, e ends) bool {
	ack := f.records[i].Ack
	if n, ended := f.t.BeforeEnd(f.t.Client.Other()); ended && (i >= n || ack > e.sent) {
		return true
	}

	r, _ := f.t.Records(f.t.Client)
	last := -1
	var buffer [4]int
	flight := buffer[:0]
	for k, x := range r {
		switch {
		case x.End <= f.t.ClientHelloEnd || x.End > ack:
		case x.End <= end:
			if len(flight) < cap(flight)-1 {
				flight = append(flight, x.Length)
			}
		default:
			last = k
		}
	}
	if last < 0 {
		return false
	}

	n := r[last].Length
	return s.isAlert(n, clientFinished(r, end, s)) || len(flight) > 0 && s.block(append(flight, n)) > 0
}

// mayRefuse reports whether the alert-sized records after the client's flight may be a refusal. They must have
// come at once and in one packet, the server must have closed at once, and the client must not have continued. Two
// such records in separate packets may be a small response and a close_notify, although GnuTLS also refuses in
// that form. end is the offset at which the flight ends.
func (f *serverFlight) mayRefuse(a *reaction, end int64, s suite) bool {
	if a.parted || f.t.ClosedAt(f.t.Client.Other())-a.alert.Time > refusalDelay {
		return false
	}

	r, _ := f.t.Records(f.t.Client)
	finished := clientFinished(r, end, s)
	n, _ := f.t.BeforeEnd(f.t.Client)
	before, after := false, false
	for _, x := range r[:min(n, len(r))] {
		switch {
		case x.End <= end:
			if x.End == end && a.alert.Time-x.Time > refusalDelay {
				return false
			}
		case x.Ack < a.alert.End:
			before = true
		case !s.isAlert(x.Length, finished):
			after = true
		}
	}
	return !before || !after // the client may send its first request before it reads the alert, although its host has acknowledged the alert
}

// refused reports whether records that may be a refusal (mayRefuse) count as one. They do if the server sent them
// before it had the whole client flight, which ends at end. Otherwise three conditions must be met. The server
// owed tickets. It closed before the client sent anything after the flight to which the server might have reacted:
// a request, a close_notify or a FIN. And it closed by a FIN: the acknowledgement number of a RST is ignored, so
// the capture may lack data before the RST.
func (f *serverFlight) refused(a *reaction, end int64, e ends) bool {
	if a.alert.Ack != end {
		return a.alert.Ack < end
	}
	r, _ := f.t.Records(f.t.Client)
	n, _ := f.t.BeforeEnd(f.t.Client)
	n = min(n, len(r))
	return owesTickets(f.t) && e.first.server && !e.first.reset && n > 0 && r[n-1].End <= end
}

// owesTickets reports whether a server that accepts the client usually sends a ticket before anything else. It may send
// none to a client without the extension psk_key_exchange_modes (RFC 8446, section 4.2.9), such as Go's without a
// session cache.
func owesTickets(t *dissect.TLS) bool { return t.Hello != nil && t.Hello.TakesTickets() }

// leftOpen reports whether the handshake may have been complete, for a connection that ended and in which the
// server sent no record after the client's flight. Either end may close right after a complete handshake.
func leftOpen(t *dissect.TLS, f *flight, end int64, e ends) bool {
	return !f.hollow && !f.refuses || served(t, end, e)
}

// closedAtOnce reports whether the server closed first, and did so within the time of a refusal after the client's
// flight. end is the offset at which the flight ends.
func closedAtOnce(t *dissect.TLS, end int64, e ends) bool {
	r, _ := t.Records(t.Client)
	for _, x := range r {
		if x.End == end {
			return e.first.server && t.ClosedAt(t.Client.Other())-x.Time <= refusalDelay && !served(t, end, e)
		}
	}
	return false
}

package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// In TLS 1.3 a refusal, a close_notify and an answer of two bytes are records of the same
// size. A server that sends neither other data nor tickets (syslog, RFC 5425) shows nothing
// else. Its record is a refusal only where nothing speaks for a session that went on, and
// where a session would have shown itself: by tickets, or by what was left unread.

const (
	// refusalRecords and refusalBytes are how much a client sends past its flight, at most,
	// before it learns that it was refused. A server that refuses reads no more, so what its
	// host acknowledges stays within the receive window that it began with (64 KiB).
	refusalRecords = 8
	refusalBytes   = 64 << 10
	// refusalTime is how long a connection lasts, at most, until the server has refused the
	// client, in nanoseconds.
	refusalTime = 5e9
	// refusalDelay is how long after the client's flight the server refuses it, at most, and
	// how long after that it closes, in nanoseconds.
	refusalDelay = 1e9
)

// served reports whether the client sent more past its flight, which ends at end, or the
// connection lasted longer, than where the server refuses.
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

// clientFinished returns the size of the client's Finished, the last record of its flight,
// which ends at end: -1 where that is not known.
func clientFinished(r []dissect.Record, end int64, s suite) int {
	for _, x := range r {
		for _, d := range s.senders() {
			if x.End == end && x.Length == d.finished {
				return x.Length
			}
		}
	}
	return -1
}

// reactsToEnd reports whether the server's record with the given index answers the end of
// the client's stream: it came after the client's FIN or acknowledges it, or it
// acknowledges as the client's last record one that may be an alert itself. end is where
// the client's flight ends. Where that flight is padded, so are alerts.
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

// mayRefuse reports whether the alert-sized records of an answer to the client's flight, which
// ends at end, may be a refusal as far as the wire shows: they came at once and in one packet,
// the server closed at once, and the client did not go on. Two in packets of their own may
// be a small answer and a close_notify. GnuTLS refuses like that too.
func (f *serverFlight) mayRefuse(a *reaction, end int64, s suite) bool {
	if a.parted || f.t.ClosedAt(f.t.Client.Other())-a.alert.Time > refusalDelay {
		return false
	}
	r, _ := f.t.Records(f.t.Client)
	finished := clientFinished(r, end, s)
	n, _ := f.t.BeforeEnd(f.t.Client)
	before, behind := false, false
	for _, x := range r[:min(n, len(r))] {
		switch {
		case x.End <= end:
			if x.End == end && a.alert.Time-x.Time > refusalDelay {
				return false
			}
		case x.Ack < a.alert.End:
			before = true
		case !s.isAlert(x.Length, finished):
			behind = true
		}
	}
	return !before || !behind // a client that has not asked yet may do so before it reads the alert
}

// refused reports whether an answer that may be a refusal (mayRefuse) is taken for one. It is
// one where the server sent it before it had all of the client's flight, which ends at end.
// Else the server owed tickets, and closed before anything followed the flight that it
// may have answered or waited for: a request, a close_notify or a FIN. It closed by a FIN: the
// acknowledgement number of a RST is ignored, so the capture may lack data before it.
func (f *serverFlight) refused(a *reaction, end int64, e ends) bool {
	if a.alert.Ack != end {
		return a.alert.Ack < end
	}
	r, _ := f.t.Records(f.t.Client)
	n, _ := f.t.BeforeEnd(f.t.Client)
	n = min(n, len(r))
	return owesTickets(f.t) && e.first.server && !e.first.reset && n > 0 && r[n-1].End <= end
}

// owesTickets reports whether a server that accepts the client mostly sends it a ticket right
// after its flight, before all else. It may send none to a client that does not say how it
// would use one (RFC 8446, section 4.2.9), such as Go's without a cache of sessions.
func owesTickets(t *dissect.TLS) bool { return t.Hello != nil && t.Hello.TakesTickets() }

// leftOpen reports whether a connection that ended without an answer to the client's flight
// may have been a whole handshake: an end that closes after one may have wanted no more.
func leftOpen(t *dissect.TLS, f *flight, end int64, e ends) bool {
	return !f.hollow && !f.refuses || served(t, end, e)
}

// closedAtOnce reports whether the server was the first to end a connection, within the time
// of a refusal after the client's flight, which ends at end.
func closedAtOnce(t *dissect.TLS, end int64, e ends) bool {
	r, _ := t.Records(t.Client)
	for _, x := range r {
		if x.End == end {
			return e.first.server && t.ClosedAt(t.Client.Other())-x.Time <= refusalDelay && !served(t, end, e)
		}
	}
	return false
}

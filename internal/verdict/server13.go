package verdict

import (
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// serverFlight holds the server's protected TLS records and the facts that their sizes show.
type serverFlight struct {
	t        *dissect.TLS
	records  []dissect.TLSRecord
	complete bool   // no record of the server was lost
	last     int    // index of the record with the server's Finished, or the earliest that may have it
	most     int    // like last, but by all records of the server, regardless of their acknowledgements
	request  string // withRequest, withoutRequest, or empty if unknown
	own      int    // length of the record with the server's Finished, -1 if the server's flight was not understood
	unit     int    // the greatest common divisor of the sizes (content, type and padding) of its first records
	block    int    // the block size to which the server pads its records, 0 if none
}

const (
	withRequest    = "server_flight_with_request"
	withoutRequest = "server_flight_without_request"
)

// readServer reads the server's flight: the server's records that do not yet acknowledge the client's flight. end
// is the offset at which the client's flight ends, 0 if unknown.
func readServer(t *dissect.TLS, s suite, end int64) serverFlight {
	r, complete := t.Records(t.Client.Other())
	var buffer [4]int
	first := lengths(buffer[:0], t, t.Client.Other(), r)
	f := serverFlight{t: t, records: r, complete: complete, own: -1, unit: s.unit(first), block: s.block(first)}

	if end > 0 {
		if i := slices.IndexFunc(r, func(r dissect.TLSRecord) bool { return r.Ack >= end }); i >= 0 {
			r = r[:i]
		}
	}

	f.last, f.request = f.read(r, s)
	if f.most = f.last; len(r) < len(f.records) {
		f.most, _ = f.read(f.records, s)
	}

	if f.last > 0 {
		f.own = f.records[f.last].Length
	}
	return f
}

// read searches the records for the Finished of each kind of sender. last is 0 if none fits.
func (f *serverFlight) read(r []dissect.TLSRecord, s suite) (last int, request string) {
	for _, d := range s.senders() {
		if last, request = f.finished(r, s, d); last > 0 {
			break
		}
	}
	return last, request
}

// finished searches for the server's Finished in a record of its own. It directly follows the CertificateVerify
// or, in a resumption, the EncryptedExtensions. A flight of four messages has EncryptedExtensions, Certificate,
// CertificateVerify and Finished; a fifth message is a CertificateRequest. A message that fills its record
// continues in the next one. s has the sizes of the suite for a sender that does not pad. d has the suite's sizes
// for the kind of sender that is tried.
func (f *serverFlight) finished(r []dissect.TLSRecord, s, d suite) (last int, request string) {
	if !d.fits(r) {
		return 0, ""
	}
	if f.t.Server.PSK {
		if len(r) > 1 && r[1].Length == d.finished {
			return 1, ""
		}
		return 0, ""
	}

	var m messages
	for k, x := range r {
		if x.Length == d.finished && m.open == 0 && m.n >= 3 && signed(m.last, d.slack) {
			return k, m.request()
		}
		m.add(x.Length-d.over, fillsRecord(x.Length, s, f.t.Hello))
	}
	return 0, ""
}

// messages are the messages of a server's flight so far, each in records of its own.
type messages struct {
	n             int // number of complete messages
	second, third int // bytes of the second and third message
	last          int // bytes of the latest message
	open          int // bytes so far of a message that continues in the next record
}

// add adds the content of a record; more reports that the message continues in the next record.
func (m *messages) add(content int, more bool) {
	m.open += content
	if more {
		return
	}
	switch m.n++; m.n {
	case 2:
		m.second = m.open
	case 3:
		m.third = m.open
	}
	m.last, m.open = m.open, 0
}

// request returns the value of serverFlight.request for the messages before a Finished.
func (m *messages) request() string {
	switch {
	case m.n == 3:
		return withoutRequest
	case m.n == 4 && m.second < m.third:
		return withRequest
	}
	return ""
}

// mayLackRequest reports whether the server's flight may have no CertificateRequest although its sizes look like a
// flight with one. This happens if the server fragments its flight by a limit of its own, or pads it. The client's
// sizes then prove nothing. The flight consists of the server's records before the one that acknowledges the first
// end bytes of the client's stream. A flight in one record, or in records of the largest size that the protocol
// allows, cannot be checked.
func (f *serverFlight) mayLackRequest(end int64, s suite) bool {
	r := f.records
	if i := slices.IndexFunc(r, func(r dissect.TLSRecord) bool { return r.Ack >= end }); i >= 0 {
		r = r[:i]
	}
	for len(r) > 0 && r[0].Length-s.over == 1<<14 {
		r = r[1:]
	}

	switch last, _ := f.read(r, s); {
	case len(r) < 2:
		return false
	case f.block > 0: // the first fragment of a Certificate is the larger one
		return len(r) != 5 || r[1].Length >= r[2].Length
	case last == 0:
		return true
	}

	for _, d := range s.senders() {
		for k := 3; k < len(r) && d.fits(r); k++ {
			if r[k].Length == d.finished && splitInFour(r[:k], d) {
				return true
			}
		}
	}
	return false
}

// splitInFour reports whether the records before a Finished can be EncryptedExtensions, Certificate and
// CertificateVerify, fragmented by a limit: all fragments of a message except the last are as long as the largest
// record.
func splitInFour(r []dissect.TLSRecord, s suite) bool {
	limit := 0
	for _, x := range r {
		limit = max(limit, x.Length)
	}
	verify := 0 // bytes of the CertificateVerify, if it begins with record j
	for j := len(r) - 1; j > 1; j-- {
		if j < len(r)-1 && r[j].Length != limit {
			return false
		}
		if verify += r[j].Length - s.over; !signed(verify, s.slack*(len(r)-j)) {
			continue
		}
		ends := 0 // number of messages that certainly end before record j-1
		for _, x := range r[:j-1] {
			if x.Length != limit {
				ends++
			}
		}
		if ends <= 1 {
			return true
		}
	}
	return false
}

// reaction describes the server's records after the client's flight: how many of them have the size of an alert,
// how many may be anything, and whether there is certainly more than an alert.
type reaction struct {
	alerts, unclear int
	data            bool
	parted          bool              // the alerts came in several packets
	alert           dissect.TLSRecord // the latest of the alerts
	farewell        bool              // the alert is a reaction to the client's own close: it is a close_notify, or equivalent to one
}

// maxRefusal is the maximum number of records with which a server refuses a client, with a margin.
const maxRefusal = 3

// reaction examines the server's records after the client's flight. end is the offset at which that flight
// ends. The server's own flight does not count. If the server pads its records to one block, a record of
// one block may be anything.
func (f *serverFlight) reaction(end int64, s suite, e ends) (a reaction) {
	if len(f.records) > 0 && f.records[0].Ack >= end {
		return a // its flight cannot have followed the client's: acknowledgements are not reliable here
	}

	least, blocks := f.least(s)
	for i, r := range f.records {
		if i <= max(f.last, f.most) {
			continue
		}
		alert := f.block == 0 && !blocks && s.isAlert(r.Length, f.own)
		switch {
		case alert && r.Ack > f.t.ClientHelloEnd+changeCipherSpec: // the server may refuse the part of the client's flight that has arrived
			a.parted = a.parted || a.alerts > 0 && (r.Ack != a.alert.Ack || r.Time != a.alert.Time)
			a.alerts, a.alert = a.alerts+1, r
			a.farewell = a.farewell || f.reactsToEnd(i, end, s, e)
		case alert, r.Ack < end:
		case r.Length <= least || f.block > 0 && r.Length <= f.block+s.over || !confirmed(f.t, f.t.Client.Other(), f.records, i):
			a.unclear++
		default:
			a.data = true
		}
	}
	a.data = a.data || a.unclear > maxRefusal
	return a
}

// least returns the size of the largest record of the server that may be an alert. blocks reports whether the server
// pads as Mbed TLS does, so that up to 15 bytes of data look like an alert. A server whose records do not match a known
// sender may pad to any block that fits its first records.
func (f *serverFlight) least(s suite) (n int, blocks bool) {
	n = s.alert
	for _, d := range s.senders() {
		switch {
		case f.own != d.finished:
		case d.slack == 0:
			return d.alert, false
		default:
			n, blocks = d.alert, true
		}
	}
	if f.unit > 0 && f.unit < leastBlock {
		n = max(n, s.over-1+(s.alert-s.over+f.unit)/f.unit*f.unit)
	}
	return n, blocks
}

// spokeBefore reports whether the server sent more than its flight before it acknowledged the client's flight. RFC
// 8446, section 4.4.4 allows such 0.5-RTT data. end is the offset at which the client's flight ends.
func (f *serverFlight) spokeBefore(end int64) bool {
	return f.last+1 < len(f.records) && f.records[f.last+1].Ack < end
}

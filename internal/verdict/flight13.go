package verdict

import (
	"cmp"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// flight is the meaning of the client's first protected TLS records.
type flight struct {
	records []dissect.TLSRecord
	auth    string // AuthUnknown if the records match no known flight
	end     int64  // stream offset right after the Finished, 0 if unknown
	soonest int64  // stream offset right after the flight, if the flight may be shorter than it seems; otherwise 0
	last    int    // index of the record with the Finished
	firm    bool   // more TLS records cannot change the meaning
	hollow  bool   // the flight is, so far, an empty Certificate without a Finished
	refuses bool   // the flight is only an alert: the client refuses the server
	later   bool   // the server may still ask for a certificate
	twice   bool   // another record of a Finished's size follows
	doubted bool   // the sizes look like a certificate, but prove nothing because the server fragments its flight
	split   bool   // Certificate, CertificateVerify and Finished are in records of their own
	chain   int    // inferred bytes of the client's chain, 0 if unknown
	hint    string
	reason  []string
}

// secondFlight returns the protected TLS records of the client's second flight, or the reason for their absence. A
// client that offers no early data (RFC 8446, section 4.2.10) sends no protected records before that flight. If it
// offers early data, the flight begins with the first record whose packet acknowledges the whole ServerHello. The
// ChangeCipherSpec cannot mark the start: it may be missing, early, or between two hellos. The order of the
// packets in the capture cannot mark the start either.
func secondFlight(t *dissect.TLS) (records []dissect.TLSRecord, why string) {
	all, complete := t.Records(t.Client)
	early := t.Hello == nil || t.Hello.EarlyData()
	for len(all) > 0 && all[0].End <= t.ClientHelloEnd {
		all = all[1:] // early data between two ClientHellos
	}

	for i, r := range all {
		switch {
		case r.Ack >= t.ServerHelloEnd, !early && r.Ack < 0:
			return contiguous(all[i:], t.ClientHelloEnd, early, alertsOf(t, t.Client))
		case !early || r.Ack < 0:
			return nil, "unacknowledged_flight"
		}
	}
	switch {
	case !complete:
		return nil, "missed_bytes"
	case len(all) > 0:
		return nil, "unacknowledged_flight"
	}
	return nil, "no_client_flight"
}

// changeCipherSpec is the size in bytes of a ChangeCipherSpec record. A client may send no other unprotected record in
// its second flight.
const changeCipherSpec = wire.RecordHeader + 1

// contiguous returns the leading records that follow each other directly. Only a ChangeCipherSpec may be between
// two records, because no other unprotected record belongs there. from is the offset at which the ClientHello
// ends. Before the first record there may be early data if early is set. There may also be plaintext alerts, at
// most alerts of them, because servers ignore user_canceled (RFC 8446, section 6.1).
func contiguous(all []dissect.TLSRecord, from int64, early bool, alerts int) ([]dissect.TLSRecord, string) {
	for i, r := range all {
		between := r.End - int64(r.Length) - wire.RecordHeader - from
		if !unprotected(between, alerts) && (i > 0 || !early) {
			if i == 0 {
				return nil, "unexpected_record"
			}
			return all[:i], ""
		}
		from, alerts = r.End, 0
	}
	return all, ""
}

// paddingReasons are the reasons that name the padding of records, by the index in the result of senders.
var paddingReasons = [...]string{"", "padded_16", "padded_to_16"}

// readFlight compares the sizes of the client's TLS records with those of known flights.
func readFlight(r []dissect.TLSRecord, s suite, t *dissect.TLS) flight {
	f := flight{records: r, auth: AuthUnknown}
	first := r[0].Length
	for i, d := range s.senders() {
		if !d.fits(r) {
			continue
		}
		if i > 0 {
			f.reason = []string{paddingReasons[i]}
		}
		switch {
		case first == d.finished && (d.slack == 0 || !limited(t.Hello)): // a padded record of a limited client may hold only a part of a message
			f.set(AuthNotRequested, 0, "finished_only_flight")
			f.twice = len(r) > 1 && (r[1].Length == s.finished || r[1].Length == s.finished+jssePadding || r[1].Length == d.finished)
			return f
		case first == d.finished+emptyCertificate && !splits(t.Hello):
			f.set(AuthDeclined, 0, "empty_certificate_flight")
			return f
		case first == d.empty && len(r) == 1 && d.empty == d.alert:
			f.refuses, f.reason = true, []string{"alert_sized_record"}
			return f
		case first == d.empty && len(r) == 1:
			f.hollow = true
			f.reason = []string{"unrecognized_client_flight"}
			return f
		case first == d.empty && r[1].Length == d.finished:
			f.set(AuthDeclined, 1, "empty_certificate_flight")
			return f
		case f.readSplit(d, t):
			return f
		}
	}

	f.reason = nil
	f.readCoalesced(s, t)
	return f
}

// set sets the meaning of a flight whose Finished is in the record with index last.
func (f *flight) set(auth string, last int, reason string) {
	f.auth, f.end, f.last, f.firm = auth, f.records[last].End, last, true
	f.reason = append(f.reason, reason)
}

// leastCertificate returns the size in bytes of the smallest record that holds a Certificate with one entry.
func leastCertificate(s suite, hello *tlsmsg.ClientHello) int {
	const clientCertificateType = 19 // RFC 7250
	switch {
	case hello == nil || hello.Has(clientCertificateType):
		return s.over + emptyCertificate + entryOver + leastRaw
	case hello.CertificateCompression():
		return s.over + leastCompressed
	}
	return s.over + emptyCertificate + entryOver + leastX509
}

// maxSplit bounds the records in which a Certificate and its CertificateVerify are searched: enough for a chain of 16
// KiB in records of 512 bytes.
const maxSplit = 40

// readSplit searches for a Certificate, a CertificateVerify and a Finished in records of their own. A Certificate may
// take several records; if the sender keeps records small, its CertificateVerify may too.
func (f *flight) readSplit(s suite, t *dissect.TLS) bool {
	r := f.records
	if r[0].Length <= s.finished+emptyCertificate {
		return false
	}
	sum := r[0].Length
	for k := 1; k < min(len(r), maxSplit); k++ {
		n := r[k].Length
		switch n {
		case s.empty, s.finished + emptyCertificate:
			return false // an empty Certificate: the records before it were something else
		case s.finished:
			return f.isSplit(s, t, k, sum)
		}
		sum += n
	}
	return false
}

// isSplit reports whether the k records before a Finished, of sum bytes in total, hold a Certificate and a
// CertificateVerify. If so, it sets the meaning of the flight.
func (f *flight) isSplit(s suite, t *dissect.TLS, k, sum int) bool {
	r := f.records

	verify := r[k-1].Length - s.over
	whole := k > 1 && signed(verify, s.slack)
	first := r[0].Length - s.over
	switch {
	case sum < leastCertificate(s, t.Hello)+verifyOver+leastSignature, !whole && r[0].Length < r[k-1].Length:
		return false
	case (!whole || limited(t.Hello)) && first <= mostHollow, !whole && splits(t.Hello):
		return false
	}

	f.set(AuthPresented, k, "certificate_flight_split")
	if f.split = whole; whole && s.slack == 0 {
		f.hint = keyHint(verify - verifyOver)
		f.chain = sum - r[k-1].Length - (k-1)*s.over - emptyCertificate - entryOver
	}
	return true
}

// readCoalesced checks for one record that holds a Certificate, a CertificateVerify and a Finished.
func (f *flight) readCoalesced(s suite, t *dissect.TLS) {
	first := f.records[0].Length
	switch {
	case onlyAlert(f.records, s):
		f.refuses, f.reason = true, []string{"alert_sized_record"}
	case splits(t.Hello) && first > s.finished || padded(f.records, s, t):
		f.reason = []string{"padded_records"}
	case first-s.over <= mostEmpty+s.finished-s.over, first < leastCertificate(s, t.Hello)+verifyOver+leastSignature+s.finished-s.over:
		f.reason = []string{"unrecognized_client_flight"}
		f.firm = len(f.records) > 4
	case !confirmed(t, t.Client, f.records, 0):
		f.reason = []string{"unconfirmed_record"}
	default:
		f.auth, f.end = AuthPresented, f.records[0].End
		f.firm = len(f.records) > 1
		f.reason = []string{"certificate_flight_coalesced"}
		if len(f.records) == 2 && keyHint(f.records[1].Length-s.over-verifyOver) != "" {
			// these may also be the first two of three records, if the Finished is still to come
			f.soonest = f.end
			f.end, f.last, f.firm = f.records[1].End, 1, false
		}
	}
}

// onlyAlert reports whether the client sent an alert and nothing else.
func onlyAlert(r []dissect.TLSRecord, s suite) bool {
	return len(r) == 1 && (r[0].Length == s.alert || r[0].Length == s.alert+jssePadding)
}

// lengths appends the lengths of the first four records, except those that were not read reliably (confirmed).
func lengths(out []int, t *dissect.TLS, side dissect.Side, r []dissect.TLSRecord) []int {
	for i, x := range r[:min(len(r), 4)] {
		if confirmed(t, side, r, i) {
			out = append(out, x.Length)
		}
	}
	return out
}

// confirmed reports whether the length of record i was read reliably: another record begins where it ends, or no
// bytes follow.
func confirmed(t *dissect.TLS, side dissect.Side, r []dissect.TLSRecord, i int) bool {
	if i+1 < len(r) {
		return true
	}
	_, complete := t.Records(side)
	return complete && !t.InHeader(side)
}

// moreInFlight are extensions that add messages to the client's second flight: ALPS (its EncryptedExtensions) and
// Channel ID, each by the draft's number and by the number that Chrome sent.
var moreInFlight = [...]uint16{17513, 17613, 30031, 30032}

// crossCheck withdraws the flight's meaning if other facts contradict it.
func crossCheck(f *flight, t *dissect.TLS, s suite, e ends) {
	server := readServer(t, s, f.end)
	request := server.request
	if request != "" {
		f.reason = append(f.reason, request)
	}

	if f.auth == AuthUnknown {
		return
	}
	if t.Hello == nil {
		// without the hello it is unknown whether there was early data, and which extensions were offered
		f.deny("no_client_hello")
		return
	}

	other := func(ext uint16) bool { return t.Hello.Has(ext) }
	switch {
	case f.twice && request != withoutRequest:
		f.deny("unrecognized_client_flight") // the first record may be an empty Certificate with a context that makes it as long as a Finished
	case f.auth == AuthPresented && request == withoutRequest,
		f.auth == AuthNotRequested && request == withRequest:
		f.deny("")
	case f.auth == AuthPresented && server.mayLackRequest(cmp.Or(f.soonest, f.end), s):
		f.deny("server_flight_fragmented")
		f.doubted = true
	case f.auth != AuthPresented && t.Hello.PostHandshakeAuth():
		f.awaitLater(t, s, e)
	case f.auth == AuthPresented && t.Hello.EarlyData() && (!f.split || request != withRequest):
		// an early-data record that was sent late looks like a certificate
		f.deny("early_data_rejected")
	case f.auth == AuthPresented && !f.split && slices.ContainsFunc(moreInFlight[:], other):
		f.deny("extended_client_flight")
	}
}

// deny sets the flight's meaning to unknown.
func (f *flight) deny(reason string) {
	f.auth, f.chain, f.hint = AuthUnknown, 0, ""
	if reason != "" {
		f.reason = append(f.reason, reason)
	}
}

// awaitLater handles a client that lets the server ask for a certificate after the handshake (RFC 8446, section 4.6.2).
// Two facts show that such a client sent no certificate: it has closed, and no record with the size of a Finished
// follows a record that is large enough for a certificate.
func (f *flight) awaitLater(t *dissect.TLS, s suite, e ends) {
	f.later = true

	_, complete := t.Records(t.Client)
	large := false
	for _, r := range f.records[f.last+1:] {
		if r.Length == s.finished || r.Length == s.finished+jssePadding {
			complete = complete && !large
		}
		large = large || r.Length >= leastCertificate(s, t.Hello)
	}
	if !complete || e.blind || !e.client && !e.serverReset || t.More(t.Client) > 0 || !confirmed(t, t.Client, f.records, len(f.records)-1) {
		f.deny("")
	}
	f.reason = append(f.reason, "post_handshake_auth_offered")
}

// finishedIn finds the client's Finished in a handshake without certificates. Early data that was sent late, and an
// EndOfEarlyData, may precede it.
func finishedIn(r []dissect.TLSRecord, s suite) flight {
	f := flight{records: r, auth: AuthUnknown, refuses: onlyAlert(r, s)}
	for i, x := range r {
		for _, d := range s.senders() {
			if x.Length == d.finished && d.fits(r) {
				f.end, f.last, f.firm = x.End, i, true
				return f
			}
		}
	}
	return f
}

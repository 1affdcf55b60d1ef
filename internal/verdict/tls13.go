package verdict

import (
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// In TLS 1.3 certificates are encrypted, but the sizes of the client's first encrypted
// records give away whether it sent one. The rule and its measurements on six stacks
// are in ARCHITECTURE.md; the numbers here are sizes of TLSCiphertext.length (RFC 8446
// section 5.2).

// suite holds the sizes that a cipher suite gives to the messages of interest.
type suite struct {
	finished int // Finished alone in a record
	empty    int // Certificate without an entry, alone in a record
	least    int // least sum of Certificate, CertificateVerify and Finished
	alert    int // an alert
}

const (
	// A Finished is 4 bytes of header and the hash; an empty Certificate is 8 bytes;
	// one byte of content type and the AEAD's tag come to every record.
	messageHeader    = 4
	emptyCertificate = 8
	contentType      = 1
	// The smallest signature in use, 64 bytes (Ed25519), in a CertificateVerify of 72,
	// and the smallest Certificate with an entry, a raw public key of 57.
	leastProof = 72 + 57
	// jssePadding is what Java's TLS adds to every record.
	jssePadding = 16
)

func sizes(cipher uint16) suite {
	hash, tag := 32, 16
	switch cipher {
	case 0x1302: // TLS_AES_256_GCM_SHA384
		hash = 48
	case 0x1305: // TLS_AES_128_CCM_8_SHA256
		tag = 8
	case 0x1306: // TLS_AEGIS_256_SHA512
		hash = 64
	}
	fin := messageHeader + hash + contentType + tag
	return suite{finished: fin, empty: emptyCertificate + contentType + tag, least: fin + leastProof, alert: 2 + contentType + tag}
}

// flight is what the client's first protected records mean.
type flight struct {
	auth   string // AuthUnknown where they fit no row
	end    int64  // stream offset right after the Finished, 0 if not known
	last   int    // index of the record with the Finished
	firm   bool   // more records cannot change the meaning
	chain  int    // inferred bytes of the client's chain, 0 if not known
	hint   string
	reason []string
}

// judge13 judges a TLS 1.3 handshake.
func judge13(t *dissect.TLS, e ends, ended bool) handshake {
	h := newHandshake()
	records, ok, why := second(t)
	if t.Server.PSK {
		h.resumed = true
		h.because("psk_selected")
		if ok {
			f := finishedIn(records, sizes(t.Server.CipherSuite))
			settle(&h, t, f, e, ended)
		}
		h.decided = h.outcome != OutcomeIncomplete || ended
		h.auth, h.basis, h.requested = AuthUnknown, BasisNone, RequestedUnknown
		failed(&h, t, e, ended)
		return h
	}
	if !ok {
		h.because(why)
		failed(&h, t, e, ended)
		h.decided = h.outcome != OutcomeIncomplete || ended
		return h
	}
	f := read(records, sizes(t.Server.CipherSuite))
	doubt(&f, t)
	h.because(f.reason...)
	if f.auth != AuthUnknown {
		h.auth, h.basis = f.auth, BasisInferred
		h.requested = RequestedYes
		if f.auth == AuthNotRequested {
			h.requested = RequestedNo
		}
	}
	settle(&h, t, f, e, ended)
	failed(&h, t, e, ended)
	return h
}

// failed looks for the marks of a handshake that ended early in the clear.
func failed(h *handshake, t *dissect.TLS, e ends, ended bool) {
	if h.outcome == OutcomeEstablished || h.outcome == OutcomeRejected {
		return
	}
	h.fail(t, e)
	h.decided = h.outcome != OutcomeIncomplete || ended
}

// second returns the protected records of the client's second flight: those whose
// packet acknowledges the whole ServerHello. Records before them are early data. The
// ChangeCipherSpec is no anchor (it may be missing, early, or between two hellos), nor
// is the order in the capture.
func second(t *dissect.TLS) (records []dissect.Record, ok bool, why string) {
	all, complete := t.Records(t.Client)
	for i, r := range all {
		if r.Ack < 0 {
			return nil, false, "unacknowledged_flight"
		}
		if r.Ack >= t.ServerHelloEnd {
			return all[i:], true, ""
		}
	}
	switch {
	case !complete:
		return nil, false, "missed_bytes"
	case len(all) > 0:
		return nil, false, "unacknowledged_flight"
	}
	return nil, false, "no_client_flight"
}

// read fits the client's records to the table of notes/tls13: sizes in, meaning out.
func read(r []dissect.Record, s suite) flight {
	first := r[0].Length
	for _, pad := range [...]int{0, jssePadding} {
		padded := padReason(pad)
		switch {
		case first == s.finished+pad:
			return flight{auth: AuthNotRequested, end: r[0].End, firm: true, reason: append(padded, "finished_only_flight")}
		case first == s.finished+emptyCertificate+pad:
			return flight{auth: AuthDeclined, end: r[0].End, firm: true, reason: append(padded, "empty_certificate_flight")}
		case first == s.empty+pad && len(r) > 1 && r[1].Length == s.finished+pad:
			return flight{auth: AuthDeclined, end: r[1].End, last: 1, firm: true, reason: append(padded, "empty_certificate_flight")}
		case first == s.empty+pad && len(r) == 1:
			return flight{auth: AuthUnknown, reason: []string{"unrecognized_client_flight"}}
		}
	}
	if len(r) == 1 && (first == s.alert || first == s.alert+jssePadding) {
		return flight{auth: AuthUnknown, reason: []string{"alert_sized_record"}}
	}
	return readCertificate(r, s)
}

func padReason(pad int) []string {
	if pad > 0 {
		return []string{"padded_16"}
	}
	return nil
}

// readCertificate looks for a Certificate, a CertificateVerify and a Finished in
// records of their own, then for one record that holds all three.
func readCertificate(r []dissect.Record, s suite) flight {
	for _, pad := range [...]int{0, jssePadding} {
		sum := r[0].Length
		for k := 1; k < len(r); k++ {
			if r[k].Length == s.finished+pad && sum >= s.least && r[0].Length > s.finished+emptyCertificate+pad {
				f := flight{auth: AuthPresented, end: r[k].End, last: k, firm: true, reason: append(padReason(pad), "certificate_flight_split")}
				f.measure(r[:k], s, pad)
				return f
			}
			sum += r[k].Length
		}
	}
	if padsAlike(r, s) {
		return flight{auth: AuthUnknown, reason: []string{"padded_records"}}
	}
	if r[0].Length >= s.least {
		return flight{auth: AuthPresented, end: r[0].End, reason: []string{"certificate_flight_coalesced"}}
	}
	return flight{auth: AuthUnknown, firm: len(r) > 4, reason: []string{"unrecognized_client_flight"}}
}

// padsAlike tells that a sender pads its records to a block: its first ones are all
// multiples of one (RFC 8446 section 5.4).
func padsAlike(r []dissect.Record, s suite) bool {
	tag := s.alert - 2 - contentType
	r = r[:min(len(r), 4)]
	for _, block := range [...]int{64, 128, 256, 512, 1024, 2048, 4096} {
		alike := true
		for _, x := range r {
			alike = alike && (x.Length-tag)%block == 0
		}
		if alike {
			return true
		}
	}
	return false
}

// measure takes the size of the chain and the kind of key from a flight whose messages
// stand in records of their own.
func (f *flight) measure(r []dissect.Record, s suite, pad int) {
	tag := s.alert - 2 - contentType
	over := contentType + tag + pad
	verify := r[len(r)-1].Length - over - messageHeader - 4
	switch {
	case verify == 64:
		f.hint = "ed25519"
	case verify >= 68 && verify <= 72:
		f.hint = "ecdsa-p256"
	case verify >= 100 && verify <= 104:
		f.hint = "ecdsa-p384"
	case verify >= 136 && verify <= 139:
		f.hint = "ecdsa-p521"
	case verify == 256, verify == 384, verify == 512:
		f.hint = map[int]string{256: "rsa-2048", 384: "rsa-3072", 512: "rsa-4096"}[verify]
	}
	if len(r) == 2 && f.hint != "" {
		// certificate_request_context and list length, then 5 bytes for each entry:
		// the number of entries is not known, so this counts one.
		f.chain = r[0].Length - over - emptyCertificate - 5
	}
}

// doubt takes back what another fact speaks against.
func doubt(f *flight, t *dissect.TLS) {
	request := requestOf(t, f.end)
	if request != "" {
		f.reason = append(f.reason, request)
	}
	switch {
	case f.auth == AuthPresented && request == "server_flight_without_request",
		f.auth == AuthNotRequested && request == "server_flight_with_request":
		f.auth = AuthUnknown
	case f.auth != AuthUnknown && t.Hello != nil && t.Hello.PostHandshakeAuth():
		// the server may ask later, and no size tells that (RFC 8446 section 4.6.2)
		f.auth = AuthUnknown
		f.reason = append(f.reason, "post_handshake_auth_offered")
	case f.auth == AuthPresented && t.Hello == nil:
		f.auth = AuthUnknown
		f.reason = append(f.reason, "no_client_hello")
	case f.auth == AuthPresented && t.Hello.EarlyData() && request != "server_flight_with_request":
		// an early record that left late looks like a certificate
		f.auth = AuthUnknown
		f.reason = append(f.reason, "early_data_rejected")
	}
}

// requestOf reads the server's flight where its messages stand in records of their own:
// EncryptedExtensions, Certificate, CertificateVerify and Finished, or five with a
// CertificateRequest. end is where the client's flight ends, 0 if not known: what
// acknowledges it is no part of the server's. It returns the reason code, empty where
// that cannot be told.
func requestOf(t *dissect.TLS, end int64) string {
	s := sizes(t.Server.CipherSuite)
	records, _ := t.Records(t.Client.Other())
	for i, r := range records {
		if end > 0 && r.Ack >= end {
			records = records[:i]
			break
		}
	}
	for _, pad := range [...]int{0, jssePadding} {
		for k := 3; k < min(len(records), 5); k++ {
			// a CertificateVerify is right before the Finished, and larger
			if records[k].Length != s.finished+pad || records[k-1].Length <= s.finished+pad {
				continue
			}
			if k == 3 {
				return "server_flight_without_request"
			}
			if records[1].Length < records[2].Length {
				return "server_flight_with_request"
			}
		}
	}
	return ""
}

// finishedIn finds the client's Finished in a handshake without certificates: an
// EndOfEarlyData may come before it.
func finishedIn(r []dissect.Record, s suite) flight {
	for i, x := range r {
		if x.Length == s.finished || x.Length == s.finished+jssePadding {
			return flight{auth: AuthUnknown, end: x.End, last: i, firm: true}
		}
	}
	return flight{auth: AuthUnknown}
}

// settle finds the outcome: established only with the server's data after the client's
// flight, since a server that refuses the certificate says so in an encrypted alert.
func settle(h *handshake, t *dissect.TLS, f flight, e ends, ended bool) {
	server := t.Client.Other()
	records, complete := t.Records(server)
	s := sizes(t.Server.CipherSuite)
	end := f.end
	if end == 0 {
		// The flight was not understood: any answer to the client's first protected
		// record behind the ServerHello will do.
		mine, ok, _ := second(t)
		if !ok {
			return
		}
		end = mine[0].End
	}
	alerts := 0
	for _, r := range records {
		switch {
		case r.Ack < end:
		case r.Length == s.alert || r.Length == s.alert+jssePadding:
			alerts++
		default:
			h.outcome = OutcomeEstablished
			h.because("application_data_seen")
			mine, _, _ := second(t)
			h.decided = f.firm || len(mine) > 1 || ended || e.over()
			return
		}
	}
	if !complete || t.More(server) > 0 {
		return
	}
	switch {
	case alerts > 0 && (e.server || ended && !e.blind):
		h.outcome, h.decided = OutcomeRejected, true
		h.because("alert_sized_record")
	case e.over():
		h.because("application_data_missing")
	}
}

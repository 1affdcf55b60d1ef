package verdict_test

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// clear12 returns a TLS 1.2 handshake message in plaintext.
func clear12(typ byte, body string) string { return record(22, message(typ, body)) }

// certificates is the body of a Certificate message with one certificate of 4 bytes.
const certificates = "\x00\x00\x07\x00\x00\x04abcd"

// old12 plays a TLS 1.2 handshake: the server's plaintext messages after its hello, then the client's, then both
// Finished and data.
func (s *story) old12(from string, client, server hello, serverClear, clientClear, granted string) verdict.Judged {
	s.t.Helper()
	client.old, server.old, server.suite = true, true, 0xc02b
	s.id++
	c := conn(s.id, from)
	c.Resp.Addr, c.Resp.Port, c.Zones = netip.MustParseAddr(s.server), s.port, s.zones
	w := newPlayer(s.t, client, server)
	finished := record(20, "\x01") + record(22, strings.Repeat("\xa7", 40))
	if serverClear == "" { // an abbreviated handshake
		w.send(1, granted+finished, -1)
		w.send(0, finished, -1)
	} else {
		w.send(1, serverClear, -1)
		w.send(0, clientClear+finished, -1)
		w.send(1, granted+finished, -1)
	}
	w.play("C 100 | S 100")
	return s.j.Judge(c, w.s, "eth0", true)
}

func ticket12(b string) string { return lasting(b, 0) }

// lasting returns a NewSessionTicket with a lifetime in seconds, 0: not stated.
func lasting(b string, seconds byte) string {
	return clear12(4, "\x00\x00\x00"+string([]byte{seconds})+sized(2, b))
}

var (
	serverMutual = clear12(11, certificates) + clear12(12, "\x03\x00\x1d") + clear12(13, "\x00") + clear12(14, "")
	serverOneWay = clear12(11, certificates) + clear12(12, "\x03\x00\x1d") + clear12(14, "")
	clientMutual = clear12(11, certificates) + clear12(16, "k") + clear12(15, "v")
	clientOneWay = clear12(16, "k")
)

func TestInherited12(t *testing.T) {
	with := func(ticket string) hello {
		return hello{id: strings.Repeat("r", 32), extensions: map[uint16]string{extTicket: ticket}}
	}
	echo := hello{id: strings.Repeat("r", 32)}
	t.Run("ticket", func(t *testing.T) {
		s := newStory(t)
		wants(t, s.old12("10.0.0.1", with(""), hello{}, serverMutual, clientMutual, ticket12("mutual's")), verdict.MTLS, verdict.AuthPresented, "")
		wants(t, s.old12("10.0.0.1", with(""), hello{}, serverOneWay, clientOneWay, ticket12("one-way's")), verdict.TLS, verdict.AuthNotRequested, "")
		// the ticket identifies the client, even at a shared address
		got := s.old12("10.0.0.1", with("mutual's"), echo, "", "", ticket12("the next"))
		wants(t, got, verdict.MTLS, verdict.AuthPresented, "inherited_from_full_handshake")
		wants(t, s.old12("10.0.0.1", with("one-way's"), echo, "", "", ""), verdict.TLS, verdict.AuthNotRequested, "inherited_from_full_handshake")
		wants(t, s.old12("10.0.0.1", with("unheard of"), echo, "", "", ""), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
		got = s.old12("10.0.0.7", with("the next"), echo, "", "", "")
		wants(t, got, verdict.MTLS, verdict.AuthPresented, "inherited_from_full_handshake")
		if got.TLS.ClientAuthAge != 5e9 { // since the full handshake, not since the resumption in between
			t.Errorf("age %d", got.TLS.ClientAuthAge)
		}
	})
	t.Run("session id", func(t *testing.T) {
		s := newStory(t)
		s.old12("10.0.0.1", hello{}, hello{id: "mutual's id 1234"}, serverMutual, clientMutual, "")
		s.old12("10.0.0.1", hello{}, hello{id: "one-way's id 123"}, serverOneWay, clientOneWay, "")
		wants(t, s.old12("10.0.0.1", hello{id: "mutual's id 1234"}, hello{id: "mutual's id 1234"}, "", "", ""), verdict.MTLS, verdict.AuthPresented, "")
		wants(t, s.old12("10.0.0.1", hello{id: "one-way's id 123"}, hello{id: "one-way's id 123"}, "", "", ""), verdict.TLS, verdict.AuthNotRequested, "")
	})
	t.Run("one name for two sessions", func(t *testing.T) {
		s := newStory(t)
		s.old12("10.0.0.1", hello{}, hello{id: "always the same"}, serverMutual, clientMutual, "")
		s.old12("10.0.0.2", hello{}, hello{id: "always the same"}, serverOneWay, clientOneWay, "")
		wants(t, s.old12("10.0.0.1", hello{id: "always the same"}, hello{id: "always the same"}, "", "", ""), verdict.TLS, verdict.AuthUnknown, "disagreeing_handshakes")
	})
	t.Run("a ticket and an id that disagree", func(t *testing.T) {
		s := newStory(t)
		s.old12("10.0.0.1", with(""), hello{}, serverMutual, clientMutual, ticket12("stolen"))
		s.old12("10.0.0.1", hello{}, hello{id: strings.Repeat("r", 32)}, serverOneWay, clientOneWay, "")
		wants(t, s.old12("10.0.0.1", with("stolen"), echo, "", "", ""), verdict.TLS, verdict.AuthUnknown, "disagreeing_handshakes")
	})
	t.Run("an id beside a ticket can be anybody's", func(t *testing.T) {
		s := newStory(t)
		s.old12("10.0.0.1", hello{}, hello{id: strings.Repeat("r", 32)}, serverMutual, clientMutual, "")
		wants(t, s.old12("10.0.0.1", with("older than the tap"), echo, "", "", ""), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
		wants(t, s.old12("10.0.0.1", hello{id: strings.Repeat("r", 32)}, echo, "", "", ""), verdict.MTLS, verdict.AuthPresented, "")
	})
	t.Run("one name, and one of the two is not understood", func(t *testing.T) {
		s := newStory(t)
		s.old12("10.0.0.1", hello{}, hello{id: "always the same"}, serverMutual, clientMutual, "")
		s.old12("10.0.0.2", hello{}, hello{id: "always the same"}, serverOneWay, clientMutual, "")
		wants(t, s.old12("10.0.0.1", hello{id: "always the same"}, hello{id: "always the same"}, "", "", ""), verdict.TLS, verdict.AuthUnknown, "disagreeing_handshakes")
	})
	t.Run("bounded", func(t *testing.T) {
		s := newStory(t)
		s.old12("10.0.0.1", with(""), hello{}, serverMutual, clientMutual, ticket12("first"))
		for i := range 9000 {
			s.old12("10.0.0.1", with(""), hello{}, serverOneWay, clientOneWay, ticket12(fmt.Sprint(i)))
		}
		wants(t, s.old12("10.0.0.1", with("first"), echo, "", "", ""), verdict.TLS, verdict.AuthUnknown, "no_earlier_handshake")
		wants(t, s.old12("10.0.0.1", with("8999"), echo, "", "", ""), verdict.TLS, verdict.AuthNotRequested, "")
	})
}

// TestTicketOrSessionID: a client offers the ticket of another client, which has a certificate, and the session id of its own session,
// which the tap did not see. If the server may have resumed that session, the client inherits nothing.
func TestTicketOrSessionID(t *testing.T) {
	own := strings.Repeat("b", 32)
	hash := sha256.Sum256([]byte("mutual's"))
	for _, c := range []struct {
		name          string
		issued        string // the session id that the server issues together with the ticket
		issuer, taker string // the names that the two clients send
		port          uint16 // port of the resumption
		id            string // the session id that the second client offers
		lifetime      byte   // of the first ticket, in seconds; the second connection starts a second after the first
		silent        bool   // the server does not renew the ticket
		inherits      bool
	}{
		{name: "a random id, as Go and rustls send it", port: 443, id: own, inherits: true},
		{name: "the hash of the ticket, as OpenSSL sends it", port: 9443, id: string(hash[:]), inherits: true},
		{name: "another port of the server, which has no tickets", port: 9443, id: own},
		{name: "another name at the same port", taker: "other.example", port: 443, id: own},
		{name: "the ticket of another name", issuer: "other.example", port: 443, id: own},
		{name: "a server that issues ids besides tickets", issued: "the id beside it", port: 443, id: own},
		{name: "a server that issues both and renews the ticket", issued: "the id beside it", port: 443, id: own, lifetime: 60, inherits: true},
		{name: "a server that issues both, and the ticket has expired", issued: "the id beside it", port: 443, id: own, lifetime: 1},
		{name: "a server that issues both and does not renew", issued: "the id beside it", port: 443, id: own, lifetime: 60, silent: true},
		{name: "the id that the server issued with the ticket", issued: "the id beside it", port: 443, id: "the id beside it", inherits: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStory(t)
			named := func(name, ticket, id string) hello {
				h := hello{id: id, extensions: map[uint16]string{extTicket: ticket}}
				if name != "" {
					h.extensions[0] = sized(2, "\x00"+sized(2, name))
				}
				return h
			}
			wants(t, s.old12("10.0.0.1", named(c.issuer, "", ""), hello{id: c.issued}, serverMutual, clientMutual, lasting("mutual's", c.lifetime)), verdict.MTLS, verdict.AuthPresented, "")
			s.port = c.port
			renewed := ticket12("the next")
			if c.silent {
				renewed = ""
			}
			got := s.old12("10.0.0.9", named(c.taker, "mutual's", c.id), hello{id: c.id}, "", "", renewed)
			if !c.inherits {
				wants(t, got, verdict.TLS, verdict.AuthUnknown, "ticket_or_session_id")
			} else {
				wants(t, got, verdict.MTLS, verdict.AuthPresented, "inherited_from_full_handshake")
			}
		})
	}
}

// TestUnproved12 checks that a certificate proves nothing without a CertificateRequest, or without a
// CertificateVerify.
func TestUnproved12(t *testing.T) {
	s := newStory(t)
	wants(t, s.old12("10.0.0.1", hello{}, hello{}, serverOneWay, clientMutual, ""), verdict.TLS, verdict.AuthUnknown, "certificate_not_requested")
	wants(t, s.old12("10.0.0.1", hello{}, hello{}, serverMutual, clear12(11, certificates)+clear12(16, "k"), ""), verdict.TLS, verdict.AuthUnknown, "no_certificate_verify")
	wants(t, s.old12("10.0.0.1", hello{}, hello{}, serverMutual, clear12(11, "\x00\x00\x00")+clear12(16, "k"), ""), verdict.TLS, verdict.AuthDeclined, "")
}

// TestRenegotiated checks that a second handshake, which is encrypted and may have a certificate, makes client
// authentication unknown.
func TestRenegotiated(t *testing.T) {
	w := newPlayer(t, hello{old: true}, hello{old: true, suite: 0xc02b})
	finished := record(20, "\x01") + record(22, strings.Repeat("\xa7", 40))
	w.send(1, serverOneWay, -1)
	w.send(0, clientOneWay+finished, -1)
	w.send(1, finished, -1)
	j := verdict.New(verdict.Config{})
	w.play("C 100")
	if got := w.judge(j, 1, false); got.Settled {
		t.Errorf("settled before the server has answered: %s", said(got))
	}
	w.play("S 22:28 | C 22:300 | S 100")
	if got := w.judge(j, 1, true); got.TLS.ClientAuth != verdict.AuthUnknown || !slices.Contains(got.Reasons, "renegotiated") {
		t.Error(said(got))
	}
}

package tlsmsg

import (
	"crypto/sha256"

	"golang.org/x/crypto/cryptobyte"
)

// maxIdentities bounds the pre-shared keys that are stored for each ClientHello.
const maxIdentities = 8

// TicketHash identifies a session ticket of TLS 1.2 (RFC 5077) by the first half of its SHA-256. The zero value stands for no ticket.
type TicketHash [16]byte

// Identity is a pre-shared key that a client offers (RFC 8446 section 4.2.11).
type Identity struct {
	Length int    // length of the identity in bytes; in a resumption the identity is the ticket
	Age    uint32 // obfuscated_ticket_age; 0 for a key that is not a ticket
}

func hashTicket(ticket []byte) TicketHash {
	if len(ticket) == 0 {
		return TicketHash{}
	}
	sum := sha256.Sum256(ticket)
	return TicketHash(sum[:16])
}

// ParseNewSessionTicket returns the hash of the ticket in a NewSessionTicket of TLS 1.2 (RFC 5077 section 3.3) and its lifetime in
// seconds, 0 if the server states none. If the message is malformed, it returns zero values.
func ParseNewSessionTicket(body []byte) (ticket TicketHash, lifetime uint32) {
	s := cryptobyte.String(body)
	var data cryptobyte.String
	if !s.ReadUint32(&lifetime) || !s.ReadUint16LengthPrefixed(&data) {
		return TicketHash{}, 0
	}
	return hashTicket(data), lifetime
}

// identities parses the pre_shared_key extension of a ClientHello.
func identities(data cryptobyte.String) []Identity {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) {
		return nil
	}
	var out []Identity
	for !list.Empty() && len(out) < maxIdentities {
		var identity cryptobyte.String
		var age uint32
		if !list.ReadUint16LengthPrefixed(&identity) || !list.ReadUint32(&age) {
			break
		}
		out = append(out, Identity{Length: len(identity), Age: age})
	}
	return out
}

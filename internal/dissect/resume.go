package dissect

import (
	"crypto/sha256"

	"golang.org/x/crypto/cryptobyte"
)

// extPSKModes is psk_key_exchange_modes (RFC 8446 section 4.2.9).
const extPSKModes = 45

// maxIdentities bounds the pre-shared keys of a ClientHello that are kept.
const maxIdentities = 8

// TicketHash names a session ticket of TLS 1.2 (RFC 5077): the first half of its
// SHA-256. The zero value is no ticket.
type TicketHash [16]byte

// Identity is a pre-shared key that a client offers (RFC 8446 section 4.2.11).
type Identity struct {
	Length int    // bytes of the identity; of a resumption, of the ticket
	Age    uint32 // obfuscated_ticket_age; 0 for a key that is no ticket
}

func hashTicket(ticket []byte) TicketHash {
	if len(ticket) == 0 {
		return TicketHash{}
	}
	sum := sha256.Sum256(ticket)
	return TicketHash(sum[:16])
}

// newTicket reads a NewSessionTicket of TLS 1.2 (RFC 5077 section 3.3).
func newTicket(body []byte) TicketHash {
	s := cryptobyte.String(body)
	var lifetime uint32
	var ticket cryptobyte.String
	if !s.ReadUint32(&lifetime) || !s.ReadUint16LengthPrefixed(&ticket) {
		return TicketHash{}
	}
	return hashTicket(ticket)
}

// identities reads the pre_shared_key of a ClientHello.
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

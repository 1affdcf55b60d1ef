package wire

// LinkType is a LINKTYPE_ value of the pcap file format (https://www.tcpdump.org/linktypes.html): the type of a
// packet's first header.
type LinkType uint16

// The link types that are decoded and filtered.
const (
	LinkNull     LinkType = 0   // BSD loopback, address family in the byte order of the capturing host
	LinkEthernet LinkType = 1   // Ethernet, 802.1Q and 802.1ad tags included
	LinkRaw      LinkType = 101 // IPv4 or IPv6, distinguished by the version
	LinkLoop     LinkType = 108 // OpenBSD loopback, address family in network byte order
	LinkSLL      LinkType = 113 // Linux cooked capture v1
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkSLL2     LinkType = 276 // Linux cooked capture v2
)

// EtherTypes (https://www.iana.org/assignments/ieee-802-numbers).
const (
	LeastEtherType = 0x0600 // smaller values are lengths (IEEE 802.3), and LLC follows

	EtherIPv4 = 0x0800
	EtherARP  = 0x0806
	EtherRARP = 0x8035
	EtherIPv6 = 0x86dd

	EtherVLAN     = 0x8100 // IEEE 802.1Q
	EtherQinQ     = 0x88a8 // IEEE 802.1ad
	EtherOldQinQ  = 0x9100 // VLAN tags before 802.1ad
	EtherMetaData = 0x8909 // Cisco MetaData, TrustSec: version and length, then options, then the next EtherType

	EtherMPLS         = 0x8847 // RFC 3032
	EtherMPLSUpstream = 0x8848 // RFC 5332
	EtherPPPoE        = 0x8864 // session stage (RFC 2516)
	EtherPPP          = 0x880b // PPP in GRE version 1 (RFC 2637)
	EtherTransparent  = 0x6558 // Ethernet in GRE and Geneve
	EtherERSPAN2      = 0x88be // types I and II, draft-foschiano-erspan
	EtherERSPAN3      = 0x22eb
)

// IP protocol numbers (https://www.iana.org/assignments/protocol-numbers).
const (
	ProtoHopByHop    = 0 // IPv6 header with hop-by-hop options
	ProtoICMP        = 1
	ProtoIGMP        = 2
	ProtoIPv4        = 4 // RFC 2003
	ProtoTCP         = 6
	ProtoUDP         = 17
	ProtoIPv6        = 41 // RFC 4213
	ProtoRouting     = 43 // IPv6 routing header
	ProtoFragment    = 44 // IPv6 fragment header
	ProtoGRE         = 47 // RFC 2784
	ProtoAH          = 51 // RFC 4302
	ProtoICMPv6      = 58
	ProtoDestOptions = 60 // IPv6 header with destination options
	ProtoSCTP        = 132
)

// TCP flags (RFC 9293, section 3.1).
const (
	FlagFIN = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
	FlagURG
)

// Content types of the TLS record layer (RFC 8446, section 5.1, RFC 6520, RFC 9146).
const (
	ContentChangeCipherSpec = 20
	ContentAlert            = 21
	ContentHandshake        = 22
	ContentApplicationData  = 23
	ContentHeartbeat        = 24
	ContentCID              = 25
)

// RecordHeader is the length of a TLS record's header: content type, version, length (RFC 8446, section 5.1).
const RecordHeader = 5

// Side is one of the two ends of a connection.
type Side uint8

// The two ends.
const (
	Originator Side = iota // the end that sent the SYN, or that probably did if no SYN was seen
	Responder
)

// Other returns the opposite end.
func (s Side) Other() Side { return s ^ 1 }

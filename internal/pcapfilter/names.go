package pcapfilter

import (
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// protocol is a protocol that an expression can name.
type protocol struct {
	name   string
	ether  uint16 // EtherType; 0: it has none
	number uint8  // IP protocol number (https://www.iana.org/assignments/protocol-numbers)
	over4  bool   // IPv4 carries it
	over6  bool   // IPv6 carries it
	ports  bool   // it has ports
	bytes  bool   // an expression can read its bytes, as in tcp[13]
}

// protocols lists the protocols whose names are words of the language.
var protocols = []*protocol{
	{name: "ether", bytes: true},
	{name: "ip", ether: wire.EtherIPv4, bytes: true},
	{name: "ip6", ether: wire.EtherIPv6, bytes: true},
	{name: "arp", ether: wire.EtherARP, bytes: true},
	{name: "rarp", ether: wire.EtherRARP, bytes: true},
	{name: "tcp", number: wire.ProtoTCP, over4: true, over6: true, ports: true, bytes: true},
	{name: "udp", number: wire.ProtoUDP, over4: true, over6: true, ports: true, bytes: true},
	{name: "sctp", number: wire.ProtoSCTP, over4: true, over6: true, ports: true, bytes: true},
	{name: "icmp", number: 1, over4: true, bytes: true},
	{name: "icmp6", number: 58, over6: true, bytes: true},
	{name: "igmp", number: 2, over4: true, bytes: true},
	{name: "pim", number: 103, over4: true, over6: true, bytes: true},
	{name: "vrrp", number: 112, over4: true, bytes: true},
	{name: "ah", number: 51, over4: true, over6: true},
	{name: "esp", number: 50, over4: true, over6: true},
}

// protocolNamed returns the protocol with a name, or nil.
func protocolNamed(word string) *protocol {
	for _, p := range protocols {
		if p.name == word {
			return p
		}
	}
	return nil
}

// numbers are the names that ip proto accepts, with or without a backslash. They come from IANA's
// registry and /etc/protocols.
var numbers = map[string]uint32{
	"icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "egp": 8, "igp": 9, "udp": 17, "dccp": 33, "ipv6": 41, "ipv6-route": 43,
	"ipv6-frag": 44, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60,
	"eigrp": 88, "ospf": 89, "pim": 103, "vrrp": 112, "l2tp": 115, "sctp": 132, "udplite": 136,
}

// etherTypes are the names that ether proto accepts.
var etherTypes = map[string]uint32{"ip": wire.EtherIPv4, "ip6": wire.EtherIPv6, "arp": wire.EtherARP, "rarp": wire.EtherRARP}

// named maps names of numbers: offsets (icmptype), ICMP and ICMPv6 types (RFC 792, RFC 4443
// and others) and TCP flags (RFC 9293, section 3.1).
var named = map[string]uint32{
	"icmptype": 0, "icmpcode": 1,
	"icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5, "icmp-echo": 8,
	"icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12, "icmp-tstamp": 13,
	"icmp-tstampreply": 14, "icmp-ireq": 15, "icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,

	"icmp6type": 0, "icmp6code": 1,
	"icmp6-destinationunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3, "icmp6-parameterproblem": 4,
	"icmp6-echo": 128, "icmp6-echoreply": 129, "icmp6-multicastlistenerquery": 130, "icmp6-multicastlistenerreportv1": 131,
	"icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133, "icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135,
	"icmp6-neighboradvert": 136, "icmp6-redirect": 137, "icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139,
	"icmp6-nodeinformationresponse": 140, "icmp6-ineighbordiscoverysolicit": 141, "icmp6-ineighbordiscoveryadvert": 142,
	"icmp6-multicastlistenerreportv2": 143, "icmp6-homeagentdiscoveryrequest": 144, "icmp6-homeagentdiscoveryreply": 145,
	"icmp6-mobileprefixsolicit": 146, "icmp6-mobileprefixadvert": 147, "icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149,
	"icmp6-multicastrouteradvert": 151, "icmp6-multicastroutersolicit": 152, "icmp6-multicastrouterterm": 153,

	"tcpflags": 13,
	"tcp-fin":  0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08, "tcp-ack": 0x10, "tcp-urg": 0x20, "tcp-ece": 0x40, "tcp-cwr": 0x80,
}

// unsupported are words of pcap-filter(7) that this package does not implement.
var unsupported = set("aarp action address1 address2 address3 address4 addr1 addr2 addr3 addr4 atalk bcc byte carp clnp connectmsg csnp decnet dir direction dpc " +
	"es-is esis fddi fisu gateway geneve hdpc hfisu hlssu hmsu hopc hsio hsls ifindex ifname igrp iih ilmic ipx is-is isis iso l1 l2 lane lat llc lsp lssu lsu " +
	"metac metaconnect mopdl moprc mpls msu netbeui oam oamf4 oamf4ec oamf4sc on opc ppp pppoed pppoes protochain psnp ra radio reason rnr rset " +
	"rulenum ruleset sc sca sio slip sls snp srnr stp subrulenum subtype ta tr type vci vpi wlan")

// reserved are the words that are names only after a backslash.
var reserved = func() map[string]bool {
	words := set("and or not len src dst host net mask port portrange proto less greater broadcast multicast inbound outbound vlan")
	for _, p := range protocols {
		words[p.name] = true
	}
	for word := range unsupported {
		words[word] = true
	}
	return words
}()

func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

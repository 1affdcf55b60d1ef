package capturetest

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// DNS returns a query for the A or AAAA records of a name and, if there are addresses, the response. Each alias leads
// to the next one, and the last alias to the addresses.
func DNS(id uint16, name string, ttl uint32, aliases []string, addrs ...netip.Addr) (query, response []byte) {
	const cname, a, aaaa = 5, 1, 28
	typ := uint16(a)
	if len(addrs) > 0 && addrs[0].Is6() {
		typ = aaaa
	}
	query = append(binary.BigEndian.AppendUint16(nil, id), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0)
	query = append(binary.BigEndian.AppendUint16(append(query, dnsName(name)...), typ), 0, 1)
	response = append(response, query...)
	response[2], response[3], response[7] = 0x81, 0x80, byte(len(aliases)+len(addrs))
	record := func(owner string, typ uint16, data []byte) {
		response = binary.BigEndian.AppendUint16(append(response, dnsName(owner)...), typ)
		response = binary.BigEndian.AppendUint32(append(response, 0, 1), ttl)
		response = append(binary.BigEndian.AppendUint16(response, uint16(len(data))), data...)
	}
	for _, alias := range aliases {
		record(name, cname, dnsName(alias))
		name = alias
	}
	for _, addr := range addrs {
		record(name, typ, addr.AsSlice())
	}
	return query, response
}

func dnsName(name string) (b []byte) {
	for label := range strings.SplitSeq(name, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

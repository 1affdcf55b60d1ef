// Package pcapfilter compiles the filter expressions of pcap-filter(7) to classic BPF (linux/filter.h), and assembles, runs and prints such
// programs. It resolves no names, does no I/O and keeps no state.
//
// Order of use: [Compile] an expression for a link type, or write a program with an [Assembler]; [And] joins two programs; [Program.Run]
// applies one to a packet, or the kernel does. [ParseProgram] reads what `tcpdump -ddd` prints.
//
// Expressions have the same meaning as in libpcap 1.10, even where it is surprising:
//
//   - qualifiers apply to the whole list that follows them ("tcp port 80 or 443");
//   - and and or have the same precedence, from left to right;
//   - the first vlan shifts the offsets of everything written after it;
//   - tcp[0] and other bytes of transport protocols exist only over IPv4;
//   - port does not look past the extension headers of IPv6;
//   - % and ^ take everything on their right as an operand;
//   - a program that would read past the end of the packet rejects it, even inside a not.
//
// Tests compare with libpcap itself. The differences are intended:
//
//   - names of hosts, networks and services are an error, because nothing resolves them;
//   - addresses and numbers whose meaning is not the obvious one are errors: host 10, host 10.1, net 300, ip proto 300, an octet with a
//     leading zero, an offset past every packet;
//   - ip broadcast is an error, because it needs the netmask of an interface;
//   - ip proto tcp needs no backslash before tcp;
//   - bytes of a protocol are read only where the protocol is present: libpcap omits that check on the right of an arithmetic operator, as
//     in 1 + tcp[0];
//   - on BSD loopback links the address family is recognized in both byte orders, and the family of IPv6 by the number of every system;
//   - in a live program, conditions after vlan apply to the headers after the tag if the packet still contains the tag, and otherwise to
//     the headers without it, so that "not vlan and ip" works;
//   - a condition on an IPv6 network reads no bytes past the prefix length, as after libpcap's optimizer. (The optimizer also removes reads
//     past the end of a packet, so that other truncated packets are accepted. Here these reads remain, as without the optimizer.)
//   - of the protocols below IP only ARP and RARP have names: there is no 802.2 LLC, IEEE 802.11, MPLS, PPPoE or Geneve, and no gateway,
//     protochain or byte.
package pcapfilter

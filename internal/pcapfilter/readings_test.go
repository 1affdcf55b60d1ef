package pcapfilter

// readings are expressions whose meaning is not obvious, valid and invalid ones.
const readings = `
tcp port 80 or 443
tcp port 80 and not 443
tcp port (80 or 443)
tcp port not 80
tcp port (not 80 and not 443)
tcp port (80)
tcp port ((80))
src port 80 and dst port 81 or 82
not host 10.0.0.1 and 10.0.0.2
not (host 10.0.0.1 or 10.0.0.2)
(tcp port 80) or 443
udp port 53 or (tcp port 80) or 443
udp port 53 or not (tcp port 80) or 443
tcp and 80
tcp or udp and icmp
icmp and tcp or udp
not tcp and udp
not not ip
! ip && ! ip6 || arp
src or dst host 10.0.0.1
dst or src host 10.0.0.1
src and dst net 10
dst and src port 80
src and src host 10.0.0.1
src or host 10.0.0.1
src host 10.0.0.1 or dst host 10.0.0.1
ip host 10.0.0.1 and not 10.0.0.2
src net 10.1 or 10.2
net 10
net 10.1.2
net 10.0.0.0/8
net 10.0.0.1/8
net 10/8
net 10.0.0.0 mask 255.0.0.0
net 10.1.0.0 mask 255.255.0.0 or port 80
net 10.0.0.1 mask 255.0.0.0
net 0.0.0.0/0
net 0.0.0.0/33
net fe80::/129
net fd00::/8
net fd00::1/8
net fd00::2/128
src 10.0.0.0/8
host 10.0.0.0/8
host 10.0.0.1/32 or 5
ip6 host ::1
ip6 host 10.0.0.1
ip host ::1
arp host ::1
arp net 10.0.0.0/8
arp src host 10.0.0.1
tcp host 10.0.0.1
tcp src 10.0.0.1
ip port 80
ip6 port 80
icmp port 80
tcp portrange 80
tcp portrange 90-80
udp portrange 0x35-010
udp portrange 010-100
portrange 80-70000
portrange 80 - 90
port 80-90
port 65536
port -1
port 0x50
port 0120
port 08
ether host 02:00:00:00:00:01
ether src 02-00-00-00-00-01
ether dst 02.00.00.00.00.01
ether host 0200.0000.0001
ether host 020000000001
ether 02:00:00:00:00:01
ether host 10.0.0.1
ether net 02:00:00:00:00:01
host 02:00:00:00:00:01
ip host 02:00:00:00:00:01
ether proto 0x800
ether proto \ip or \arp
ether proto 0x0800 or 0x86dd
ether
ether port 80
tcp proto 6
arp proto 6
proto 6
proto \tcp
ip proto 6 or 17
ip proto \udp
ip6 proto \ipv6-icmp
ip proto \nonsense
src proto 6
ip multicast
ip6 multicast
multicast
ether multicast
broadcast
ether broadcast
tcp multicast
arp broadcast
less 60
greater 100 and less 200
less 60 or 100
less tcp
less
vlan
vlan 5
vlan (5)
vlan ((5))
vlan 5 or 6
vlan 4096
vlan 5 and vlan 6 and tcp
vlan and ip or ip6
not vlan and ip
(vlan and tcp) or udp
ip or vlan and ip
vlan and vlan and vlan and arp
vlan and host 10.0.0.1
vlan and tcp[13] = 2
vlan and ether[12:2] = 0x8100
vlan and ether proto 0x8100
tcp[13] & 2 != 0
tcp[tcpflags] & (tcp-syn|tcp-fin) != 0
tcp[tcpflags] == tcp-syn|tcp-ack
icmp[icmptype] = icmp-echo
icmp6[icmp6type] = icmp6-neighborsolicit
ip[0] & 0xf != 5
ip[6:2] & 0x1fff = 0
ip[2:2] - ((ip[0]&0xf)<<2) != 0
tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)
tcp[(tcp[12]>>2)&60:4] = 0x16030100
ip[-1] = 0
tcp[-4] = 5
ether[0] & 1 = 0 and ip[16] >= 224
ether[len - 1] = 5
ether[len-1] = 5
ip[0:3] = 5
ip[0:0] = 5
ip[0:1+1] = 5
ip[] = 5
ip[0 = 5
ah[0] = 1
ip6[6] = 6 or ip6[40] = 6
arp[6:2] = 1
udp[0:2] = 53 or udp[2:2] = 53
sctp[0:2] = 80
igmp[0] = 0x11
1 = 1
1 = 2 or ip
1 + 2 * 3 = 7
7 / 2 = 3
7 % 4 + 1 = 2
2 * 7 % 4 = 6
5 ^ 1 & 3 = 4
1 << 4 | 1 = 17
1 | 2 & 4 = 1
10 - 3 - 2 = 5
-1 = 0xffffffff
- 1 + 2 = 1
--1 = 1
len > 100
100 < len
len = len
len != len - 1
len / 0 = 1
len % 0 = 1
len << 32 = 1
len >> 31 = 0
0 / len = 0
ip[0] / ip[1] = 0
ip[0] % ip[1] = 5
ip[8] << ip[1] != 0
len
5
(5)
(len)
len = 5 = 6
tcp = 5
tcp[0]
tcp[0] and udp
tcp port 80 = 80
tcp port 80 or 443 = 443
tcp port 80 or (443 = 443)
tcp port 80 or (len > 5)
()
(
)
tcp)
(tcp
tcp &&
&& tcp
not
and
tcp udp
tcp tcp port 80
TCP
tcp port http and foo
foo
\tcp
host
host tcp
net
port
port tcp
src
src dst
dst port
portrange
proto
ip proto
tcp src
4294967296 = 0
0xffffffff = 4294967295
ip[0] = 0x45 and (tcp or udp) and not port 80
tcp[13]=2
tcp[13]&2=2
ip[8]<64
ip[8]<=64
ip[8]>=64&&tcp
!tcp&&!udp
length > 5
link[0] = 2
ether[0]=2
host 10.0.0.256
fd00::2
host fd00::2::1
host 1:2:3:4:5:6:7
host ::ffff:10.0.0.1
host 10.0.0.1.5
tcp port 80$
tcp # port
host 10.0.0.1/32
gateway 10.0.0.1
`

// Package ownsockets distinguishes the program's own TCP connections from all others. With it, the tap can exclude its own traffic from
// the capture without knowing the addresses of brokers. The zero value of [Sockets] is ready for use.
//
// Order of use: dial every connection through [Sockets.DialContext]. For each captured connection with the pod's local address, call
// [Sockets.Owns]. On loopback, call [Sockets.OwnedAt] with the local port and the time of the packet. If a mesh's proxy accepts the program's
// connections, the packets that leave the pod come from the proxy's sockets. For this case, report the interface of the program's packets to
// [Sockets.Runs], and call [Sockets.Proxied] and [Sockets.Sent].
package ownsockets

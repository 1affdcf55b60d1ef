// Package ownsockets tells the program's own TCP connections apart from all others, so that the tap leaves its own traffic out of what it
// captures, whatever the broker's address is.
//
// Order of use: dial every connection through [Sockets.DialContext]. For each captured connection whose local address is the pod's, ask
// [Sockets.Owns], on loopback [Sockets.OwnedAt] by local port and packet time. Where a mesh's proxy accepts the program's connections, the packets that leave the pod
// come from the proxy's sockets: report the interface of an own packet to [Sockets.Runs], and ask [Sockets.Proxied] and [Sockets.Sent].
package ownsockets

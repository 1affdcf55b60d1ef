// Package selftest shows at the start of the tap that packets lead to verdicts: it makes one handshake of TLS 1.3 with a client
// certificate and one without, captures both on the loopback interface, and compares their verdicts with the expected ones. So it
// tests the capability, the packet socket, the ring, the filter, the decoding and the judgement together.
//
// It has a capture and a table of connections of its own. The rings of the tap's capture pass a packet on after up to 250 ms, may
// be busy with the traffic of the pod, and do not exist if lo is not captured.
package selftest

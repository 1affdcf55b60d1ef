// Package dump captures packets of several interfaces and writes them as pcapng for Wireshark, by default without their payload.
//
// Order of use: [Open] starts to capture, [Capture.Run] writes until its context ends. While the writer is slow, packets wait in the kernel's
// rings; when a ring is full, further packets are lost and counted. The workload never waits.
package dump

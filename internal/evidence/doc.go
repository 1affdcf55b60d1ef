// Package evidence turns the packets of one connection into a small pcapng file that shows why a finding was raised, without the
// connection's payload: packet headers and TLS handshakes stay, plaintext is masked except for words of the
// protocol in the first line of each segment, and the content of protected TLS records is replaced.
//
// Order of use: a [Recorder] stores the packets of connections as they are captured. [Recorder.Encode] reduces the packets of one
// connection and returns the file. A [Store] writes files to a folder and deletes old ones.
//
// The layout of the files is that of draft-ietf-opsawg-pcapng. Package pcapgo is not used because it would add 1.2 MB to the tap, and
// because it writes neither comments of packets nor name resolution blocks.
package evidence

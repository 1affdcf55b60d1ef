// Package capturetest creates captures for tests. It is for tests only.
//
// Order of use: [Record] lets two real ends talk in memory and returns the [Conversation]; [TLSTalk] and [HTTPTalk] do
// that for TLS and HTTP, [Mixed] for many kinds of connections. [Conversation.Packets] splits it into the frames of a
// TCP connection, and [WritePcap] writes a file. [TCPFrame] and [UDPFrame] return single frames.
//
// Other functions return single messages: [DNS], [DTLS] and [DTLSRecord], [SSHKexInit], and the blocks of pcapng files
// ([Blocks]). [NewAuthority] creates certificates.
package capturetest

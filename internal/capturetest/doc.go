// Package capturetest creates captures for tests. It is for tests only.
//
// Order of use: [Record] lets two real ends talk in memory and returns the [Conversation]; [TLSTalk] and [HTTPTalk] do that for TLS and
// HTTP. [Conversation.Packets] cuts it into the frames of a TCP connection, and [WritePcap] writes a file. [TCPFrame] and [UDPFrame] make
// single frames.
package capturetest

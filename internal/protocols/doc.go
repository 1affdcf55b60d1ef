// Package protocols recognizes protocols by the first bytes that their clients and servers send. It knows no connection: each function
// examines bytes and returns a Match. There is one file for each family of protocols.
//
// [TCP] and [UDP] are the tables of recognizers. [IsSealed] and [MessageOf] recognize messages that a protocol encrypts by its own means,
// without TLS. [IsText] is for bytes of unknown protocols.
package protocols

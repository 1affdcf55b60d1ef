// Package verify answers whether connections from one pod to another are mutual TLS, from the records of the taps at both ends.
//
// Order of use: [Records.Add] for each record of a tap, with the name of its pod, then [Records.Answer] as often as needed. A connection is
// the same at both ends if the hash of its TLS randoms (meshtls.tls.session_hash) or of its ports and sequence numbers (meshtls.flow_hash)
// is: the translation of addresses by a service does not matter. The answer is mutual TLS only if the records of both ends say so.
package verify

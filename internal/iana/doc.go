// Package iana returns the names that IANA has registered for numbers of TLS: cipher suites, named groups and alerts. It contains only
// generated tables and their look-up, and imports no other package of the project.
//
// Order of use: [CipherSuiteName], [GroupName] and [AlertName] return the name of a number; [AlertNumber] returns the number of an alert's name.
// The functions are safe for concurrent use.
package iana

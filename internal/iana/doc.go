// Package iana returns the names that IANA has registered for numbers of TLS: cipher suites, named groups and alerts. It is a leaf:
// generated tables and their look-up.
package iana

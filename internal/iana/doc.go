// Package iana returns the names that IANA has registered for numbers of TLS: cipher suites, named groups and alerts. It contains only
// generated tables and their look-up, and imports no other package of the project.
package iana

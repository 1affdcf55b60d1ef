// Package names checks names from packets before they are published, so that a record contains a valid host name or none. It also makes
// other bytes printable.
//
// Order of use: [Hostname] checks a server name, and [Authority] the host of a request, before either is published. [Printable] is for bytes that are
// quoted in a message, and [EscapeJSON] for JSON that is printed. The functions keep no state and are safe for concurrent use.
package names

// Package names checks names from packets before they are published, so that a record contains a valid host name or none. It also makes
// other bytes printable.
package names

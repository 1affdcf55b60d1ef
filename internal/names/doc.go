// Package names checks names that come from packets before they are published, so that a record contains a host name or nothing, and
// makes other bytes printable.
package names

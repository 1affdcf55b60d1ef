// Package credentials finds the kinds of credentials that clients send in plaintext. It never keeps a value: a Reader and a Field store
// only which kind was seen, and how far the current message was read.
package credentials

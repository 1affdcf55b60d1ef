// Package generate is a command that writes the JSON encoder of package record from its types.
//
// It reads the declarations of the structs in record.go and meshtls.go, and writes encode_generated.go
// into the current folder. go generate ./internal/record runs it. docs/decisions/045-record-encoder.md
// explains why encoding/json does not encode records.
package main

// Package record declares the published record, which is the tap's interface to its
// consumers: Record, with one struct for each object. internal/finding fills it; whatever
// reads records (internal/migration, demo/answer) decodes JSON into it by encoding/json.
//
// The tags are the contract. A member without omitempty or omitzero is always written,
// wherever its object is; any other is absent if it is zero, and absent means unknown or
// none, as its comment says. Nothing is ever null. Times are nanoseconds since the epoch in
// Go and RFC 3339 in JSON, sizes are bytes, durations nanoseconds.
//
// A published field is never renamed or removed, and never changes its type or meaning: an
// object only gains members, and a list of values only gains values. So a reader accepts
// members and values that it does not know, as encoding/json does. schema/record.schema.json
// is the same contract for other languages, and a test compares the two.
//
// Order of use: fill a [Record]; [Record.AppendJSON] encodes it; consumers decode with encoding/json.
//
// AppendJSON is generated from the types: go generate ./internal/record writes it anew.
package record

// Package record declares the published record, which is the tap's interface to its consumers: [Record],
// with one struct for each object. internal/finding fills it. Readers of records (internal/migration,
// demo/answer) decode JSON into it with encoding/json.
//
// The tags are the contract. A member without omitempty or omitzero is always written when its object is
// written. Any other member is absent if it is zero. The comment of a member says whether its
// absence means that the value is unknown or that nothing exists. No member is ever null. Times are nanoseconds since the epoch in Go and RFC 3339 in
// JSON, sizes are bytes, and durations are nanoseconds.
//
// A published field is never renamed or removed, and never changes its type or meaning. An object only
// gains members, and a list of values only gains values. So a reader must accept members and values that
// it does not know, as encoding/json does. schema/record.schema.json is the same contract for other
// languages, and a test compares the two.
//
// Order of use: fill a [Record]; [Record.AppendJSON] encodes it; consumers decode with encoding/json.
//
// AppendJSON is generated from the types by go generate ./internal/record.
package record

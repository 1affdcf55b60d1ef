package record

// Part is an object within a record, such as *Meshtls or *Kubernetes.
type Part interface {
	appendMembers(b []byte) []byte
}

// AppendPart appends one object of a record, as AppendJSON writes it. It appends {} for an object without members.
func AppendPart(b []byte, p Part) []byte { return object(b, p.appendMembers) }

// AppendString appends s as a JSON string, with the escapes that AppendJSON uses.
func AppendString(b []byte, s string) []byte { return appendQuoted(b, s) }

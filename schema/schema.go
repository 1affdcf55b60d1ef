package schema

import _ "embed"

// JSON is the schema, JSON Schema 2020-12.
//
//go:embed record.schema.json
var JSON []byte

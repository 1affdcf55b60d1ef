// Package schema embeds the JSON Schema of the published record: [JSON], which `tap schema` prints. migration.schema.json, in the same folder
// and not embedded, describes the comparison that `tap read --before --after` writes. README.md describes what rules and codes mean, and what
// a consumer may rely on.
package schema

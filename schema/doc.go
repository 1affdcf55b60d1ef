// Package schema holds the JSON Schema of the published record. README.md describes what its rules and codes mean, and what a consumer may
// rely on.
package schema

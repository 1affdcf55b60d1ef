package schema

import (
	"bytes"
	_ "embed"
	"io"

	"github.com/klauspost/compress/gzip"
)

// JSON is the schema, JSON Schema 2020-12.
//
//go:embed record.schema.json
var JSON []byte

// compressed is JSON in the format of gzip. Programs contain only one of the two: the tap this one, which is 38 KB smaller.
//
//go:embed record.schema.json.gz
var compressed []byte

// Text returns the same text as JSON. A program that calls it does not contain JSON.
func Text() (string, error) {
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return string(text), err
}

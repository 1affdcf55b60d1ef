package main

import (
	"errors"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/ocsf"
)

// format is the format of published records.
type format struct {
	name   string
	header string          // Kafka's header "schema"; empty: the version of the record's own format
	encode finding.Encoder // nil: the record's own format
}

// formats are the values of --format and TAP_FORMAT. The first is the default.
var formats = []format{{name: "ecs"}, {name: "ocsf", header: "ocsf-" + ocsf.Version, encode: ocsf.Append}}

func parseFormat(text string) (format, error) {
	for _, f := range formats {
		if text == f.name || text == "" {
			return f, nil
		}
	}
	return formats[0], errors.New("expected ecs or ocsf")
}

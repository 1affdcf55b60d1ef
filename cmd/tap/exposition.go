package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// exposition writes metrics in the Prometheus text format, version 0.0.4. Two libraries were tried instead, which is much for two
// calls of Fprintf: prometheus/client_golang makes the tap 2 MB larger, and VictoriaMetrics/metrics 0.3 MB. The latter also
// writes to standard error at its start.
type exposition struct {
	w      io.Writer
	prefix string
}

// family starts the samples of one metric; kind is counter or gauge.
func (e *exposition) family(name, kind string) {
	fmt.Fprintf(e.w, "# TYPE %s%s %s\n", e.prefix, name, kind)
}

// sample writes one sample of a family. labels are names, each followed by its value.
func (e *exposition) sample(name string, value float64, labels ...string) {
	fmt.Fprintf(e.w, "%s%s", e.prefix, name)
	for i := 0; i+1 < len(labels); i += 2 {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		fmt.Fprintf(e.w, "%s%s=\"%s\"", sep, labels[i], escapeLabel(labels[i+1]))
	}
	if len(labels) > 0 {
		io.WriteString(e.w, "}") //nolint:errcheck // the client is gone
	}
	fmt.Fprintf(e.w, " %s\n", number(value))
}

var labelEscapes = strings.NewReplacer("\\", `\\`, "\"", `\"`, "\n", `\n`)

// escapeLabel returns a label's value in the text format, which has three escapes and requires UTF-8. Each run of invalid bytes
// becomes U+FFFD.
func escapeLabel(value string) string {
	return labelEscapes.Replace(strings.ToValidUTF8(value, "\uFFFD"))
}

// number formats whole numbers without an exponent, so that counters stay readable.
func number(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprint(int64(v))
	}
	return fmt.Sprint(v)
}

func (e *exposition) gauge(name string, value float64) {
	e.family(name, "gauge")
	e.sample(name, value)
}

func (e *exposition) counter(name string, value uint64) {
	e.family(name, "counter")
	e.sample(name, float64(value))
}

// counters writes a family of counters with one label, sorted by the value of the label.
func (e *exposition) counters(name, label string, values map[string]uint64) {
	e.family(name, "counter")
	for _, k := range slices.Sorted(maps.Keys(values)) {
		e.sample(name, float64(values[k]), label, k)
	}
}

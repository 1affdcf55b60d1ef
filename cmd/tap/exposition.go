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
	w     io.Writer
	table map[string]metric // describes every metric that is written
}

// family starts the samples of one metric.
func (e *exposition) family(name string) {
	m := e.table[name]
	fmt.Fprintf(e.w, "# HELP %s %s\n# TYPE %s %s\n", name, m.help, name, m.kind)
}

// sample writes one sample of a family. label is the value of the metric's label, if it has one.
func (e *exposition) sample(name string, value float64, label ...string) {
	io.WriteString(e.w, name) //nolint:errcheck // the client is gone
	for _, v := range label {
		fmt.Fprintf(e.w, "{%s=\"%s\"}", e.table[name].label, escapeLabel(v))
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
	e.family(name)
	e.sample(name, value)
}

func (e *exposition) counter(name string, value uint64) {
	e.family(name)
	e.sample(name, float64(value))
}

// counters writes a family of counters, sorted by the value of its label.
func (e *exposition) counters(name string, values map[string]uint64) {
	e.family(name)
	for _, k := range slices.Sorted(maps.Keys(values)) {
		e.sample(name, float64(values[k]), k)
	}
}

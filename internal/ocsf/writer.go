package ocsf

import (
	"net/netip"
	"strconv"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// writer appends JSON. Each member ends with a comma, which enclosed replaces by a brace or bracket.
type writer struct{ b []byte }

func (w *writer) name(name string) {
	if name != "" { // the items of a list have no names
		w.b = append(record.AppendString(w.b, name), ':')
	}
}

// object writes an object, unless members writes nothing.
func (w *writer) object(name string, members func()) { w.enclosed(name, '{', '}', members) }

// list writes a list, unless items writes nothing. The items have empty names.
func (w *writer) list(name string, items func()) { w.enclosed(name, '[', ']', items) }

// enclosed writes an object or a list, and a comma. If content writes nothing, neither the name nor the brackets remain.
func (w *writer) enclosed(name string, opening, closing byte, content func()) {
	at := len(w.b)
	w.name(name)
	w.b = append(w.b, opening)
	start := len(w.b)
	content()
	if len(w.b) == start {
		w.b = w.b[:at]
		return
	}
	w.b[len(w.b)-1] = closing // in place of the comma of the last member
	w.b = append(w.b, ',')
}

// text writes a string, unless it is empty.
func (w *writer) text(name, s string) {
	if s != "" {
		w.name(name)
		w.b = append(record.AppendString(w.b, s), ',')
	}
}

// texts writes a list of strings, unless it is empty.
func (w *writer) texts(name string, list []string) {
	w.list(name, func() {
		for _, s := range list {
			w.b = append(record.AppendString(w.b, s), ',')
		}
	})
}

// number writes a number, also 0.
func (w *writer) number(name string, n int64) {
	w.name(name)
	w.b = append(strconv.AppendInt(w.b, n, 10), ',')
}

// count writes a number, unless it is 0.
func (w *writer) count(name string, n uint64) {
	if n != 0 {
		w.name(name)
		w.b = append(strconv.AppendUint(w.b, n, 10), ',')
	}
}

func (w *writer) boolean(name string, x bool) {
	w.name(name)
	w.b = append(strconv.AppendBool(w.b, x), ',')
}

// time writes a time in milliseconds since the epoch, unless it is 0.
func (w *writer) time(name string, t record.Time) {
	if t != 0 {
		w.number(name, t.Std().UnixMilli())
	}
}

// ip writes the attribute ip, unless the address is invalid.
func (w *writer) ip(a netip.Addr) {
	if a.IsValid() {
		w.text("ip", a.String())
	}
}

// part writes an object of the record, unless it is empty.
func (w *writer) part(name string, p record.Part) {
	at := len(w.b)
	w.name(name)
	start := len(w.b)
	w.b = record.AppendPart(w.b, p)
	if len(w.b) == start+len("{}") {
		w.b = w.b[:at]
		return
	}
	w.b = append(w.b, ',')
}

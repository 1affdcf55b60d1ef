package finding

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// emitFlow emits the record of a connection that has ended.
func (e *Engine) emitFlow(j *verdict.Judged, x Expect, edge string) {
	h := header{
		dataset: DatasetFlow, kind: "event", category: ofNetwork, types: flowTypes(j),
		time: j.Last, start: j.Start, end: j.Last,
		edge: edge, subject: e.connKey(j), window: j.Start,
	}
	r := e.startRecord(&h)
	e.setConn(r, j, true)
	e.setJudgement(&r.Meshtls, j, x)
	e.emitRecord(&h, j.Interface)
}

var (
	plainTypes = []string{"connection", "end"}
	knownTypes = []string{"connection", "end", "protocol"}
)

// flowTypes returns event.type. It includes "protocol" if the record has details of TLS or HTTP.
func flowTypes(j *verdict.Judged) []string {
	if j.TLS != nil || j.HTTP != nil {
		return knownTypes
	}
	return plainTypes
}

// connKey returns a key that identifies a connection within a run and across captures: its transport,
// ends, start, number and interface.
func (e *Engine) connKey(j *verdict.Judged) []byte {
	b := e.conn[:0]
	b = append(append(b, j.Transport...), 0)
	for _, p := range [...]verdict.Endpoint{j.Source, j.Destination} {
		a := p.Addr.As16()
		b = append(b, a[:]...)
		b = binary.BigEndian.AppendUint16(b, p.Port)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(j.Start))
	b = binary.BigEndian.AppendUint64(b, j.ID)
	b = append(b, j.Interface...)
	e.conn = b
	return b
}

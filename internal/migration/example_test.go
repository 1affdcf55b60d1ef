package migration_test

import (
	"fmt"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/migration"
)

// records returns the records that the tap of web published about a connection to cart, on a day of
// January.
func records(day, verdict, clientAuth string) string {
	at := "2026-01-" + day + "T12:00:00.000000000Z"
	return `{"@timestamp":"` + at + `","event":{"dataset":"meshtls.flow","start":"` + at + `","end":"` + at + `"},` +
		`"source":{"ip":"10.1.0.7","port":40000},"destination":{"ip":"10.1.0.20","port":8443},"network":{"direction":"egress"},` +
		`"kubernetes":{"namespace":"shop","pod":{"uid":"web-` + day + `","ip":["10.1.0.7"]}},"service":{"name":"web"},` +
		`"meshtls":{"schema":1,"run":"r","scope":"wire","class":"workload","verdict":"` + verdict + `","tls":{"client_auth":"` + clientAuth + `"},` +
		`"peer":{"name":"cart.shop.svc.cluster.local","name_basis":"sni"}}}` + "\n"
}

// Each side reads its records. Compare returns the edges; the edges that lost mutual TLS come first.
func ExampleCompare() {
	before, after := migration.NewSide(), migration.NewSide()
	if err := before.Read(strings.NewReader(records("01", "mtls", "presented")), "before.jsonl"); err != nil {
		fmt.Println(err)
		return
	}
	if err := after.Read(strings.NewReader(records("02", "tls", "not_requested")), "after.jsonl"); err != nil {
		fmt.Println(err)
		return
	}

	result := migration.Compare(before, after)
	for _, e := range result.Edges {
		fmt.Println(e.From.Name, "to", e.To.Name, e.Port, e.Before.State, e.After.State, e.Change)
	}

	// Output:
	// web.shop to cart.shop 8443 mtls tls lost
}

package migration

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"
)

// told describes a record of a tap in a pod of the namespace shop.
type told struct {
	dataset  string
	pod      string // workload, and UID with replica
	replica  int
	ip       string
	dir      string
	from, to string // addresses
	port     int
	name     string // the peer's name, from SNI
	verdict  string
	auth     string // client_auth; default presented for mtls, declined for tls
	mesh     string
	minute   int // since the start of the side
	seq      int // 0: none
	with     map[string]any
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func (x told) line(side int) string {
	at := noon.Add(time.Duration(side)*24*time.Hour + time.Duration(x.minute)*time.Minute).Format("2006-01-02T15:04:05.000000000Z")
	set := func(m map[string]any, path string, v any) {
		parts := strings.Split(path, ".")
		for _, p := range parts[:len(parts)-1] {
			next, ok := m[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				m[p] = next
			}
			m = next
		}
		m[parts[len(parts)-1]] = v
	}
	m := map[string]any{"@timestamp": at}
	for k, v := range map[string]any{
		"event.dataset": x.dataset, "event.start": at, "event.end": at, "meshtls.schema": 1, "meshtls.scope": "wire", "meshtls.class": "workload",
	} {
		set(m, k, v)
	}
	if x.pod != "" {
		set(m, "kubernetes.namespace", "shop")
		set(m, "kubernetes.pod.uid", fmt.Sprintf("%s-%d-%d", x.pod, side, x.replica))
		set(m, "kubernetes.pod.ip", []string{x.ip})
		set(m, "service.name", x.pod)
		set(m, "meshtls.run", "r")
	}
	if x.seq > 0 {
		set(m, "event.sequence", x.seq)
	}
	if x.dir != "" {
		set(m, "network.direction", x.dir)
	}
	if x.from != "" {
		set(m, "source.ip", x.from)
		set(m, "source.port", 40000)
		set(m, "destination.ip", x.to)
		set(m, "destination.port", x.port)
	}
	if x.name != "" {
		set(m, "meshtls.peer.name", x.name)
		set(m, "meshtls.peer.name_basis", "sni")
	}
	if x.verdict != "" {
		set(m, "meshtls.verdict", x.verdict)
	}
	auth := x.auth
	if auth == "" {
		auth = map[string]string{"mtls": "presented", "tls": "declined"}[x.verdict]
	}
	if auth != "" {
		set(m, "meshtls.tls.client_auth", auth)
	}
	if x.mesh != "" {
		set(m, "meshtls.mesh", x.mesh)
	}
	for k, v := range x.with {
		set(m, k, v)
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// The pods of the tests: web calls, cart serves.
const (
	web, web2   = "10.1.0.7", "10.1.0.17" // web's address before and after the change
	cart, cart2 = "10.1.0.20", "10.1.0.30"
)

// call returns a connection that the tap of web saw.
func call(ip, to string, port int, name, verdict, mesh string) told {
	return told{dataset: flows, pod: "web", ip: ip, dir: "egress", from: ip, to: to, port: port, name: name, verdict: verdict, mesh: mesh}
}

// withFields returns a record with further members, by their paths.
func withFields(x told, fields map[string]any) told {
	x.with = fields
	return x
}

// served returns a connection that the tap of cart saw.
func served(ip, from string, port int, verdict, mesh string) told {
	return told{dataset: flows, pod: "cart", ip: ip, dir: "ingress", from: from, to: ip, port: port, verdict: verdict, mesh: mesh}
}

// alive returns a tap's record about itself.
func alive(pod, ip string, minute int) told {
	return told{dataset: ofTap, pod: pod, ip: ip, minute: minute}
}

// posture returns the posture of an edge of web.
func posture(ip, to string, port int, connections map[string]any, with map[string]any) told {
	all := map[string]any{"plaintext": 0, "tls": 0, "encrypted": 0, "mtls": 0, "failed": 0, "unknown": 0}
	maps.Copy(all, connections)
	x := map[string]any{"meshtls.edge.from": "shop/web", "meshtls.edge.to": to, "meshtls.edge.port": port, "meshtls.edge.connections": all, "meshtls.edge.key": "k"}
	maps.Copy(x, with)
	return told{dataset: postures, pod: "web", ip: ip, dir: "egress", with: x}
}

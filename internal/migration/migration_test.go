package migration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const sni = "outbound_.8080_._.cart.shop.svc.cluster.local"

func TestCompare(t *testing.T) {
	sidecar := call(web, cart, 8080, sni, "mtls", "istio")
	hbone := call(web2, cart2, 15008, "", "mtls", ambient)
	names := func(pod, ip string) told { // DNS, which is not an edge
		return told{dataset: flows, pod: pod, ip: ip, dir: "egress", from: ip, to: "10.96.0.10", port: 53, verdict: "plaintext", with: map[string]any{"meshtls.class": "dns"}}
	}
	hour := func(pod, ip string) []told { return []told{alive(pod, ip, 0), names(pod, ip), alive(pod, ip, 60)} }
	both := func(x ...told) []told { return append(append(hour("web", web2), hour("cart", cart2)...), x...) }
	first := func(x ...told) []told { return append(append(hour("web", web), hour("cart", cart)...), x...) }
	named := map[string]any{"meshtls.peer.name": "cart.shop", "meshtls.peer.name_basis": "sni"}
	for name, c := range map[string]struct {
		before, after []told
		want          []string
	}{
		"sidecar to HBONE": {first(sidecar), both(hbone), []string{"web.shop > cart.shop:8080 kept pair hbone_of_the_pair"}},
		"sidecar to HBONE, the server's tap": {
			first(sidecar), both(served(cart2, web2, 15008, "mtls", ambient)), []string{"web.shop > cart.shop:8080 kept pair hbone_of_the_pair"},
		},
		"two services of the pair": {
			first(sidecar, call(web, cart, 9090, "cart.shop", "plaintext", "")), both(hbone),
			[]string{"web.shop > cart.shop:8080 covered pair hbone_hides_service", "web.shop > cart.shop:9090 covered pair hbone_hides_service"},
		},
		"one service goes on in plaintext": {
			first(sidecar, call(web, cart, 9090, "cart.shop", "plaintext", "")), both(hbone, call(web2, cart2, 9090, "cart.shop", "plaintext", "")),
			[]string{"web.shop > cart.shop:8080 not_enough_seen pair past_hbone", "web.shop > cart.shop:9090 unchanged name"},
		},
		"plaintext to HBONE":     {first(call(web, cart, 8080, "cart.shop", "plaintext", "")), both(hbone), []string{"web.shop > cart.shop:8080 gained pair hbone_of_the_pair"}},
		"stays with its sidecar": {first(sidecar), both(call(web2, cart2, 8080, sni, "mtls", "istio")), []string{"web.shop > cart.shop:8080 kept name"}},
		"fell back to plaintext": {first(sidecar), both(call(web2, cart2, 8080, "cart.shop", "plaintext", "")), []string{"web.shop > cart.shop:8080 lost name"}},
		"fell back, by the service's address and port": {
			first(sidecar), both(call(web2, "10.96.0.9", 80, "cart.shop", "plaintext", "")), []string{"web.shop > cart.shop:8080 lost service other_port"},
		},
		"fell back to TLS": {first(sidecar), both(call(web2, cart2, 8080, "cart", "tls", "")), []string{"web.shop > cart.shop:8080 lost name"}},
		"TLS without a certificate, which the server may have refused": {
			first(sidecar), both(withFields(call(web2, cart2, 8080, "cart", "tls", ""), map[string]any{"meshtls.tls.outcome": "incomplete"})),
			[]string{"web.shop > cart.shop:8080 not_enough_seen name not_judged"},
		},
		"SSH in its place": {first(sidecar), both(call(web2, cart2, 8080, "cart", "encrypted", "")), []string{"web.shop > cart.shop:8080 lost name"}},
		"HBONE and plaintext": {
			first(sidecar), both(hbone, call(web2, "10.96.0.9", 80, "cart.shop", "plaintext", "")), []string{"web.shop > cart.shop:8080 lost service mixed other_port"},
		},
		"some go past the sidecar": {
			first(sidecar), both(call(web2, cart2, 8080, sni, "mtls", "istio"), call(web2, cart2, 8080, "cart.shop", "plaintext", "")),
			[]string{"web.shop > cart.shop:8080 lost name mixed"},
		},
		"a port in plaintext that was not there": {
			first(sidecar), both(call(web2, cart2, 8080, sni, "mtls", "istio"), call(web2, cart2, 80, "cart.shop", "plaintext", "")),
			[]string{"web.shop > cart.shop:80 lost service other_port", "web.shop > cart.shop:8080 kept name"},
		},
		"mixed before and after": {
			first(sidecar, call(web, cart, 8080, "cart.shop", "plaintext", "")), both(call(web2, cart2, 8080, sni, "mtls", "istio"), call(web2, cart2, 8080, "cart.shop", "plaintext", "")),
			[]string{"web.shop > cart.shop:8080 unchanged name mixed"},
		},
		"mixed, and plaintext is left": {
			first(sidecar, call(web, cart, 8080, "cart.shop", "plaintext", "")), both(call(web2, cart2, 8080, "cart.shop", "plaintext", "")),
			[]string{"web.shop > cart.shop:8080 lost name"},
		},
		"gone": {first(sidecar), both(), []string{"web.shop > cart.shop:8080 gone"}},
		"not watched for as long": {
			first(sidecar), []told{alive("web", web2, 0), alive("web", web2, 59), served(cart2, "10.9.9.9", 15008, "mtls", ambient)},
			[]string{"web.shop > cart.shop:8080 not_enough_seen too_short", "10.9.9.9 > cart.shop (HBONE) not_enough_seen source_not_watched"},
		},
		"one of two pods is watched": {
			first(sidecar, told{dataset: ofTap, pod: "web", ip: "10.1.0.8", replica: 1}), both(hbone2("10.9.9.9")),
			[]string{"web.shop > cart.shop:8080 not_enough_seen fewer_pods", "10.9.9.9 > cart.shop (HBONE) not_enough_seen source_not_watched"},
		},
		"lost packets": {
			first(sidecar), both(told{dataset: ofTap, pod: "web", ip: web2, with: map[string]any{"meshtls.coverage.dropped": 3}}),
			[]string{"web.shop > cart.shop:8080 not_enough_seen packets_lost"},
		},
		"blind": {
			first(sidecar), both(told{dataset: ofTap, pod: "web", ip: web2, with: map[string]any{"meshtls.tap.blind": true}}),
			[]string{"web.shop > cart.shop:8080 not_enough_seen packets_lost"},
		},
		"lost records": {
			first(sidecar), both(told{dataset: ofTap, pod: "web", ip: web2, seq: 4}, told{dataset: ofTap, pod: "web", ip: web2, seq: 6}),
			[]string{"web.shop > cart.shop:8080 not_enough_seen records_lost"},
		},
		"records out of order": {
			first(sidecar), both(told{dataset: ofTap, pod: "web", ip: web2, seq: 6}, told{dataset: ofTap, pod: "web", ip: web2, seq: 4}, told{dataset: ofTap, pod: "web", ip: web2, seq: 5}),
			[]string{"web.shop > cart.shop:8080 gone"},
		},
		"another filter": {
			first(sidecar), both(told{dataset: ofTap, pod: "web", ip: web2, with: map[string]any{"meshtls.coverage.filter": "port 1"}}),
			[]string{"web.shop > cart.shop:8080 not_enough_seen filtered"},
		},
		"not tapped after": {
			first(sidecar), append(hour("cart", cart2), hbone2("10.9.9.9")),
			[]string{"web.shop > cart.shop:8080 not_enough_seen source_not_watched", "10.9.9.9 > cart.shop (HBONE) not_enough_seen source_not_watched"},
		},
		"a waypoint": {
			first(sidecar), append(both(), call(web2, "10.1.9.9", 15008, "", "mtls", ambient)),
			[]string{"web.shop > cart.shop:8080 not_enough_seen hbone_to_others", "web.shop > 10.1.9.9 (HBONE) not_enough_seen server_by_address"},
		},
		"HBONE, and plaintext to who knows whom": {
			first(sidecar), both(hbone, call(web2, "10.96.0.9", 5000, "", "plaintext", "")),
			[]string{"web.shop > 10.96.0.9:5000 not_enough_seen server_by_address", "web.shop > cart.shop:8080 not_enough_seen pair nameless_less"},
		},
		"HBONE, and plaintext to another service": {
			first(sidecar), both(hbone, call(web2, "10.96.0.9", 80, "stock.shop", "plaintext", "")),
			[]string{"web.shop > stock.shop:80 new", "web.shop > cart.shop:8080 kept pair hbone_of_the_pair"},
		},
		"an address that a tap said was the server's, and no tap does": {
			first(sidecar), append(hour("web", web2), call(web2, cart, 15008, "", "mtls", ambient)),
			[]string{"web.shop > cart.shop:8080 not_enough_seen hbone_to_others", "web.shop > " + cart + " (HBONE) not_enough_seen server_by_address"},
		},
		"an address that is another's by now": {
			first(sidecar), append(append(hour("web", web2), hour("stock", cart)...), call(web2, cart, 15008, "", "mtls", ambient)),
			[]string{"web.shop > cart.shop:8080 not_enough_seen hbone_to_others", "web.shop > stock.shop (HBONE) new"},
		},
		"an address that nobody names": {
			append(hour("web", web), sidecar), append(hour("web", web2), call(web2, cart, 15008, "", "mtls", ambient)),
			[]string{"web.shop > cart.shop:8080 not_enough_seen hbone_to_others", "web.shop > " + cart + " (HBONE) not_enough_seen server_by_address"},
		},
		"plaintext to the server's address": {
			first(sidecar), append(hour("web", web2), call(web2, cart, 8080, "", "plaintext", "")),
			[]string{"web.shop > cart.shop:8080 lost address"},
		},
		"a service with another name than its workload": {
			first(call(web, cart, 8080, "basket.shop", "mtls", "istio")), both(hbone), // nothing on the after side links basket.shop to cart2
			[]string{"web.shop > basket.shop:8080 kept pair hbone_of_the_pair"},
		},
		"both taps saw it, under another name": {
			first(call(web, cart, 8080, "basket.shop", "mtls", "istio"), served(cart, web, 8080, "mtls", "")), both(hbone, served(cart2, web2, 15008, "mtls", ambient)),
			[]string{"web.shop > basket.shop:8080 kept pair hbone_of_the_pair"},
		},
		"from HBONE to plaintext": {
			first(call(web, cart, 15008, "", "mtls", ambient)), both(call(web2, cart2, 8080, "cart.shop", "plaintext", "")),
			[]string{"web.shop > cart.shop (HBONE) lost service"},
		},
		"HBONE before and after": {first(call(web, cart, 15008, "", "mtls", ambient)), both(hbone), []string{"web.shop > cart.shop (HBONE) kept name"}},
		"mutual TLS of its own at HBONE's port": {
			first(sidecar), both(call(web2, cart2, 15008, "", "mtls", "")), // the hello is not ztunnel's, so the edge represents only its own port
			[]string{"web.shop > cart.shop:8080 not_enough_seen service other_port"},
		},
		"several ports to one that is new": {
			first(sidecar, call(web, cart, 9090, "cart.shop", "mtls", "istio")), both(call(web2, cart2, 80, "cart.shop", "mtls", "istio")),
			[]string{"web.shop > cart.shop:8080 not_enough_seen service other_port", "web.shop > cart.shop:9090 not_enough_seen service other_port"},
		},
		"mutual TLS and TLS that may be": {
			first(sidecar), both(hbone, told{dataset: flows, pod: "web", ip: web2, dir: "egress", from: web2, to: cart2, port: 15008, verdict: "tls", auth: "unknown", mesh: ambient}),
			[]string{"web.shop > cart.shop:8080 not_enough_seen pair unclear"},
		},
		"mutual TLS and connections that are not judged": {
			first(sidecar), both(hbone, call(web2, cart2, 15008, "", "unknown", "")), []string{"web.shop > cart.shop:8080 not_enough_seen pair unjudged"},
		},
		"failed handshakes": {first(sidecar), both(call(web2, cart2, 8080, "cart", "failed", "")), []string{"web.shop > cart.shop:8080 not_enough_seen name failed_only"}},
		"a client without a name falls back": {
			first(served(cart, "10.9.0.1", 8080, "mtls", "istio")), both(served(cart2, "10.9.0.2", 8080, "plaintext", "")),
			[]string{"10.9.0.2 > cart.shop:8080 lost server server_took_mtls_only", "10.9.0.1 > cart.shop:8080 not_enough_seen source_not_watched"},
		},
		"postures": {
			first(posture(web, "cart.shop", 8080, map[string]any{"mtls": 4}, named)), both(posture(web2, cart2, 15008, map[string]any{"mtls": 2}, map[string]any{"meshtls.mesh": ambient})),
			[]string{"web.shop > cart.shop:8080 kept pair hbone_of_the_pair"},
		},
		"postures of mutual TLS of its own at HBONE's port": {
			first(posture(web, "cart.shop", 8080, map[string]any{"mtls": 4}, named)), both(posture(web2, cart2, 15008, map[string]any{"mtls": 2}, nil)),
			[]string{"web.shop > cart.shop:8080 not_enough_seen service other_port"},
		},
		"HBONE beside another service, before too": {
			first(sidecar, call(web, cart, 15008, "", "mtls", ambient)), both(hbone),
			[]string{"web.shop > cart.shop:8080 covered pair hbone_hides_service", "web.shop > cart.shop (HBONE) kept name"},
		},
		"HBONE beside plaintext, before too": {
			first(call(web, cart, 8080, "cart.shop", "plaintext", ""), call(web, cart, 15008, "", "mtls", ambient)), both(hbone),
			[]string{"web.shop > cart.shop:8080 covered pair hbone_hides_service", "web.shop > cart.shop (HBONE) kept name"},
		},
		"kept, and plaintext at its port to who knows whom": {
			first(sidecar), both(call(web2, cart2, 8080, sni, "mtls", "istio"), call(web2, "10.96.0.9", 8080, "", "plaintext", "")),
			[]string{"web.shop > 10.96.0.9:8080 not_enough_seen server_by_address", "web.shop > cart.shop:8080 not_enough_seen name nameless_less"},
		},
		"kept, and plaintext at another port to who knows whom": {
			first(sidecar), both(call(web2, cart2, 8080, sni, "mtls", "istio"), call(web2, "10.96.0.9", 5432, "", "plaintext", "")),
			[]string{"web.shop > 10.96.0.9:5432 not_enough_seen server_by_address", "web.shop > cart.shop:8080 kept name"},
		},
		"a server known by its SPIFFE ID falls back": {
			first(posture(web, "spiffe://cluster.local/ns/shop/sa/cart", 8080, map[string]any{"mtls": 4}, map[string]any{"meshtls.peer.name": "spiffe://cluster.local/ns/shop/sa/cart", "meshtls.peer.name_basis": "certificate"})),
			both(posture(web2, "cart.shop", 8080, map[string]any{"plaintext": 1}, named)),
			[]string{
				"web.shop > cart.shop:8080 not_enough_seen peers_by_identity",
				"web.shop > spiffe://cluster.local/ns/shop/sa/cart:8080 not_enough_seen server_by_identity",
			},
		},
		"a server known by Linkerd's name for it falls back": {
			first(posture(web, "cart.shop.serviceaccount.identity.linkerd.cluster.local", 8080, map[string]any{"mtls": 4}, map[string]any{"meshtls.peer.name": "cart.shop.serviceaccount.identity.linkerd.cluster.local", "meshtls.peer.name_basis": "certificate"})),
			both(posture(web2, "cart.shop", 8080, map[string]any{"plaintext": 1}, named)),
			[]string{
				"web.shop > cart.shop:8080 not_enough_seen peers_by_identity",
				"web.shop > cart.shop.serviceaccount.identity.linkerd.cluster.local:8080 not_enough_seen server_by_identity",
			},
		},
		"the first records of a run are missing": {
			first(sidecar), both(
				told{dataset: ofTap, pod: "web", ip: web2, seq: 1, with: map[string]any{"event.action": "started"}},
				told{dataset: flows, pod: "web", ip: web2, dir: "egress", from: web2, to: "10.96.0.10", port: 53, verdict: "plaintext", seq: 3, with: map[string]any{"meshtls.class": "dns"}}),
			[]string{"web.shop > cart.shop:8080 not_enough_seen records_lost"},
		},
		"the input begins in the middle of a run": {
			first(sidecar), both(told{dataset: ofTap, pod: "web", ip: web2, seq: 7}),
			[]string{"web.shop > cart.shop:8080 gone"},
		},
		"the client's address is another pod's after its end": {
			first(sidecar), append(append(hour("cart", cart2), ended("web", web2, 10)...), later(served(cart2, web2, 15008, "mtls", ambient), 30)),
			[]string{
				"web.shop > cart.shop:8080 not_enough_seen too_short",
				web2 + " > cart.shop (HBONE) not_enough_seen source_not_watched",
			},
		},
		"the server's address is another pod's after its end": {
			first(sidecar), append(append(hour("web", web2), ended("cart", cart2, 10)...), later(hbone, 30)),
			[]string{
				"web.shop > cart.shop:8080 not_enough_seen hbone_to_others",
				"web.shop > " + cart2 + " (HBONE) not_enough_seen server_by_address",
			},
		},
		"the server's address was another pod's before its start": {
			first(sidecar), append(append(hour("web", web2), later(told{dataset: ofTap, pod: "cart", ip: cart2, with: map[string]any{"event.action": "started"}}, 30), alive("cart", cart2, 60)), later(hbone, 10)),
			[]string{
				"web.shop > cart.shop:8080 not_enough_seen hbone_to_others",
				"web.shop > " + cart2 + " (HBONE) not_enough_seen server_by_address",
			},
		},
		"two pods have had the server's address": {
			first(sidecar), append(append(append(hour("web", web2), ended("cart", cart2, 20)...),
				later(told{dataset: ofTap, pod: "stock", ip: cart2, with: map[string]any{"event.action": "started"}}, 30), alive("stock", cart2, 60)), later(hbone, 10)),
			[]string{"web.shop > cart.shop:8080 kept pair hbone_of_the_pair"},
		},
		"a posture with TLS beside mutual TLS": {
			first(posture(web, "cart.shop", 8080, map[string]any{"mtls": 4}, named)), both(posture(web2, "cart.shop", 8080, map[string]any{"mtls": 2, "tls": 1}, named)),
			[]string{"web.shop > cart.shop:8080 not_enough_seen name unclear"},
		},
		"a posture of TLS alone": {
			first(posture(web, "cart.shop", 8080, map[string]any{"mtls": 4}, named)), both(posture(web2, "cart.shop", 8080, map[string]any{"tls": 1}, named)),
			[]string{"web.shop > cart.shop:8080 lost name"},
		},
		"a posture that a later one of its window replaces": {
			first(posture(web, "cart.shop", 8080, map[string]any{"mtls": 4}, named)),
			both(posture(web2, "cart.shop", 8080, map[string]any{"plaintext": 1}, named), posture(web2, "cart.shop", 8080, map[string]any{"mtls": 1}, named)),
			[]string{"web.shop > cart.shop:8080 kept name"},
		},
		"edges without room": {
			first(sidecar), both(hbone, posture(web2, "", 0, map[string]any{"plaintext": 1}, map[string]any{"meshtls.edge.folded": true})),
			[]string{"web.shop > cart.shop:8080 not_enough_seen pair folded_less"},
		},
		"findings alone": {
			first(sidecar), []told{fault("open", 1), alive("web", web2, 0), alive("web", web2, 60)},
			[]string{"web.shop > cart.shop:8080 lost name"},
		},
		"a finding that was retracted": {
			first(sidecar), []told{fault("open", 1), fault("withdrawn", 0), alive("web", web2, 0), alive("web", web2, 60)},
			[]string{"web.shop > cart.shop:8080 not_enough_seen no_edges_read too_short"},
		},
		"a finding that ended by a retraction": {
			first(sidecar), []told{fault("open", 1), fault("resolved", 0), alive("web", web2, 0), alive("web", web2, 60)},
			[]string{"web.shop > cart.shop:8080 not_enough_seen no_edges_read too_short"},
		},
		"gone: the last snapshot of a running tap covers the hour": {
			first(sidecar), []told{alive("web", web2, 0), posture(web2, "cart.shop", 9999, nil, nil), alive("web", web2, 130)}, []string{"web.shop > cart.shop:8080 gone"},
		},
		"the last hour of a running tap is not published yet": {
			first(sidecar), []told{alive("web", web2, 0), posture(web2, "cart.shop", 9999, nil, nil), alive("web", web2, 129)}, []string{"web.shop > cart.shop:8080 not_enough_seen too_short"},
		},
		"plaintext that the snapshot retracts, after an improvement": {
			first(sidecar), both(
				posture(web2, "cart.shop", 8080, map[string]any{"plaintext": 1}, map[string]any{"event.action": "worsened"}),
				later(posture(web2, "cart.shop", 8080, map[string]any{"mtls": 2}, map[string]any{"event.action": "improved"}), 20),
				posture(web2, "cart.shop", 8080, map[string]any{"mtls": 6}, map[string]any{"event.action": "snapshot"})),
			[]string{"web.shop > cart.shop:8080 kept name"},
		},
		"within the pod": {
			first(sidecar), both(hbone, told{dataset: flows, pod: "web", ip: web2, dir: "egress", from: web2, to: "10.96.0.9", port: 8080, name: "cart.shop", verdict: "plaintext", with: map[string]any{"meshtls.scope": "pod"}}),
			[]string{"web.shop > cart.shop:8080 kept pair hbone_of_the_pair"},
		},
		"another port of an address": {
			[]told{{dataset: flows, dir: "egress", from: web, to: cart, port: 8080, verdict: "mtls"}}, []told{{dataset: flows, dir: "egress", from: web, to: cart, port: 9090, verdict: "mtls"}},
			[]string{web + " > cart:8080 not_enough_seen server_by_address too_short", web + " > cart:9090 not_enough_seen server_by_address too_short"},
		},
		"another port of an address, in plaintext": {
			[]told{{dataset: flows, dir: "egress", from: web, to: cart, port: 8080, verdict: "mtls"}}, []told{{dataset: flows, dir: "egress", from: web, to: cart, port: 9090, verdict: "plaintext"}},
			[]string{web + " > cart:9090 not_enough_seen server_by_address too_short", web + " > cart:8080 not_enough_seen server_by_address too_short"},
		},
		"captures without a point of view": {
			[]told{{dataset: flows, from: web, to: cart, port: 8080, verdict: "mtls"}}, []told{{dataset: flows, from: web, to: "10.1.0.99", port: 8080, name: "stock.shop", verdict: "mtls"}},
			[]string{web + " > cart:8080 not_enough_seen point_of_view server_by_address", web + " > stock.shop:8080 not_enough_seen peers_by_address point_of_view"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := Compare(sideOf(t, 0, c.before), sideOf(t, 1, c.after))
			got := rows(&r)
			for i := range c.want {
				c.want[i] = strings.ReplaceAll(c.want[i], "> cart:", "> "+cart+":")
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
		})
	}
}

// ended returns the records of a tap that starts with the side and stops at a minute.
func ended(pod, ip string, minute int) []told {
	stop := alive(pod, ip, minute)
	stop.with = map[string]any{"event.action": "stopped"}
	return []told{alive(pod, ip, 0), stop}
}

// later returns a record with another minute.
func later(x told, minute int) told {
	x.minute = minute
	return x
}

// hbone2 returns a record of HBONE that cart's tap saw, from an address without a name.
func hbone2(from string) told { return served(cart2, from, 15008, "mtls", ambient) }

// fault returns a finding of plaintext from web to cart.
func fault(state string, count int) told {
	return told{
		dataset: findings, pod: "web", ip: web2, dir: "egress", from: web2, to: cart2, port: 8080, name: "cart.shop", verdict: "plaintext",
		with: map[string]any{"rule.id": "plaintext-edge", "meshtls.finding.state": state, "meshtls.finding.count": count, "meshtls.edge.from": "shop/web", "meshtls.edge.to": "cart.shop", "meshtls.edge.port": 8080},
	}
}

func sideOf(t *testing.T, n int, list []told) *Side {
	t.Helper()
	s := NewSide()
	for _, x := range list {
		if err := s.Add([]byte(x.line(n)), "input"); err != nil {
			t.Fatalf("%v: %s", err, x.line(n))
		}
	}
	return s
}

func rows(r *Result) (list []string) {
	for i := range r.Edges {
		e := &r.Edges[i]
		to := fmt.Sprintf("%s:%d", e.To, e.Port)
		if e.Port == 0 {
			to = e.To.String() + " (HBONE)"
		}
		parts := []string{fmt.Sprintf("%s > %s %s", e.From, to, e.Change)}
		if e.Basis != "" {
			parts = append(parts, string(e.Basis))
		}
		list = append(list, strings.Join(append(parts, e.Reasons...), " "))
	}
	return list
}

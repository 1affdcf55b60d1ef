package topology

import (
	"encoding/hex"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// joinByHash gives both ends of a connection the same names and port where only one of the two taps knows them.
func joinByHash(views []*view) {
	clients, servers := map[hash][]*view{}, map[hash][]*view{}
	for _, v := range views {
		for _, h := range v.hashes {
			switch v.side {
			case sideClient:
				clients[h] = append(clients[h], v)
			case sideServer:
				servers[h] = append(servers[h], v)
			}
		}
	}
	type rename struct {
		v        *view
		from, to *view
	}
	var renames []rename
	for _, v := range views {
		if !v.single {
			continue // some of its connections may lead elsewhere
		}
		switch v.side {
		case sideClient:
			if s := only(v, servers, func(s *view) string { return keyOfWorkload(&s.to) + "\x00" + portText(s.port) }); s != nil &&
				(!v.to.known() || keyOfWorkload(&v.to) == keyOfWorkload(&s.to)) {
				renames = append(renames, rename{v: v, to: s})
			}
		case sideServer:
			if c := only(v, clients, func(c *view) string { return keyOfWorkload(&c.from) }); c != nil && !v.from.known() {
				renames = append(renames, rename{v: v, from: c})
			}
		}
	}
	for _, r := range renames { // after all were found, so that the order has no effect
		if r.to != nil {
			r.v.to, r.v.port = r.to.to, r.to.port
		} else {
			r.v.from = r.from.from
		}
	}
}

// translated returns the number of connections, by their hashes, that several captures have on different edges. Which of the addresses are those of the ends is not known,
// because no capture has an identity; so the edges stay apart.
func translated(views []*view) (n uint64) {
	first := map[hash]*view{}
	twice := map[hash]bool{}
	for _, v := range views {
		if !v.tap.capture || v.key.folded != "" || v.key.scope != "wire" {
			continue
		}
		for _, h := range v.hashes {
			switch was := first[h]; {
			case was == nil:
				first[h] = v
			case was.tap != v.tap && was.groupKey() != v.groupKey():
				twice[h] = true
			}
		}
	}
	return uint64(len(twice))
}

// only returns a view that has a hash in common with v, if all such views have the same key.
func only(v *view, of map[hash][]*view, key func(*view) string) *view {
	var found *view
	for _, h := range v.hashes {
		for _, o := range of[h] {
			if o.tap == v.tap || found != nil && key(found) != key(o) {
				return nil
			}
			found = o
		}
	}
	return found
}

// jointHash returns the hash by which both ends know the connection of a flow or a finding, as meshtls.edge.sample has it.
func jointHash(r *record.Record) (hash, bool) {
	if s := r.Meshtls.TLS.SessionHash; s != "" {
		return parseHash(s)
	}
	switch r.Meshtls.Verdict {
	case "plaintext", "encrypted":
		return parseHash(r.Meshtls.FlowHash)
	}
	return hash{}, false
}

func parseHash(s string) (h hash, ok bool) {
	n, err := hex.Decode(h[:], []byte(s[:min(len(s), 2*len(h))]))
	return h, err == nil && n == len(h)
}

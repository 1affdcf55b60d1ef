package finding

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Mute hides the findings of one rule: those of all connections, or those of the connections that its peers, ports and classes select.
// It changes no verdict, and the findings are still counted.
type Mute struct {
	Rule      string // rule.id
	Until     string // the last day, an RFC 3339 full-date in UTC; empty: the mute has no end
	Reason    string // empty: none was given
	Namespace bool   // the tapped namespace chose it, not the platform

	prefixes []netip.Prefix // with names: the peers; none of either: all peers
	names    []string       // names of peers, without a final dot
	ports    []uint16       // ports of the server; none: all
	classes  []string       // claimed classes (verdict.Judged.Claimed); none: all
	end      int64          // when the mute ends, ns since the epoch; 0: never
}

// muteForm describes an entry of the list that ParseMutes reads.
const muteForm = "rule=RULE,until=YYYY-MM-DD,reason=TEXT, with peer=, port= and class= before the reason"

const (
	maxMutes  = 100 // mutes in a list
	maxReason = 200 // bytes of a reason
	maxYear   = 2099
)

// ParseMutes reads a list of mutes separated by semicolons or line breaks, each in the form
//
//	rule=plaintext-edge,peer=10.0.0.0/8,port=6379,until=2026-12-31,reason=the cache has no TLS yet
//
// The reason is the last field and may contain commas. peer, port and class may occur several times; a connection must match one of each
// kind that occurs. An entry without = is a list of rules that are muted without an end and a reason. ParseMutes returns the valid entries
// even if there is an error, which names each invalid entry and the expected form.
func ParseMutes(text string) (list []Mute, err error) {
	var errs []error
	n := 0
	for entry := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == ';' || c == '\n' }) {
		if entry = strings.Trim(entry, " \t\r,"); entry == "" {
			continue
		}
		n++
		parsed, err := parseMute(entry)
		switch {
		case err != nil && len(errs) < maxMuteErrors:
			errs = append(errs, fmt.Errorf("mute %d: %w", n, err))
		case err != nil:
		case len(list)+len(parsed) > maxMutes:
			return list, errors.Join(append(errs, fmt.Errorf("mute %d: expected at most %d mutes", n, maxMutes))...)
		default:
			list = append(list, parsed...)
		}
	}
	return list, joined(errs)
}

// maxMuteErrors is how many invalid entries an error of ParseMutes names.
const maxMuteErrors = 8

// quoted returns a part of a list in quotes, as one line of printable text, at most the first 80 bytes of it.
func quoted(text string) string {
	const most = 80
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strconv.Quote(text)
}

// joined returns errors as one error in one line.
func joined(errs []error) error {
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	if texts == nil {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}

// parseMute parses one entry.
func parseMute(entry string) ([]Mute, error) {
	if !strings.Contains(entry, "=") {
		return bareMutes(entry)
	}

	var m Mute
	seen := map[string]bool{}
	for rest := entry; rest != ""; {
		key, value, found := strings.Cut(rest, "=")
		key = strings.TrimSpace(key)
		if key == "reason" {
			value, rest = strings.TrimSpace(value), ""
		} else {
			value, rest, _ = strings.Cut(value, ",")
			value = strings.TrimSpace(value)
		}
		if once := !slices.Contains(mutePlaces, key); !found || once && seen[key] {
			return nil, fmt.Errorf("%s: expected %s, each of rule, until and reason once", quoted(entry), muteForm)
		}
		seen[key] = true
		if err := m.set(key, value); err != nil {
			return nil, fmt.Errorf("%s: %w", quoted(key+"="+value), err)
		}
	}
	for _, key := range []string{"rule", "until", "reason"} {
		if !seen[key] {
			return nil, fmt.Errorf("%s has no %s: expected %s", quoted(entry), key, muteForm)
		}
	}
	if m.Rule == tapBlind.id && !m.mutesAll() {
		return nil, fmt.Errorf("%s: expected no peer, port or class: findings of %s are about a tap", quoted(entry), tapBlind.id)
	}
	return []Mute{m}, nil
}

// mutePlaces are the keys that select connections, which may occur several times.
var mutePlaces = []string{"peer", "port", "class"}

// bareMutes parses a list of rules, which are muted without an end.
func bareMutes(entry string) (list []Mute, err error) {
	for id := range strings.SplitSeq(entry, ",") {
		var m Mute
		if id = strings.TrimSpace(id); id == "" {
			continue
		}
		if err := m.set("rule", id); err != nil {
			return nil, fmt.Errorf("%s: %w; or %s", quoted(id), err, muteForm)
		}
		list = append(list, m)
	}
	return list, nil
}

// set sets the property that a key names.
func (m *Mute) set(key, value string) (err error) {
	switch key {
	case "rule":
		if m.Rule = value; !slices.Contains(Rules(), value) {
			return fmt.Errorf("expected rules, of %s", strings.Join(Rules(), ", "))
		}
	case "peer":
		return m.addPeer(value)
	case "port":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil || n == 0 {
			return errors.New("expected a port from 1 to 65535")
		}
		m.ports = append(m.ports, uint16(n))
	case "class":
		if !slices.Contains(verdict.ClaimedClasses(), value) {
			return fmt.Errorf("expected a class that connections claim, of %s", strings.Join(verdict.ClaimedClasses(), ", "))
		}
		m.classes = append(m.classes, value)
	case "until":
		day, err := time.Parse(time.DateOnly, value)
		if err != nil || day.Year() > maxYear || day.Year() < 2000 {
			return fmt.Errorf("expected a date from 2000 to %d such as 2026-12-31", maxYear)
		}
		m.Until, m.end = value, day.AddDate(0, 0, 1).UnixNano()
	case "reason":
		bad := func(c rune) bool { return !unicode.IsPrint(c) }
		if m.Reason = value; value == "" || len(value) > maxReason || !utf8.ValidString(value) || strings.ContainsFunc(value, bad) {
			return fmt.Errorf("expected a reason of 1 to %d bytes of printable text", maxReason)
		}
	default:
		return errors.New("expected one of the keys rule, peer, port, class, until, reason")
	}
	return nil
}

// addPeer adds an address, a CIDR or the name of a peer.
func (m *Mute) addPeer(value string) error {
	_, notAddr := netip.ParseAddr(value)
	spiffe := strings.HasPrefix(value, "spiffe://")
	if len(value) <= maxName && (notAddr == nil || strings.Contains(value, "/") && !spiffe) {
		p, err := parsePrefix(value)
		m.prefixes = append(m.prefixes, p)
		return err
	}
	isName := func(c rune) bool {
		return c == '.' || c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	if name := strings.TrimPrefix(value, "spiffe://"); name == "" || len(value) > maxName || strings.Trim(value, "0123456789.") == "" ||
		strings.ContainsFunc(name, func(c rune) bool { return !isName(c) && (!spiffe || c != '/') }) {
		return errors.New("expected an address, a CIDR such as 10.0.0.0/8, a host name or a SPIFFE ID")
	}
	m.names = append(m.names, strings.TrimRight(value, "."))
	return nil
}

// String returns the mute in the form that ParseMutes reads.
func (m *Mute) String() string {
	if m.end == 0 {
		return m.Rule
	}
	b := []byte("rule=" + m.Rule)
	for _, p := range m.peers() {
		b = append(append(b, ",peer="...), p...)
	}
	for _, p := range m.ports {
		b = strconv.AppendUint(append(b, ",port="...), uint64(p), 10)
	}
	for _, c := range m.classes {
		b = append(append(b, ",class="...), c...)
	}
	return string(b) + ",until=" + m.Until + ",reason=" + m.Reason
}

// peers returns the addresses and names of the selected peers.
func (m *Mute) peers() (out []string) {
	for _, p := range m.prefixes {
		out = append(out, p.String())
	}
	return append(out, m.names...)
}

// HasEnded reports whether the last day of the mute is over.
func (m *Mute) HasEnded(now time.Time) bool { return m.end != 0 && now.UnixNano() >= m.end }

// SelectsNames reports whether the mute selects peers by name. Without names in records (RedactStrict), it selects none.
func (m *Mute) SelectsNames() bool { return m.names != nil }

// IsBare reports whether the mute has neither an end nor a reason.
func (m *Mute) IsBare() bool { return m.end == 0 }

// mutesAll reports whether the mute selects all connections.
func (m *Mute) mutesAll() bool {
	return m.prefixes == nil && m.names == nil && m.ports == nil && m.classes == nil
}

// place has the properties of a connection by which mutes select it.
type place struct {
	peer    netip.Addr
	port    uint16 // of the server
	name    string // of the peer; empty: unknown
	claimed string // the class that the ends claim
}

func placeOf(j *verdict.Judged) place {
	return place{peer: peerAddr(j), port: j.Destination.Port, name: j.PeerName, claimed: j.Claimed}
}

// selects reports whether the mute selects connections at a place.
func (m *Mute) selects(p *place) bool {
	peer := m.prefixes == nil && m.names == nil || within(m.prefixes, p.peer) || slices.ContainsFunc(m.names, p.isNamed)
	return peer && (m.ports == nil || slices.Contains(m.ports, p.port)) && (m.classes == nil || slices.Contains(m.classes, p.claimed))
}

// isNamed reports whether a name is that of the peer. As in the keys of edges, only SPIFFE IDs are case-sensitive.
func (p *place) isNamed(name string) bool {
	if strings.HasPrefix(name, "spiffe://") || strings.HasPrefix(p.name, "spiffe://") {
		return name == p.name
	}
	return strings.EqualFold(name, strings.TrimSuffix(p.name, "."))
}

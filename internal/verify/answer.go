package verify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
)

// clockSkew is how much the clocks of two nodes may differ.
const clockSkew = 30 * time.Second

// Result is the answer as a code.
type Result string

// The results.
const (
	Mutual    Result = "mutual_tls"     // all compared connections are mutual TLS
	NotMutual Result = "not_mutual_tls" // at least one of them is not
	Unjudged  Result = "unjudged"       // there is none, or the records do not suffice
)

// Answer is the answer to a Question.
type Answer struct {
	Result      Result   `json:"result"`
	Text        string   `json:"answer"` // one sentence without a full stop
	From        string   `json:"from"`
	To          string   `json:"to"`
	Ports       []uint16 `json:"ports"`
	Connections int      `json:"connections"` // that were compared
	Older       int      `json:"older"`       // connections between them that are older than the taps, and were used
	Client      *End     `json:"client,omitempty"`
	Server      *End     `json:"server,omitempty"`
	Request     *Request `json:"request,omitempty"`
	Notes       []string `json:"notes,omitempty"` // sentences: limits, and what to do
	complete    bool
}

// End is the weakest of the compared connections, as one end's tap reports it.
type End struct {
	Pod      string   `json:"pod"`
	Text     string   `json:"text"`              // the verdict in words, or why there is none
	Verdict  string   `json:"verdict,omitempty"` // empty: the end reported no connection
	Version  string   `json:"tls_version,omitempty"`
	Cipher   string   `json:"cipher,omitempty"`
	Auth     string   `json:"client_auth,omitempty"`
	Basis    string   `json:"client_auth_basis,omitempty"`
	Reasons  []string `json:"reasons,omitempty"`
	Why      []string `json:"why,omitempty"` // Reasons in words
	Hashes   []string `json:"hashes,omitempty"`
	Dropped  uint64   `json:"packets_lost"`
	Snapshot bool     `json:"snapshot,omitempty"` // all connections of the edge together, because no record of the single one was written yet
}

// Complete reports whether both ends have reported and judged each connection, so that further records hardly change the answer.
func (a *Answer) Complete() bool { return a.complete }

// Answer answers a question from the records so far.
func (s *Records) Answer(q *Question) *Answer {
	j := s.join(q)
	a := &Answer{From: q.From.Name, To: q.To, Ports: q.Ports, Connections: len(j.pairs), Older: j.older, Request: q.Request}
	slices.SortStableFunc(j.pairs, func(x, y pair) int { return y.rank() - x.rank() })
	if len(j.pairs) == 0 {
		s.nothing(a, q)
		return a
	}
	worst := j.pairs[0]
	a.Client = s.end(q.From.Name, worst.client, q.From.Untapped)
	a.Server = s.serverEnd(q, &worst)
	a.complete = !slices.ContainsFunc(j.pairs, func(p pair) bool {
		return p.client == nil || p.server == nil || !p.client.judged() || !p.server.judged()
	})
	a.decide(q, &worst)
	mixed := a.Result == Mutual && j.older > 0
	switch {
	case mixed:
		a.Result, a.Text = Unjudged, fmt.Sprintf("not judged: of the connections that were in use, %s mutual TLS and %s older than the taps", are(len(j.pairs)), are(j.older))
		a.Notes = append(a.Notes, fresh...)
	case a.Result == Mutual && !j.own && s.missing(q) > 0:
		a.Result, a.Text = Unjudged, fmt.Sprintf("not judged: %s in mutual TLS, but some records of the taps were lost, which may be about others", count(len(j.pairs), "connection"))
	case a.Result == Mutual && j.open > 0:
		a.Result, a.Text = Unjudged, fmt.Sprintf("not judged: %s in mutual TLS, but a tap that ran before reports further connections between them that are not mutual TLS or not judged, and may still be open", count(len(j.pairs), "connection"))
		a.Notes = append(a.Notes, "A tap that ran before reports a connection only when the connection ends. If the tap is an ephemeral container, end it (kubectl meshtls stop), and verify again.")
	}
	if n := len(j.pairs); n > 1 && a.Result == Mutual {
		a.Text += " on each of " + count(n, "connection")
	} else if n > 1 {
		a.Notes = append(a.Notes, "This is the weakest of "+count(n, "connection")+" between them.")
	}
	if a.Result == Unjudged && worst.resumed() {
		a.Text += "; TLS resumed a session whose full handshake was not seen"
		a.Notes = append(a.Notes, fresh[0])
	}
	if j.older > 0 && !mixed {
		a.Notes = append(a.Notes, fmt.Sprintf("Of the other connections between them, %s older than the taps, and not judged.", are(j.older)))
	}
	for _, e := range [...]*End{a.Client, a.Server} {
		if e != nil && e.Dropped > 0 {
			a.Notes = append(a.Notes, fmt.Sprintf("The tap of %s lost %s.", e.Pod, count(int(e.Dropped), "packet")))
		}
	}
	return a
}

// missing returns the number of records of the question's pods that were lost.
func (s *Records) missing(q *Question) (n uint64) {
	for _, of := range append([]Pod{q.From}, q.Servers...) {
		if p := s.pods[of.Name]; p != nil {
			n += p.missing
		}
	}
	return n
}

// rank returns the rank of the weaker end.
func (p *pair) rank() (rank int) {
	for _, c := range [...]*connection{p.client, p.server} {
		if c != nil {
			rank = max(rank, 2*c.rank())
		} else {
			rank = max(rank, 1)
		}
	}
	return rank
}

// resumed reports whether an end is not judged because TLS resumed an earlier session.
func (p *pair) resumed() bool {
	return p.client != nil && p.client.resumed && !p.client.judged() || p.server != nil && p.server.resumed && !p.server.judged()
}

// decide sets the result for the weakest connection.
func (a *Answer) decide(q *Question, p *pair) {
	c, d := p.client, p.server
	switch {
	case c != nil && d != nil && c.mutual() && d.mutual():
		a.Result, a.Text = Mutual, best(c, d).String()+", both ends agree"
		if c.version != "" && d.version != "" && (c.version != d.version || c.cipher != d.cipher) {
			a.Result, a.Text = Unjudged, fmt.Sprintf("the ends disagree about one connection: the client's tap reports %s; the server's tap reports %s", c, d)
		}
	case c != nil && d != nil && c.verdict == d.verdict && c.judged() && d.judged():
		a.Result, a.Text = NotMutual, best(c, d).String()+", both ends agree"
	case c != nil && d != nil && notMutual(c) != notMutual(d):
		a.Result, a.Text = NotMutual, fmt.Sprintf("the ends disagree: the client's tap reports %s; the server's tap reports %s", c, d)
	case c != nil && d != nil && notMutual(c):
		a.Result, a.Text = NotMutual, fmt.Sprintf("not mutual TLS at either end: the client's tap reports %s; the server's tap reports %s", c, d)
	case c != nil && d != nil && c.String() == d.String():
		a.Result, a.Text = Unjudged, "not judged at either end: "+c.String()
	case c != nil && d != nil:
		a.Result, a.Text = Unjudged, fmt.Sprintf("not judged: the client's tap reports %s; the server's tap reports %s", c, d)
	case c != nil:
		a.oneEnd(q, c, "client", ofSide("server", a.Server.Text))
	default:
		a.oneEnd(q, d, "server", ofSide("client", a.Client.Text))
	}
}

// ofSide returns the text of an end in a sentence about both ends, so that it names its side.
func ofSide(side, text string) string {
	if rest, ok := strings.CutPrefix(text, noTap); ok {
		return "the " + side + " has no tap: " + rest
	}
	if text == reportedNothing {
		return "the " + side + "'s tap reported nothing"
	}
	return text
}

// Texts of an end without a connection.
const (
	noTap           = "no tap: "
	reportedNothing = "its tap reported nothing"
)

// best returns the connection about which more is known.
func best(c, d *connection) *connection {
	if c.posture && !d.posture || c.auth.ClientAuthBasis == "" && d.auth.ClientAuthBasis != "" {
		return d
	}
	return c
}

func notMutual(c *connection) bool { return c.judged() && !c.mutual() }

// oneEnd sets the result of a connection that one end reported. other is why the other end did not.
func (a *Answer) oneEnd(q *Question, c *connection, side, other string) {
	switch {
	case notMutual(c):
		a.Result, a.Text = NotMutual, fmt.Sprintf("%s, by the %s's tap only; %s", c, side, other)
	case c.mutual() && q.OneEnd:
		a.Result, a.Text = Mutual, fmt.Sprintf("%s, by the %s's tap only; %s", c, side, other)
	case c.mutual():
		a.Result, a.Text = Unjudged, fmt.Sprintf("not confirmed by both ends: the %s's tap reports %s; %s", side, c, other)
	default:
		a.Result, a.Text = Unjudged, fmt.Sprintf("not judged by the %s's tap; %s", side, other)
	}
}

// end returns the report of one end.
func (s *Records) end(name string, c *connection, untapped string) *End {
	e := &End{Pod: name}
	p := s.pods[name]
	if p != nil {
		e.Dropped = p.dropped
	}
	switch {
	case c != nil:
		e.Text, e.Verdict, e.Version, e.Cipher = c.String(), c.verdict, c.version, report.CleanMessage(c.cipher)
		e.Auth, e.Basis, e.Reasons, e.Why = c.auth.ClientAuth, c.auth.ClientAuthBasis, c.reasons, c.why()
		e.Hashes, e.Snapshot = c.hashes, c.posture
	case untapped != "":
		e.Text = noTap + report.CleanMessage(untapped)
	case p == nil || !p.started:
		e.Text = reportedNothing
	default:
		e.Text = sawNone("client")
	}
	return e
}

func sawNone(side string) string { return "the " + side + "'s pod saw no such connection" }

// serverEnd returns the report of the server's end of a connection. If no pod reported it, it is about the only pod, or about all.
func (s *Records) serverEnd(q *Question, p *pair) *End {
	if p.server != nil {
		return s.end(p.pod, p.server, "")
	}
	if len(q.Servers) == 1 {
		e := s.end(q.Servers[0].Name, nil, q.Servers[0].Untapped)
		if e.Text == sawNone("client") {
			e.Text = sawNone("server")
		}
		return e
	}
	e := &End{Pod: q.To, Text: "none of the server's " + count(len(q.Servers), "pod") + " saw such a connection"}
	for i := range q.Servers {
		if u := q.Servers[i].Untapped; u != "" {
			e.Text = fmt.Sprintf("not all pods of the server are tapped (%s: %s)", q.Servers[i].Name, report.CleanMessage(u))
		}
	}
	return e
}

// fresh are the notes that say how to get a connection whose handshake can be judged.
var fresh = []string{
	"A verdict needs a full handshake that the taps see. The safe way is to add a replica to the client's workload (`kubectl scale`): the new pod opens connections of its own, without earlier sessions, and nothing is restarted. Then verify the new pod.",
	"Otherwise wait until the proxy closes its pooled connection (idle timeout; in Istio also connectionPool.tcp.maxConnectionDuration of a DestinationRule). Or send POST /drain_listeners?graceful&skip_exit to the admin port of the server's Envoy, which then asks its clients to reconnect and keeps serving.",
}

// nothing sets the answer where no end reported a connection that counts.
func (s *Records) nothing(a *Answer, q *Question) {
	a.Result = Unjudged
	a.Client = s.end(q.From.Name, nil, q.From.Untapped)
	a.Server = s.serverEnd(q, &pair{})
	before := s.olderThanTaps(q)
	switch {
	case a.Older > 0:
		a.Text = olderOnly(a.Older)
		a.Notes = append(a.Notes, fresh...)
		for _, e := range [...]*End{a.Client, a.Server} {
			if e.Text == sawNone("client") || e.Text == sawNone("server") {
				e.Text = "its tap saw no handshake of such a connection"
			}
		}
	case q.Request != nil && q.Request.Error != "":
		a.Text = "the request failed (" + report.CleanMessage(q.Request.Error) + "), and neither end saw a connection"
	case q.Request != nil && before > 0:
		a.Text = fmt.Sprintf("the request was answered, and neither end saw a new connection: it used one that is older than the taps (the client's pod has %s)", count(int(before), "such connection"))
		a.Notes = append(a.Notes, fresh...)
	case q.Request != nil:
		a.Text = "the request was answered, and neither end saw a connection between them"
		a.Notes = append(a.Notes, "A gateway, a waypoint or a proxy on the node may be between them: verify each part of the path separately.")
	default:
		a.Text = "neither end saw a connection between them"
		if before > 0 {
			a.Text += "; " + olderToo(int(before))
			a.Notes = append(a.Notes, fresh...)
		}
	}
	var missing []string
	for _, e := range [...]*End{a.Client, a.Server} {
		if strings.HasPrefix(e.Text, noTap) || strings.HasPrefix(e.Text, "not all pods") || e.Text == reportedNothing {
			missing = append(missing, e.Pod+": "+e.Text)
		}
	}
	if len(missing) > 0 {
		a.Text += "; " + strings.Join(missing, "; ")
	}
}

// olderOnly returns the answer if only n connections that are older than the taps were used.
func olderOnly(n int) string {
	return "the only traffic between them was on " + choose(n, "1 connection older than the taps, whose handshake was", fmt.Sprintf("%d connections older than the taps, whose handshakes were", n)) + " not seen"
}

// olderToo returns that n connections of the client's pod are older than its tap.
func olderToo(n int) string {
	return count(n, "connection") + " of the client's pod " + choose(n, "is", "are") + " older than its tap"
}

// olderThanTaps returns the number of connections of the client's pod that are older than its tap.
func (s *Records) olderThanTaps(q *Question) uint64 {
	if p := s.pods[q.From.Name]; p != nil {
		return p.older
	}
	return 0
}

// are returns a number with the form of "to be" that it needs.
func are(n int) string { return choose(n, "1 is", fmt.Sprintf("%d are", n)) }

// count formats a number with a noun.
func count(n int, noun string) string { return choose(n, "1 "+noun, fmt.Sprintf("%d %ss", n, noun)) }

// choose returns the form of the singular or of the plural.
func choose(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

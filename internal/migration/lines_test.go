package migration

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestRead(t *testing.T) {
	good := call(web, cart, 8080, sni, "mtls", "istio").line(0)
	envelope := `{"topic":"meshtls-tap.flows","partition":0,"offset":7,"key":"k","payload":` + fmt.Sprintf("%q", good) + `}`
	for name, c := range map[string]struct {
		in      string
		records uint64
		skipped uint64
		errs    []string // texts in the error, in order
	}{
		"records":                {good + "\n" + good + "\n", 2, 0, nil},
		"no end of line":         {good + "\n" + good, 2, 0, nil},
		"empty lines":            {"\n\r\n" + good + "\r\n\n", 1, 0, nil},
		"a tap's log":            {"time=2026-11-24T12:00:00Z level=INFO msg=started\n" + good + "\n", 1, 0, nil},
		"with keys":              {"uid|egress web > cart:80\t" + good + "\n", 1, 0, nil},
		"of kcat -J":             {envelope + "\n", 1, 0, nil},
		"a line that is none":    {good + "\nhello\n" + good + "\n", 2, 1, []string{"a.jsonl: line 2: not JSON"}},
		"truncated at the end":   {good + "\n" + good[:100], 1, 1, []string{"a.jsonl: line 2: not JSON: unexpected end"}},
		"another JSON":           {`{"message":"hello"}` + "\n" + good, 1, 1, []string{"a.jsonl: line 1: not a record of meshtls-tap"}},
		"a wrong type":           {strings.Replace(good, `"port":8080`, `"port":"x"`, 1) + "\n", 0, 1, []string{"line 1: not a record of meshtls-tap: ", "destination.port has the wrong type (string)"}},
		"a schema of tomorrow":   {strings.Replace(good, `"schema":1`, `"schema":2`, 1), 0, 1, []string{"meshtls.schema is not 1"}},
		"a long line":            {strings.Repeat("x", maxLine+1) + "\n" + good + "\n", 1, 1, []string{"line 1: longer than 1048576 bytes"}},
		"a long line at the end": {good + "\n" + strings.Repeat("x", 3*maxLine), 1, 1, []string{"line 2: longer than"}},
		"many": {
			strings.Repeat("x\n", 10) + good, 1, 10,
			[]string{"line 1: ", "line 2: ", "line 3: ", "a.jsonl: 7 more lines that are not records"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSide()
			err := s.Read(strings.NewReader(c.in), "a.jsonl")
			if s.watch.Records != c.records || s.skipped != c.skipped {
				t.Errorf("%d records, %d lines skipped; want %d, %d", s.watch.Records, s.skipped, c.records, c.skipped)
			}
			if (err != nil) != (len(c.errs) > 0) {
				t.Fatalf("error %v", err)
			}
			text := fmt.Sprint(err)
			for _, want := range c.errs {
				_, rest, ok := strings.Cut(text, want)
				if !ok {
					t.Fatalf("error %v\nlacks %q", err, want)
				}
				text = rest
			}
		})
	}
}

// TestReadFails: records before a read error count, and the error names the input and the line.
func TestReadFails(t *testing.T) {
	good := call(web, cart, 8080, sni, "mtls", "istio").line(0)
	s := NewSide()
	err := s.Read(io.MultiReader(strings.NewReader(good+"\n"+good[:50]), iotest.ErrReader(errors.New("disk"))), "a.jsonl")
	if err == nil || !strings.Contains(err.Error(), "a.jsonl: line 2: disk") || s.watch.Records != 1 || s.skipped != 1 {
		t.Errorf("error %v, %d records, %d skipped", err, s.watch.Records, s.skipped)
	}
}

// TestLinesNotRead: no edge is called gone if a line could not be read.
func TestLinesNotRead(t *testing.T) {
	before := sideOf(t, 0, []told{alive("web", web, 0), call(web, cart, 8080, sni, "mtls", "istio"), alive("web", web, 60)})
	for _, broken := range []bool{false, true} {
		after := sideOf(t, 1, []told{alive("web", web2, 0), call(web2, "10.1.0.40", 8080, "stock.shop", "mtls", "istio"), alive("web", web2, 60)})
		want := "web.shop > cart.shop:8080 gone"
		if broken {
			want = "web.shop > cart.shop:8080 not_enough_seen not_all_read"
			if after.Read(strings.NewReader("x"), "a") == nil {
				t.Fatal("no error")
			}
		}
		r := Compare(before, after)
		if got := rows(&r); got[0] != want {
			t.Errorf("got %q, want %q", got[0], want)
		}
	}
}

// TestBounds: the memory for any amount of input is bounded, and dropped input is counted.
func TestBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	s := NewSide()
	add := func(line string) {
		t.Helper()
		if err := s.Add([]byte(line), "a"); err != nil {
			t.Fatal(err)
		}
	}
	const form = `{"@timestamp":"2026-11-24T12:00:00Z","event":{"dataset":"meshtls.flow","sequence":%d},"network":{"direction":"egress"},` +
		`"source":{"ip":"10.1.0.7"},"destination":{"ip":"10.1.0.20","port":80},"kubernetes":{"namespace":"shop","pod":{"uid":%q}},` +
		`"service":{"name":"web"},"meshtls":{"schema":1,"run":"r","scope":"wire","class":"workload","verdict":"mtls","peer":{"name":"s%d.shop","name_basis":"sni"}}}`
	for i := range maxEdges + 10 {
		add(fmt.Sprintf(form, i+1, "one", i))
	}
	if len(s.entries) != maxEdges || s.watch.OverBounds != 10 {
		t.Errorf("%d edges, %d records beyond the bounds", len(s.entries), s.watch.OverBounds)
	}
	for i := range maxTaps + 10 {
		add(fmt.Sprintf(form, 1, fmt.Sprint(i), 0))
	}
	if len(s.taps) != maxTaps {
		t.Errorf("%d taps stored", len(s.taps))
	}
	for i := range maxPages + 10 {
		add(fmt.Sprintf(form, uint64(i)*pageSize*7+1, "one", 0))
	}
	if s.pages != maxPages {
		t.Errorf("%d pages stored", s.pages)
	}
	Compare(s, s)
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(call(web, cart, 8080, sni, "mtls", "istio").line(0)), []byte(call(web2, cart2, 15008, "", "mtls", ambient).line(1)))
	f.Add([]byte(fault("open", 1).line(0)+"\n"+fault("withdrawn", 0).line(0)), []byte(alive("web", web, 3).line(1)))
	f.Add([]byte(posture(web, "cart.shop", 8080, map[string]any{"mtls": 4}, nil).line(0)), []byte(posture(web2, "10.1.0.0/24", 8080, map[string]any{"tls": 4}, nil).line(1)))
	f.Add([]byte(served(cart, "::1", 0, "tls", "").line(0)), []byte("k\t{\"payload\":\"{}\"}"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var sides [2]*Side
		for i, data := range [...][]byte{a, b} {
			sides[i] = NewSide()
			_ = sides[i].Read(strings.NewReader(string(data)), "fuzz")
		}
		r := Compare(sides[0], sides[1])
		for i := range r.Edges {
			e := &r.Edges[i]
			if e.Change == "" || e.Before.State == "" || e.After.State == "" {
				t.Errorf("%+v has no change", e)
			}
			if mutual := e.After.Counts.mutual() && !e.After.Counts.less(); (e.Change == Kept || e.Change == Gained || e.Change == Covered) && !mutual {
				t.Errorf("%+v: kept without evidence of mutual TLS", e)
			}
			for _, code := range e.Reasons {
				if Reasons[code] == "" {
					t.Errorf("reason %s is not explained", code)
				}
			}
		}
	})
}

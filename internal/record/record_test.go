package record_test

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"
	"unicode"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// FuzzRecord: the JSON of any record decodes to the same record, and has the same members and values as
// the output of encoding/json. It contains nothing that a terminal interprets.
func FuzzRecord(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed, "<a href=\"\\&\">\x00\x1b[31m\x7f\u0085\u202e\u2028 é世\U0001f600\U000e0041\ufffd")
	}
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		g := maker{Rand: rand.New(rand.NewPCG(seed, 0)), text: []rune(text)}
		var r, back record.Record
		g.fill(reflect.ValueOf(&r).Elem())
		r.Event.Category, r.Event.Type = []string{"network"}, []string{string(g.text)} // the encoder always writes these
		b := r.AppendJSON([]byte("before"))[len("before"):]
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if !reflect.DeepEqual(back, r) {
			t.Errorf("decoded\n%+v\nencoded\n%+v", back, r)
		}
		std, err := json.Marshal(&r)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := parse(t, b), parse(t, std); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nencoding/json has\n%s", b, std)
		}
		if at := bytes.IndexFunc(b, func(r rune) bool { return !unicode.IsPrint(r) }); at >= 0 {
			t.Errorf("%q contains %q", b, b[at:])
		}
	})
}

func parse(t *testing.T, b []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return v
}

// maker returns random values, half of them zero.
type maker struct {
	*rand.Rand
	text []rune
}

func (g maker) fill(v reflect.Value) {
	if g.IntN(2) == 0 && v.Type() != reflect.TypeFor[record.Record]() {
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *record.Time:
		*p = record.Time(g.Int64N(math.MaxInt64) * int64(1-2*g.IntN(2)))
	case *netip.Addr:
		*p = []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("2001:db8::1")}[g.IntN(2)]
	case **time.Time:
		at := time.Unix(g.Int64N(1<<38)-1<<35, 0).UTC()
		*p = &at
	case *string:
		from := g.IntN(len(g.text) + 1)
		*p = string(g.text[from : from+g.IntN(len(g.text)-from+1)])
	default:
		g.fillKind(v)
	}
}

func (g maker) fillKind(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		g.fill(v.Elem())
	case reflect.Struct:
		for _, f := range v.Fields() {
			g.fill(f)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+g.IntN(3), 3))
		for i := range v.Len() {
			g.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + g.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			g.fill(key)
			g.fill(value)
			v.SetMapIndex(key, value)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt(int64(g.Uint64()))
	default:
		v.SetUint(g.Uint64() >> 48)
	}
}

// TestUnknownMembers: a reader accepts members that it does not know.
func TestUnknownMembers(t *testing.T) {
	var r record.Record
	const line = `{"@timestamp":"2026-11-24T12:00:00.5+01:00","new":{"a":[1]},"source":{"ip":"10.1.1.2","port":5,"geo":{}},"meshtls":{"verdict":"new","new":1},"tls":{"client":{"new":"x","subject":"CN=a"}}}`
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatal(err)
	}
	if got := r.Timestamp.Std().Format(time.RFC3339Nano); got != "2026-11-24T11:00:00.5Z" || r.Source.Port != 5 || r.Meshtls.Verdict != "new" || r.TLS.Client.Subject != "CN=a" {
		t.Errorf("got %s, decoded %+v", got, r)
	}
}

// TestTimesOutOfRange: a time that nanoseconds since 1970 cannot express causes an error. It is never
// decoded as another time.
func TestTimesOutOfRange(t *testing.T) {
	for text, good := range map[string]bool{"1677-12-31T23:59:59Z": false, "1678-01-01T00:00:00Z": true, "2261-12-31T23:59:59Z": true, "2262-01-01T00:00:00Z": false, "": false, "yesterday": false} {
		var at record.Time
		if err := at.UnmarshalText([]byte(text)); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestAllocations: a record without maps is encoded without allocations.
func TestAllocations(t *testing.T) {
	var r record.Record
	m := maker{Rand: rand.New(rand.NewPCG(1, 0)), text: []rune("a name é")}
	for r.TLS == nil || len(r.Meshtls.Reasons) == 0 || !r.Source.IP.IsValid() {
		m.fill(reflect.ValueOf(&r).Elem())
	}
	r.Meshtls.Tap, r.Meshtls.Coverage = nil, nil // these have maps
	var b []byte
	if n := testing.AllocsPerRun(100, func() { b = r.AppendJSON(b[:0]) }); n != 0 {
		t.Errorf("%v allocations for %d bytes", n, len(b))
	}
}

package verdict

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/credentials"
)

// TestConclusionsAreSharedOnlyWhereEqual changes each field of a judgement, and checks that the changed judgement
// is not shared with the original. It finds fields by reflection, so that new fields are included.
func TestConclusionsAreSharedOnlyWhereEqual(t *testing.T) {
	whole := func() *judgement {
		return &judgement{
			reasons: []string{"a"}, http: &HTTPInfo{},
			tls: &TLSInfo{SupportedCiphers: []string{"a"}, ALPNOffered: []string{"a"}, Client: &Certificate{}, Server: &Certificate{AlternativeNames: []string{"a"}}},
		}
	}
	before := whole().appendTo(nil)
	counts := func(field string, k *judgement) {
		if bytes.Equal(k.appendTo(nil), before) {
			t.Errorf("a change of %s is not noticed", field)
		}
	}
	for field, change := range map[string]func(*judgement){
		"verdict":           func(k *judgement) { k.verdict = MTLS },
		"protocol":          func(k *judgement) { k.protocol = "tls" },
		"reasons":           func(k *judgement) { k.reasons[0] = "b" },
		"number of reasons": func(k *judgement) { k.reasons = append(k.reasons, "") },
		"tls":               func(k *judgement) { k.tls = nil },
		"http":              func(k *judgement) { k.http = nil },
		"credentials":       func(k *judgement) { k.credentials = credentials.HTTPBasic },
		"credentialsRead":   func(k *judgement) { k.credentialsRead = true },
	} {
		k := whole()
		change(k)
		counts(field, k)
	}
	if n := reflect.TypeFor[judgement]().NumField(); n != 7 {
		t.Errorf("a conclusion has %d fields: those that are changed here are 7", n)
	}
	changes := 0
	for _, part := range []func(*judgement) any{
		func(k *judgement) any { return k.tls },
		func(k *judgement) any { return k.tls.Client },
		func(k *judgement) any { return k.tls.Server },
		func(k *judgement) any { return k.http },
	} {
		for i := range reflect.TypeOf(part(whole())).Elem().NumField() {
			k := whole()
			v := reflect.ValueOf(part(k)).Elem()
			name := v.Type().Name() + "." + v.Type().Field(i).Name
			if !change(v.Field(i)) {
				t.Errorf("%s: a test does not know how to change a %s", name, v.Field(i).Kind())
			}
			counts(name, k)
			changes++
		}
	}
	if changes < 40 {
		t.Errorf("%d fields were changed", changes)
	}
}

// change gives v a different value, and reports whether it can do so for v's type.
func change(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.New(v.Type().Elem()).Elem()))
	case reflect.Pointer:
		v.SetZero()
	default:
		return false
	}
	return true
}

func TestSharedIsBounded(t *testing.T) {
	var s shared
	for i := range 3 * maxShared {
		k := s.intern(&judgement{http: &HTTPInfo{Status: i}})
		if k.http.Status != i || s.intern(&judgement{http: &HTTPInfo{Status: i}}) != k {
			t.Fatalf("conclusion %d is not found again", i)
		}
		if len(s.known) > maxShared {
			t.Fatalf("%d judgements are stored, want at most %d", len(s.known), maxShared)
		}
	}
}

// TestConclusionsAreCounted checks that a shared judgement is counted once, until its last user is released.
func TestConclusionsAreCounted(t *testing.T) {
	j := New(Config{})
	path := strings.Repeat("x", 5000)
	rest := func(status int) *Conclusion {
		return &Conclusion{common: j.shared.intern(&judgement{http: &HTTPInfo{Status: status, Path: path}})}
	}
	a, b := rest(200), rest(200)
	one := j.BytesInUse()
	c := rest(404)
	if one < len(path) || one > len(path)+1000 || j.BytesInUse() != 2*one {
		t.Errorf("%d bytes are counted for one, %d for two", one, j.BytesInUse())
	}
	j.Release(c)
	j.Release(a)
	if j.BytesInUse() != one {
		t.Errorf("%d bytes are counted, want %d", j.BytesInUse(), one)
	}
	j.Release(b)
	if d := rest(200); j.BytesInUse() != one || d.common != b.common {
		t.Errorf("%d bytes are counted, want %d", j.BytesInUse(), one)
	}
}

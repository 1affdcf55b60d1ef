package eventually

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Limit is how long a test waits for a condition that comes true within seconds on an idle
// machine. It only says when to give up: a test that passes never waits for it. A timeout
// of the product that must not expire during a test is set to Limit or more.
const Limit = 5 * time.Minute

// pause is the time between two looks.
const pause = 10 * time.Millisecond

// True waits until condition returns true. After Limit it fails the test and prints what
// it waited for and each state: a value, or a function without arguments, whose results
// are printed.
func True(t testing.TB, what string, condition func() bool, state ...any) {
	t.Helper()
	if !Holds(condition) {
		t.Fatalf("not within %v: %s%s", Limit, what, describe(state))
	}
}

// Holds is True for a test that goes on when the condition does not come true in time.
func Holds(condition func() bool) bool {
	for end := time.Now().Add(Limit); !condition(); time.Sleep(pause) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// describe returns one line or more for each state.
func describe(state []any) string {
	var b strings.Builder
	for _, s := range state {
		f := reflect.ValueOf(s)
		if f.Kind() != reflect.Func || f.Type().NumIn() > 0 {
			fmt.Fprintf(&b, "\n%+v", s)
			continue
		}
		for _, result := range f.Call(nil) {
			fmt.Fprintf(&b, "\n%+v", result.Interface())
		}
	}
	return b.String()
}

package eventually

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Limit bounds how long a test waits for a condition that becomes true within seconds on an idle machine. Only a
// failing test waits that long. If a timeout of the product must not expire during a test, the test sets it to Limit
// or more.
const Limit = 5 * time.Minute

// pause is the time between two checks of a condition.
const pause = 10 * time.Millisecond

// True waits until condition returns true. After Limit it fails the test and prints what, which names the condition,
// and each state. If a state is a function without arguments, True prints the function's results.
func True(t testing.TB, what string, condition func() bool, state ...any) {
	t.Helper()
	if !Holds(condition) {
		t.Fatalf("not within %v: %s%s", Limit, what, describe(state))
	}
}

// Holds waits like True, but returns false after Limit instead of failing the test.
func Holds(condition func() bool) bool {
	for end := time.Now().Add(Limit); !condition(); time.Sleep(pause) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// describe returns at least one line for each state.
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

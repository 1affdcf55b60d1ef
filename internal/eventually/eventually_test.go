package eventually

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// recorder records the message with which True fails a test.
type recorder struct {
	testing.TB
	format string
	args   []any
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) { r.format, r.args = format, args }

func TestTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		True(t, "a minute is over", func() bool { return time.Since(begun) >= time.Minute })
		if took := time.Since(begun); took > time.Minute+pause {
			t.Errorf("it waited %v", took)
		}
	})
}

// TestLimit: after Limit the test fails, and prints the state at that time.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks, r := 0, &recorder{TB: t}
		begun := time.Now()
		True(r, "never", func() bool { looks++; return false }, "first", func() (int, error) { return looks, nil })
		if took := time.Since(begun); took < Limit || took > Limit+2*pause {
			t.Errorf("it waited %v", took)
		}
		if got, want := fmt.Sprintf(r.format, r.args...), fmt.Sprintf("not within 5m0s: never\nfirst\n%d\n<nil>", looks); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	})
}

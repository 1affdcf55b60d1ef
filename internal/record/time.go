package record

import (
	"errors"
	"time"
)

// Time is nanoseconds since the epoch. In JSON it is RFC 3339 in UTC with nine digits of a second. So all
// times have one length, and sorting them as text sorts them by time.
type Time int64

// errTime is the error for a time that nanoseconds since the epoch cannot express.
var errTime = errors.New("the time is not between the years 1678 and 2261")

// MarshalText returns t in RFC 3339.
func (t Time) MarshalText() ([]byte, error) { return t.appendText(nil), nil }

// UnmarshalText parses RFC 3339, in any zone and with up to nine digits of a second.
func (t *Time) UnmarshalText(text []byte) error {
	at, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return err
	}
	if at.Year() < 1678 || at.Year() > 2261 {
		return errTime
	}
	*t = Time(at.UnixNano())
	return nil
}

// Std returns t as a time.Time in UTC.
func (t Time) Std() time.Time { return time.Unix(0, int64(t)).UTC() }

func appendTime(b []byte, t Time) []byte { return append(t.appendText(append(b, '"')), '"') }

func (t Time) appendText(b []byte) []byte {
	b = t.Std().AppendFormat(b, time.RFC3339) // time.AppendFormat has a fast path for this layout
	b = append(b[:len(b)-1], ".000000000Z"...)
	for at, rest := len(b)-2, (t%1e9+1e9)%1e9; rest > 0; at, rest = at-1, rest/10 {
		b[at] += byte(rest % 10)
	}
	return b
}

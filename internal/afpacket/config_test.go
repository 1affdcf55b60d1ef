package afpacket

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	page := os.Getpagesize()
	for name, test := range map[string]struct{ give, want Config }{
		"zero":    {Config{}, Config{RingBytes: 4 << 20, BlockBytes: 128 << 10, Retire: 50 * time.Millisecond}},
		"rounded": {Config{RingBytes: 10*page + 1, BlockBytes: page - 1, Retire: time.Microsecond}, Config{RingBytes: 10 * page, BlockBytes: page, Retire: time.Millisecond}},
		"blocks":  {Config{RingBytes: 5 * page, BlockBytes: page + 1}, Config{RingBytes: 4 * page, BlockBytes: 2 * page, Retire: 50 * time.Millisecond}},
	} {
		got, err := test.give.withDefaults()
		if err != nil || got.RingBytes != test.want.RingBytes || got.BlockBytes != test.want.BlockBytes || got.Retire != test.want.Retire {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, test.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for want, c := range map[string]Config{
		"a ring of -1 bytes: expected 1 to 1073741824":                                      {RingBytes: -1},
		"a ring of 1073741825 bytes: expected 1 to 1073741824":                              {RingBytes: 1<<30 + 1},
		"blocks of -1 bytes: expected 1 to 1073741824":                                      {BlockBytes: -1},
		"a retire timeout of -1ns: expected at most 10s":                                    {Retire: -1},
		"a retire timeout of 1m0s: expected at most 10s":                                    {Retire: time.Minute},
		"a snap length of -1 bytes: expected 0 to 1073741824":                               {SnapLength: -1},
		"a ring of 131072 bytes has room for 1 blocks of 131072 bytes: expected at least 2": {RingBytes: 128 << 10},
	} {
		if _, err := c.withDefaults(); err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
}

func TestOpError(t *testing.T) {
	e := &OpError{Interface: "eth0", Op: "bind", Err: os.ErrPermission}
	if want := "capture on eth0: bind: " + os.ErrPermission.Error(); e.Error() != want {
		t.Errorf("%v, want %s", e, want)
	}
	e.Advice = "ask"
	if want := "capture on eth0: bind: " + os.ErrPermission.Error() + ": ask"; e.Error() != want || !errors.Is(e, os.ErrPermission) {
		t.Errorf("%v, want %s", e, want)
	}
}

func TestInterfaces(t *testing.T) {
	names, err := Interfaces()
	if err != nil || len(names) == 0 {
		t.Errorf("%q, %v", names, err)
	}
}

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// orders are what the namespace's ConfigMap (TAP_CONFIG_DIR) tells all taps of a
// namespace, over what the environment says. The zero value is no order.
type orders struct {
	off      bool      // enabled: false
	on       bool      // enabled: true
	hasUntil bool      // there is an until that can be used; an empty one says that there is no end
	until    time.Time // zero: no end
	mute     []string  // rules, besides TAP_MUTE's
	expect   []finding.Expectation
}

// orderKeys are what a ConfigMap can order. By default it may end and narrow capturing,
// and not hide findings: who writes in a namespace is whom the tap watches.
var orderKeys = []string{"enabled", "until", "mute", "expect"}

// control reads orders from a mounted ConfigMap, again and again: the way to stop, mute
// or guide a fleet without a restart. A value that cannot be used, or is not allowed, is
// told of once and ignored. A folder that is not there is no order.
type control struct {
	dir   string
	allow []string // of orderKeys
	log   *slog.Logger
	told  map[string]string // the faults told of, by key
}

// parseAllow reads TAP_CONFIG_ALLOW.
func parseAllow(list string) ([]string, error) {
	keys := split(list)
	if len(keys) == 1 && keys[0] == "none" {
		return nil, nil
	}
	for _, k := range keys {
		if !slices.Contains(orderKeys, k) {
			return nil, fmt.Errorf("%q: expected keys, of %s, or none", k, strings.Join(orderKeys, ", "))
		}
	}
	return keys, nil
}

// faults returns what is ignored now, one line each.
func (c *control) faults() (out []string) {
	for _, k := range append(slices.Clone(orderKeys), anyKey) {
		if fault := c.told[k]; fault != "" {
			out = append(out, "ignored in the namespace's ConfigMap: "+fault)
		}
	}
	return out
}

// maxOrder bounds a file of the ConfigMap, in bytes (a ConfigMap holds 1 MiB at most).
const maxOrder = 64 << 10

func (c *control) read() orders {
	var o orders
	if c.dir == "" {
		return o
	}
	c.key("enabled", func(v string) error {
		switch v {
		case "true":
			o.on = true
		case "false":
			o.off = true
		default:
			return errors.New("expected true or false")
		}
		return nil
	})
	c.key("until", func(v string) (err error) {
		if v == "" {
			o.hasUntil = true
			return nil
		}
		if o.until, err = time.Parse(time.RFC3339, v); err != nil {
			err = errors.New("expected an RFC 3339 time such as 2026-01-31T12:00:00Z")
		}
		o.hasUntil = err == nil
		return err
	})
	c.key("mute", func(v string) (err error) {
		o.mute, err = parseRules(v)
		return err
	})
	c.key("expect", func(v string) (err error) {
		o.expect, err = finding.ParseExpect(v)
		return err
	})
	c.tell(anyKey, c.unknown())
	return o
}

// key passes the value of a key that exists to use. An empty value is ignored, except that
// of until.
func (c *control) key(name string, use func(string) error) {
	value, there, err := c.value(name)
	switch {
	case err != nil || !there || value == "" && name != "until":
	case !slices.Contains(c.allow, name):
		err = errors.New("not allowed by TAP_CONFIG_ALLOW")
	default:
		err = use(value)
	}
	fault := ""
	if err != nil {
		fault = fmt.Sprintf("%s=%s: %v", name, brief(value), err)
	}
	c.tell(name, fault)
}

// anyKey is the name under which unknown keys are reported.
const anyKey = "*"

// mostUnknown bounds the keys that are named.
const mostUnknown = 8

// unknown names the unknown keys, so that a misspelled one is noticed. It returns an empty
// text if all keys are known.
func (c *control) unknown() string {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, "..") && !slices.Contains(orderKeys, name) { // ".." begins what is the kubelet's
			names = append(names, brief(name))
		}
	}
	more := ""
	if n := len(names) - mostUnknown; n > 0 {
		names, more = names[:mostUnknown], fmt.Sprintf(" and %d more", n)
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("%s%s: expected keys, of %s", strings.Join(names, ", "), more, strings.Join(orderKeys, ", "))
}

// tell logs a fault of a key when it is another than before.
func (c *control) tell(key, fault string) {
	if fault != c.told[key] && fault != "" {
		c.log.Warn("ignored in TAP_CONFIG_DIR", "key", key, "error", fault)
	}
	if c.told == nil {
		c.told = map[string]string{}
	}
	c.told[key] = fault
}

// value reads a file: a regular one of maxOrder bytes at most. Others could have no end,
// or wait for a writer for ever.
func (c *control) value(name string) (value string, there bool, err error) {
	f, err := openNow(filepath.Join(c.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", true, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return "", true, err
	case !info.Mode().IsRegular():
		return "", true, errors.New("expected a file")
	case info.Size() > maxOrder:
		return "", true, fmt.Errorf("%d bytes, expected %d at most", info.Size(), maxOrder)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxOrder+1))
	if err == nil && len(b) > maxOrder { // it has grown, or has no size
		return "", true, fmt.Errorf("more than the %d bytes expected at most", maxOrder)
	}
	return strings.TrimSpace(string(b)), true, err
}

// brief returns a value as a line shows it.
func brief(value string) string {
	const most = 80
	if value, _, cut := strings.Cut(value, "\n"); cut || len(value) > most {
		return value[:min(len(value), most)] + "..."
	}
	return value
}

// parseRules reads a list of rule ids.
func parseRules(list string) ([]string, error) {
	rules := split(list)
	for _, r := range rules {
		if !slices.Contains(finding.Rules(), r) {
			return nil, fmt.Errorf("%q: expected rules, of %s", r, strings.Join(finding.Rules(), ", "))
		}
	}
	return rules, nil
}

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

// orders are the settings in the namespace's ConfigMap (TAP_CONFIG_DIR), which apply to all taps of the namespace. They add to the
// environment or replace it. The zero value contains no orders.
type orders struct {
	off      bool                  // enabled: false
	on       bool                  // enabled: true
	hasUntil bool                  // the key until has a valid value; an empty value means that there is no end
	until    time.Time             // zero: no end
	mute     []finding.Mute        // in addition to TAP_MUTE
	expect   []finding.Expectation // expectations, which apply after TAP_EXPECT
}

// orderKeys are the keys of the ConfigMap. By default a ConfigMap may end capturing but not hide findings, because its author may
// be the person whose traffic the tap watches.
var orderKeys = []string{"enabled", "until", "mute", "expect"}

// configMap reads orders from a mounted ConfigMap. Orders stop, mute or configure a fleet without a restart. A value that is invalid
// or not allowed is ignored, and logged once. Of an invalid list of mutes, the valid ones apply. A missing folder is the same as no orders.
type configMap struct {
	dir    string
	allow  []string // the keys that are allowed, of orderKeys
	log    *slog.Logger
	errors map[string]string // why values are ignored, by key; empty: not ignored
}

// parseAllow parses TAP_CONFIG_ALLOW.
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

// ignored returns the reasons for which the last read ignored values, one line each.
func (c *configMap) ignored() (out []string) {
	for _, k := range append(slices.Clone(orderKeys), anyKey) {
		if problem := c.errors[k]; problem != "" {
			out = append(out, "ignored in the namespace's ConfigMap: "+problem)
		}
	}
	return out
}

// maxOrder bounds the value of a key, in bytes. (A ConfigMap has at most 1 MiB.)
const maxOrder = 64 << 10

// read returns the current orders.
func (c *configMap) read() orders {
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
		o.mute, err = finding.ParseMutes(v)
		for i := range o.mute {
			o.mute[i].Namespace = true
		}
		return err
	})

	c.key("expect", func(v string) (err error) {
		o.expect, err = finding.ParseExpect(v)
		return err
	})

	c.setError(anyKey, c.unknown())
	return o
}

// key calls use with the value of a key, if the key exists and is allowed. An empty value counts as missing, except for
// until.
func (c *configMap) key(name string, use func(string) error) {
	value, there, err := c.value(name)
	switch {
	case err != nil || !there || value == "" && name != "until":
	case !slices.Contains(c.allow, name):
		err = errors.New("not allowed by TAP_CONFIG_ALLOW")
	default:
		err = use(value)
	}
	problem := ""
	if err != nil {
		problem = fmt.Sprintf("%s=%s: %v", name, brief(value), err)
	}
	c.setError(name, problem)
}

// anyKey is the name under which unknown keys are reported.
const anyKey = "*"

// mostUnknown is the largest number of unknown keys that are named.
const mostUnknown = 8

// unknown returns an error text that names the unknown keys, so that a misspelled key is noticed. The text is empty if all
// keys are known.
func (c *configMap) unknown() string {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, "..") && !slices.Contains(orderKeys, name) { // names of the kubelet's own files start with ".."
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

// setError sets the reason for which the value of a key is ignored. It logs the reason if it has
// changed.
func (c *configMap) setError(key, problem string) {
	if problem != c.errors[key] && problem != "" {
		c.log.Warn("ignored in TAP_CONFIG_DIR", "key", key, "error", problem)
	}
	if c.errors == nil {
		c.errors = map[string]string{}
	}
	c.errors[key] = problem
}

// value reads the file of a key. The file must be a regular file of at most maxOrder bytes. Reading another kind of file
// might never end.
func (c *configMap) value(name string) (value string, there bool, err error) {
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
	if err == nil && len(b) > maxOrder { // the file has grown since, or reports no size
		return "", true, fmt.Errorf("more than the %d bytes expected at most", maxOrder)
	}
	return strings.TrimSpace(string(b)), true, err
}

// brief returns the start of a value, at most one line of 80 bytes.
func brief(value string) string {
	const most = 80
	if value, _, cut := strings.Cut(value, "\n"); cut || len(value) > most {
		return value[:min(len(value), most)] + "..."
	}
	return value
}

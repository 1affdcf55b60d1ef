package variables

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/caarlos0/env/v11"
)

// Of converts an environment in the form of os.Environ to a map from names to values.
func Of(environ []string) map[string]string { return env.ToMap(environ) }

// Unusable is the error for a variable with an invalid value.
type Unusable struct {
	Name, Value string
	Expected    error // describes what was expected
}

func (u *Unusable) Error() string {
	return fmt.Sprintf("%s=%s: %v", u.Name, WithoutLogin(u.Value), u.Expected)
}

// WithoutLogin returns a value as messages may show it: without the user and the password of a URL (RFC 3986, section 3.2.1).
func WithoutLogin(value string) string {
	if at := strings.LastIndexByte(value, '@'); at >= 0 {
		return "..." + value[at:]
	}
	return value
}

// Unwrap returns u.Expected.
func (u *Unusable) Unwrap() error { return u.Expected }

// Parse fills in a struct; into points to it. For each invalid value it returns an *Unusable and leaves the field
// unset. All other errors are about the type or the tags of a field.
func Parse(into any, vars map[string]string) []error {
	err := env.ParseWithOptions(into, env.Options{Environment: vars})
	if err == nil {
		return nil
	}
	all, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range all.Errors {
		if p, ok := errors.AsType[env.ParseError](e); ok { // p.Name is the name of the field
			if field, ok := reflect.TypeOf(into).Elem().FieldByName(p.Name); ok {
				name := field.Tag.Get("env")
				e = &Unusable{name, vars[name], errors.New("expected " + expected(field.Tag))}
			}
		}
		out = append(out, e)
	}
	return out
}

func expected(tag reflect.StructTag) string {
	if text := tag.Get("expected"); text != "" {
		return text
	}
	return tag.Get("about")
}

// Defaults returns the default of each variable of a struct type, by name. The default is "" if the variable has
// none.
func Defaults[T any]() map[string]string {
	all := map[string]string{}
	for field := range reflect.TypeFor[T]().Fields() {
		all[field.Tag.Get("env")] = field.Tag.Get("envDefault")
	}
	return all
}

// isServiceLink reports whether Kubernetes sets a variable of this name for a Service of a pod's namespace, by the end of the name: see
// "Accessing the Service" in its documentation.
func isServiceLink(name string) bool {
	if strings.HasSuffix(name, "_SERVICE_HOST") || strings.HasSuffix(name, "_SERVICE_PORT") {
		return true
	}
	if _, port, ok := strings.Cut(name, "_SERVICE_PORT_"); ok && port != "" {
		return strings.Trim(port, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
	}
	name, _ = cutAnySuffix(name, "_PROTO", "_PORT", "_ADDR")
	name, ok := cutAnySuffix(name, "_TCP", "_UDP", "_SCTP")
	before := strings.TrimRight(name, "0123456789")
	return ok && before != name && strings.HasSuffix(before, "_PORT_")
}

// cutAnySuffix returns text without the first of these suffixes that it has, and whether it has one.
func cutAnySuffix(text string, suffixes ...string) (before string, found bool) {
	for _, suffix := range suffixes {
		if before, found = strings.CutSuffix(text, suffix); found {
			break
		}
	}
	return before, found
}

// Unknown returns the sorted names of variables that start with prefix and that no field of a struct type has. It leaves out the
// variables that Kubernetes sets for a Service whose name gives that prefix.
func Unknown[T any](vars map[string]string, prefix string) []string {
	known := Defaults[T]()
	var out []string
	for name, value := range vars {
		_, ok := known[name]
		linked := isServiceLink(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
		if !ok && !linked && strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Help writes a line for each variable of a struct type: its name, its default and its description. A field with the tag group starts a
// group of variables under that heading.
func Help[T any](to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for field := range reflect.TypeFor[T]().Fields() {
		if group := field.Tag.Get("group"); group != "" {
			w.Flush()
			fmt.Fprintf(to, "\n%s:\n", group)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", field.Tag.Get("env"), field.Tag.Get("envDefault"), field.Tag.Get("about"))
	}
	w.Flush()
}

// List returns the items of comma-separated lists, without surrounding blanks and without empty items.
func List(items []string) []string {
	var out []string
	for item := range strings.SplitSeq(strings.Join(items, ","), ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

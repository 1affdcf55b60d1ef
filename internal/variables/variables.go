package variables

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"

	"github.com/caarlos0/env/v11"
)

// Of returns an environment, as os.Environ has it, by name.
func Of(environ []string) map[string]string { return env.ToMap(environ) }

// Unusable is a variable whose value cannot be used.
type Unusable struct {
	Name, Value string
	Expected    error // what was expected
}

func (u *Unusable) Error() string { return fmt.Sprintf("%s=%s: %v", u.Name, u.Value, u.Expected) }

// Unwrap returns what was expected.
func (u *Unusable) Unwrap() error { return u.Expected }

// Parse fills in a struct, to which into points. Of values that cannot be used it returns
// one *Unusable each; their fields are not set. Other errors are of the struct's tags.
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
		if p, ok := errors.AsType[env.ParseError](e); ok { // it names the field
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

// Defaults returns the default of each variable that a struct of a type has, empty where
// there is none.
func Defaults[T any]() map[string]string {
	all := map[string]string{}
	for field := range reflect.TypeFor[T]().Fields() {
		all[field.Tag.Get("env")] = field.Tag.Get("envDefault")
	}
	return all
}

// Help writes a line for each variable: its name, its default and what it is.
func Help[T any](to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for field := range reflect.TypeFor[T]().Fields() {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", field.Tag.Get("env"), field.Tag.Get("envDefault"), field.Tag.Get("about"))
	}
	w.Flush()
}

// List returns the items of a list without blanks around them, and without empty ones.
func List(items []string) []string {
	var out []string
	for item := range strings.SplitSeq(strings.Join(items, ","), ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

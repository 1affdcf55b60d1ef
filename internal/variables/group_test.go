package variables_test

import (
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

type grouped struct {
	A string `group:"First" env:"A" envDefault:"x" about:"a"`
	B string `env:"LONGER" about:"b"`
	C string `group:"Second" env:"C" about:"c"`
}

func TestHelpInGroups(t *testing.T) {
	var b strings.Builder
	variables.Help[grouped](&b)
	const want = "\nFirst:\n  A       x  a\n  LONGER     b\n\nSecond:\n  C    c\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

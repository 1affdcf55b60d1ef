package sink

import (
	"os"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/confine"
)

// TestMain runs the tests so that no broker, process or directory of theirs outlives them.
func TestMain(m *testing.M) {
	os.Exit(confine.Main(m.Run, confine.Options{}))
}

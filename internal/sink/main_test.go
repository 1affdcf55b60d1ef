package sink

import (
	"os"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/confine"
)

// TestMain runs the tests confined: no broker, process or directory that they create outlives them.
func TestMain(m *testing.M) {
	os.Exit(confine.Main(m.Run, confine.Options{}))
}

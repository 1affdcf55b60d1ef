package buffer

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/confine"
)

// TestMain runs the tests confined: no process or directory that they create outlives them.
func TestMain(m *testing.M) {
	os.Exit(confine.Main(m.Run, confine.Options{}))
}

var datasets = [...]string{Finding, Posture, Tap, Flow}

// sample returns a record similar to the tap's.
func sample(dataset string, n int) Message {
	id := fmt.Sprintf("%s-%d", dataset, n)
	return Message{
		Dataset: dataset, ID: id, Key: fmt.Sprintf("edge-%d", n%7), Time: time.Now().Truncate(time.Millisecond),
		Value: fmt.Appendf(nil, `{"event":{"id":%q,"dataset":%q,"sequence":%d},"message":"é \"quoted\""}`, id, dataset, n),
	}
}

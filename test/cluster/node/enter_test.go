package node_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/test/cluster/kit"
)

func nodeCommand(t *testing.T, c *kit.Cluster, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(kit.Folder(), "cluster.sh"), append([]string{"enter", c.Work}, args...)...).CombinedOutput()
	return string(out), err
}

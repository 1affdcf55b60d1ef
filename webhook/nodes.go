package webhook

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// nodes knows whether a node runs a kubelet that cannot run native sidecars. The list is read
// now and then, in pages, and not kept: a cache of nodes would be changed all the time.
type nodes struct {
	live client.Reader
	aged atomic.Bool
	many atomic.Int64
}

// sidecarMinor is the first minor version with native sidecars on by default (KEP-753).
const sidecarMinor = 29

func (n *nodes) old() bool { return n.aged.Load() }

// number is how many nodes there were when they were last read to the end, at least 1.
func (n *nodes) number() int { return max(int(n.many.Load()), 1) }

// poll reads the nodes.
func (n *nodes) poll(ctx context.Context) error {
	var list corev1.NodeList
	aged, many := false, int64(0)
	for next := ""; ; next = list.Continue {
		if err := n.live.List(ctx, &list, client.Limit(200), client.Continue(next)); err != nil {
			return err
		}
		for i := range list.Items {
			if m, ok := minor(list.Items[i].Status.NodeInfo.KubeletVersion); ok && m < sidecarMinor {
				aged = true
			}
		}
		if many += int64(len(list.Items)); list.Continue == "" {
			n.aged.Store(aged)
			n.many.Store(many)
			return nil
		}
	}
}

// minor reads the minor version of v1.29.3, 1.28+ and the like.
func minor(version string) (int, bool) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 || parts[0] != "1" {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimRight(parts[1], "+"))
	return n, err == nil
}

package webhook

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// nodes knows how many nodes there are, and whether a kubelet is too old for native sidecars. It lists the nodes
// periodically, in pages: a cache of nodes would get updates all the time.
type nodes struct {
	live client.Reader
	aged atomic.Bool  // a kubelet is too old
	many atomic.Int64 // number of nodes
}

// sidecarMinor is the first minor version of Kubernetes that enables native sidecars by default (KEP-753).
const sidecarMinor = 29

// old reports whether a kubelet is too old for native sidecars.
func (n *nodes) old() bool { return n.aged.Load() }

// number returns the number of nodes at the last complete read, at least 1.
func (n *nodes) number() int { return max(int(n.many.Load()), 1) }

// poll lists the nodes. If it fails, the earlier values remain.
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

// minor returns the minor version of a version 1.x, such as v1.29.3 or 1.28+.
func minor(version string) (int, bool) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 || parts[0] != "1" {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimRight(parts[1], "+"))
	return n, err == nil
}

package attach

import (
	"bufio"
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Losses counts the packets and connections that a tap has seen and lost since its start, by the tap's latest record about itself.
type Losses struct {
	At       record.Time `json:"at"` // of the record
	Packets  uint64      `json:"packets"`
	Dropped  uint64      `json:"dropped_packets"`
	Evicted  uint64      `json:"evicted_connections"`
	Older    uint64      `json:"older_connections"`  // connections that began before the tap
	Degraded string      `json:"degraded,omitempty"` // why the tap sees less than it should, as in event.reason
}

// tailLines is the number of lines at the end of a log in which Losses are searched.
const tailLines = 2000

// lossesTime bounds the reading of a log's end: the kubelet of a node that does not respond must not block the command.
const lossesTime = 20 * time.Second

// Losses reads what a tap has seen and lost from the end of its log. It returns nil without an error if there is no record about the tap itself.
func (c *Client) Losses(ctx context.Context, t *Tap) (*Losses, error) {
	ctx, cancel := context.WithTimeout(ctx, lossesTime)
	defer cancel()
	tail := int64(tailLines)
	in, err := c.Kube.CoreV1().Pods(t.Namespace).GetLogs(t.Pod, &corev1.PodLogOptions{Container: t.Container, TailLines: &tail}).Stream(ctx)
	if err != nil {
		return nil, Explain(err, "get", "pods/log", t.Namespace)
	}
	defer in.Close()
	var found *Losses
	for r := bufio.NewReaderSize(in, 64<<10); ; {
		line, err := readLine(r)
		if x := parseLine(line); x != nil && x.Event.Dataset == record.DatasetTap && x.Meshtls.Coverage != nil && x.Meshtls.Coverage.Watched != nil {
			w := x.Meshtls.Coverage.Watched
			found = &Losses{At: x.Timestamp, Packets: w.Packets, Dropped: w.Dropped, Evicted: w.Evicted, Older: w.Older}
			if x.Event.Action == "degraded" {
				found.Degraded = x.Event.Reason
			}
		}
		if err != nil { // the end of the log, or of the connection: the latest record that was read counts
			return found, nil //nolint:nilerr // see above
		}
	}
}

package attach

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// maxLog bounds the part of a log that ReadLog reads, in bytes. A node keeps 10 MiB of a container's log by default.
const maxLog = 256 << 20

// ReadLog reads the log of a tap, running or ended, as far as the node has it now, and calls add with each record in order. add must not retain the record. since
// limits the log to its latest part; 0 means all of it. After an error the records before it have been passed to add.
func (c *Client) ReadLog(ctx context.Context, t *Tap, since time.Duration, add func(*record.Record)) error {
	o := &corev1.PodLogOptions{Container: t.Container}
	if s := int64(since / time.Second); s > 0 {
		o.SinceSeconds = &s
	}
	in, err := c.Kube.CoreV1().Pods(t.Namespace).GetLogs(t.Pod, o).Stream(ctx)
	if err != nil {
		return Explain(err, "get", "pods/log", t.Namespace)
	}
	defer in.Close()
	bounded := &io.LimitedReader{R: in, N: maxLog}
	damaged := 0
	for r := bufio.NewReaderSize(bounded, 64<<10); ; {
		line, err := readLine(r)
		if x := parseLine(line); x != nil {
			add(&x.Record)
		} else if bytes.HasPrefix(line, []byte(`{"`)) && (err == nil || t.State == Terminated) { // a running tap may be writing its last line
			damaged++
		}
		switch {
		case errors.Is(err, io.EOF) && bounded.N <= 0:
			return fmt.Errorf("the log is longer than %d MiB: choose a part of it with --since", maxLog>>20)
		case errors.Is(err, io.EOF) && damaged > 0:
			return fmt.Errorf("damaged records: %d", damaged)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

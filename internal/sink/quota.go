package sink

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/produce"
)

// throttling reports the throttle time of responses, which kafka-go's Writer does not return.
type throttling struct {
	kafka.RoundTripper
	report func(time.Duration)
}

// RoundTrip implements kafka.RoundTripper.
func (t *throttling) RoundTrip(ctx context.Context, addr net.Addr, request kafka.Request) (kafka.Response, error) {
	response, err := t.RoundTripper.RoundTrip(ctx, addr, request)
	if p, ok := response.(*produce.Response); ok && p != nil {
		t.report(time.Duration(p.ThrottleTimeMs) * time.Millisecond)
	}
	return response, err
}

// quota has the times for which the broker's quotas throttle this client. Kafka.mu guards it.
type quota struct {
	last, total time.Duration
	until       time.Time
}

// throttle records the throttle time of a response. During this time the broker does not read from the
// connection (KIP-219), so the sink does not send.
func (k *Kafka) throttle(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.quota.last = d
	if until := time.Now().Add(d); d > 0 && until.After(k.quota.until) {
		k.quota.until = until
		k.quota.total += d
	}
}

func (k *Kafka) throttledUntil() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.quota.until
}

// slowed returns a reason if quotas delay delivery by a second or more. Otherwise it returns "".
// The caller holds Kafka.mu.
func (k *Kafka) slowed() string {
	if k.quota.last < time.Second {
		return ""
	}
	return k.reasonf("%s", fmt.Sprintf("a quota slows this client down, now by %v: raise producer_byte_rate or request_percentage for its user or for client id %q, or publish less", k.quota.last, k.cfg.ClientID))
}

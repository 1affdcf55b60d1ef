package sink

import (
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// quickRetries is the number of fast retries before slow ones. Some errors last only a moment: not
// every broker knows a new topic yet, a restarting broker still has to pass its partitions to
// others, or a load balancer has not noticed a change.
const quickRetries = 2

// backoff returns how long to wait after a failure. failures is the number of consecutive failures before
// this one.
func (k *Kafka) backoff(f deliveryError, failures int) time.Duration {
	d := k.cfg.SlowBackoff
	if !f.slow || f.oneTopic && failures < quickRetries {
		d = min(k.cfg.MinBackoff<<min(failures, 20), k.cfg.MaxBackoff)
	}
	if k.isClosing() {
		d = min(d, 500*time.Millisecond)
	}
	return d/2 + rand.N(d)
}

// retrySlot returns the time of the next attempt if no alert waits. urgent is the time of the next
// attempt if an alert waits. After a few quick attempts each tap retries at its own moment within
// every period of length Spread, so that the taps of a fleet reconnect one after the other.
func (k *Kafka) retrySlot(f deliveryError, urgent time.Time) time.Time {
	if k.cfg.Spread <= 0 || k.isClosing() || k.cluster.failures <= quickRetries+1 {
		return urgent
	}
	spread := int64(k.cfg.Spread)
	now := urgent.UnixNano()
	if !f.slow {
		now = time.Now().Add(k.cfg.MinBackoff).UnixNano()
	}

	slot := now - now%spread + int64(k.phase(k.cfg.Spread))
	if slot < now {
		slot += spread
	}
	return time.Unix(0, slot)
}

// startDelay spreads the first connections of taps that start together.
func (k *Kafka) startDelay() time.Duration { return k.phase(k.cfg.Spread / 12) }

// phase returns this tap's moment within a period. It depends only on Seed.
func (k *Kafka) phase(of time.Duration) time.Duration {
	if of <= 0 || k.cfg.Seed == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(k.cfg.Seed))
	return time.Duration(h.Sum64() % uint64(of))
}

// maxWait returns how long run may wait if nothing wakes it.
func (k *Kafka) maxWait() time.Duration {
	if !k.cluster.ok && k.failedSecrets != "" {
		return 2 * time.Second // after this time the secrets are checked for changes
	}
	if d, ok := k.buffer.Recheck(); ok {
		return d
	}
	return time.Hour
}

// retryNow ends all waits between attempts.
func (k *Kafka) retryNow() {
	k.cluster.notBefore, k.cluster.urgent = time.Time{}, time.Time{}
	for _, t := range k.topics {
		t.notBefore = time.Time{}
	}
}

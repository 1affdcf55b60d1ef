package sink

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

// quick is how often a fault is met with a fast retry before a slow one: a topic that
// was just created is not known to each broker at once, a broker that restarts hands its
// partitions over, a load balancer needs a moment.
const quick = 2

// backoff returns how long to wait after the failure with that number, from 0 on.
func (k *Kafka) backoff(f fault, failures int) time.Duration {
	d := k.cfg.SlowBackoff
	if !f.slow || f.topic && failures < quick {
		d = min(k.cfg.MinBackoff<<min(failures, 20), k.cfg.MaxBackoff)
	}
	if k.isClosing() {
		d = min(d, 500*time.Millisecond)
	}
	return d/2 + rand.N(d)
}

// slot returns when to try again with no alert waiting, given when to try with one.
// After a few quick attempts each tap has a moment of its own in every Spread, so that
// a fleet that has lost its broker comes back one by one.
func (k *Kafka) slot(f fault, urgent time.Time) time.Time {
	if k.cfg.Spread <= 0 || k.isClosing() || k.cluster.failures <= quick+1 {
		return urgent
	}
	spread := int64(k.cfg.Spread)
	now := urgent.UnixNano()
	if !f.slow {
		now = time.Now().Add(k.cfg.MinBackoff).UnixNano()
	}
	turn := now - now%spread + int64(k.phase(k.cfg.Spread))
	if turn < now {
		turn += spread
	}
	return time.Unix(0, turn)
}

// startDelay spreads the first connections of taps that start together.
func (k *Kafka) startDelay() time.Duration { return k.phase(k.cfg.Spread / 12) }

// phase is this tap's share of a stretch of time, the same each time.
func (k *Kafka) phase(of time.Duration) time.Duration {
	if of <= 0 || k.cfg.Seed == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(k.cfg.Seed))
	return time.Duration(h.Sum64() % uint64(of))
}

// patience is how long run may wait although nothing wakes it.
func (k *Kafka) patience() time.Duration {
	switch {
	case !k.cluster.ok && k.files != "":
		return 2 * time.Second // for the secrets to change
	case k.queue.spool != nil:
		return spoolPatient // a disk that hangs tells nobody
	}
	return time.Hour
}

// noticeFiles makes the next attempt be now if a secret was changed since the last one.
func (k *Kafka) noticeFiles() {
	if k.cluster.ok || k.files == "" || k.files == k.secrets() {
		return
	}
	k.files = ""
	k.hurry()
}

// secrets tells apart the states of the files that a connection is made with. It is
// empty if there are none.
func (k *Kafka) secrets() string {
	var names []string
	if t := k.cfg.TLS; t != nil {
		names = append(names, t.CAFile, t.CertFile, t.KeyFile)
	}
	if s := k.cfg.SASL; s != nil {
		names = append(names, s.PasswordFile, s.TokenFile)
	}
	var state strings.Builder
	for _, name := range names {
		if name == "" {
			continue
		}
		state.WriteString(name)
		if info, err := os.Stat(name); err == nil {
			fmt.Fprint(&state, info.ModTime().UnixNano(), info.Size())
		}
	}
	return state.String()
}

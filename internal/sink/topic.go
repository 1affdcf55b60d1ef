package sink

import (
	"slices"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/buffer"
)

// topic is one topic and the state of delivery to it.
type topic struct {
	health
	name     string
	datasets buffer.Set
	limit    int  // most records in the next batch
	used     bool // the topic must exist; the topic of flows must exist only once there is a flow, because flows are usually off
	checked  bool // the permission to write records to the topic was checked
}

// topicsOf returns the topics, the most urgent first. Each topic is returned once, even if several
// settings have its name.
func topicsOf(cfg *KafkaConfig, limit int) []*topic {
	var topics []*topic
	byName := map[string]*topic{}
	flows := buffer.SetOf(buffer.Flow)
	for _, to := range []struct {
		name     string
		datasets buffer.Set
	}{
		{cfg.FindingsTopic, buffer.SetOf(buffer.Finding)},
		{cfg.PostureTopic, buffer.SetOf(buffer.Tap, buffer.Posture)},
		{cfg.FlowsTopic, flows},
		{cfg.EvidenceTopic, buffer.SetOf(buffer.Evidence)},
	} {
		if to.name == "" {
			continue
		}
		t := byName[to.name]
		if t == nil {
			t = &topic{name: to.name, limit: limit, used: to.datasets != flows}
			byName[to.name] = t
			topics = append(topics, t)
		}
		t.datasets |= to.datasets
		if t.datasets.Has(buffer.Evidence) {
			t.limit = 1 // files are large, and findings wait while they are sent; adaptBatch raises it if the connection is fast
		}
	}
	return topics
}

// topicNames returns the names of the topics, each once.
func (c *KafkaConfig) topicNames() []string {
	all := []string{c.FindingsTopic, c.PostureTopic, c.FlowsTopic}
	if c.EvidenceTopic != "" {
		all = append(all, c.EvidenceTopic)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// topicSetting returns the setting that contains a topic's name.
func (c *client) topicSetting(name string) string {
	switch name {
	case c.cfg.FindingsTopic:
		return settingTopic
	case c.cfg.PostureTopic:
		return settingPostureTopic
	case c.cfg.EvidenceTopic:
		return settingEvidenceTopic
	}
	return settingFlowsTopic
}

// adaptBatch adapts the size of the next batch to the speed of the connection. took is the time
// that a batch of n records took. limit is the time for a response: a batch that takes longer would
// be sent again and again, and stored each time. most bounds the size.
func (t *topic) adaptBatch(took, limit time.Duration, n, most int) {
	switch {
	case took >= limit:
		t.limit = max(1, n/2)
	case took < limit/4:
		t.limit = min(t.limit*2, most)
	}
}

// health is the result of the last attempts, for a topic or the whole cluster.
type health struct {
	ok        bool
	reason    string // reason of the last failure; empty when ok, or before the first attempt
	class     string // class of the last failure; empty like reason
	failures  int    // number of consecutive failures
	notBefore time.Time
	urgent    time.Time // replaces notBefore while an alert waits
}

func (h *health) succeed() { *h = health{ok: true} }

func (h *health) fail(f deliveryError, wait time.Duration) {
	first := h.failures == 0
	h.failures++
	h.urgent = time.Now().Add(wait)
	h.notBefore = h.urgent
	if first && h.ok && f.stale {
		return // the next attempt uses a new connection: report nothing before it fails too
	}
	h.ok, h.reason, h.class = false, f.reason, f.class
}

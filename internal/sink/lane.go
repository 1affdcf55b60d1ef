package sink

import "time"

// lane is one topic and the records that go there.
type lane struct {
	health
	topic string
	kinds kindSet
	limit int  // records in the next batch
	used  bool // its topic has to be there; flows are off in most places
	tried bool // whether records may be written there was asked, or shown
}

// lanesOf returns the lanes, what is most urgent first. Settings may name one topic twice.
func lanesOf(cfg *KafkaConfig, limit int) []*lane {
	var lanes []*lane
	byTopic := map[string]*lane{}
	for _, to := range []struct {
		topic string
		kinds kindSet
	}{
		{cfg.FindingsTopic, 1 << finding},
		{cfg.PostureTopic, 1<<tap | 1<<posture},
		{cfg.FlowsTopic, 1 << flow},
	} {
		l := byTopic[to.topic]
		if l == nil {
			l = &lane{topic: to.topic, limit: limit, used: to.kinds != 1<<flow}
			byTopic[to.topic] = l
			lanes = append(lanes, l)
		}
		l.kinds |= to.kinds
	}
	return lanes
}

// pace fits the next batch to the way, given how long one of n records took. One that takes
// longer than an answer may would be sent again and again, and arrive each time.
func (l *lane) pace(took, limit time.Duration, n, most int) {
	switch {
	case took >= limit:
		l.limit = max(1, n/2)
	case took < limit/4:
		l.limit = min(l.limit*2, most)
	}
}

// topicSetting returns the setting that a topic's name comes from.
func (c *client) topicSetting(topic string) string {
	switch topic {
	case c.cfg.FindingsTopic:
		return SettingTopic
	case c.cfg.PostureTopic:
		return SettingPostureTopic
	}
	return SettingFlowsTopic
}

// health is how attempts went.
type health struct {
	ok        bool
	reason    string // of the last failure; empty when ok, or before the first attempt
	class     string // of the same
	failures  int    // in a row
	notBefore time.Time
	urgent    time.Time // the same while an alert waits
}

func (h *health) succeed() { *h = health{ok: true} }

func (h *health) fail(f fault, wait time.Duration) {
	first := h.failures == 0
	h.failures++
	h.urgent = time.Now().Add(wait)
	h.notBefore = h.urgent
	if first && h.ok && f.stale {
		return // try once more before saying that something is wrong
	}
	h.ok, h.reason, h.class = false, f.reason, f.class
}

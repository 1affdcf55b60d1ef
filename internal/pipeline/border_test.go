package pipeline_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

// TestWindowBorder: a connection that closed before the border of two windows counts in the first one only,
// whether the next packet arrives before or after the table has removed the connection.
func TestWindowBorder(t *testing.T) {
	border := captureStart.Add(10 * time.Minute)
	for name, closed := range map[string]time.Duration{"long before": 20 * time.Second, "just before": time.Second} {
		t.Run(name, func(t *testing.T) {
			var got []string
			p := pipeline.New(pipeline.Config{Engine: finding.Config{Tap: "read", Posture: true, Emit: func(r finding.Record) {
				schematest.Check(t, r.Value)
				var x struct {
					Event   struct{ Action string }
					Meshtls struct {
						Edge struct {
							Port        uint16
							Connections struct{ Plaintext int }
						}
					}
				}
				if err := json.Unmarshal(r.Value, &x); err != nil {
					t.Fatal(err)
				}
				if e := x.Meshtls.Edge; x.Event.Action != "new" {
					got = append(got, fmt.Sprintf("%s port %d: %d", time.Unix(0, r.Time).UTC().Format("15:04"), e.Port, e.Connections.Plaintext))
				}
			}}})
			talk := pingTalk(t)
			first := capturetest.Options{Client: netip.MustParseAddrPort("10.1.0.7:40000"), Server: netip.MustParseAddrPort("10.1.0.20:6379"), Start: border.Add(-closed)}
			second := first
			second.Server, second.Start = netip.MustParseAddrPort("10.1.0.20:6380"), border.Add(time.Second)
			later := second
			later.Client, later.Start = netip.MustParseAddrPort("10.1.0.7:40001"), border.Add(time.Minute)
			earlier := first
			earlier.Client, earlier.Start = netip.MustParseAddrPort("10.1.0.7:40002"), captureStart
			for _, o := range []capturetest.Options{earlier, first, second, later} {
				play(p, talk.Packets(o)...)
			}
			p.Flush()
			p.Do(func(l *pipeline.Locked) { l.Engine.Flush(l.Latest()) })
			if want := []string{"12:10 port 6379: 2", "12:11 port 6380: 2"}; !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

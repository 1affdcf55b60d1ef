package flow_test

import (
	"fmt"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// printer prints what a table reports.
type printer struct{}

func (printer) Data(_ *flow.Conn, s *flow.Segment) {
	fmt.Printf("side %d, offset %d: %q\n", s.Side, s.Offset, s.Data)
}

func (printer) Changed(*flow.Conn) {}

func (printer) End(c *flow.Conn, _ flow.EndReason) {
	fmt.Println(c.Orig.AddrPort(), "to", c.Resp.AddrPort(), c.State)
}

// A table calls its handler with the payload of each direction in order, for packets in any order.
func ExampleTable() {
	talk := capturetest.Conversation{Chunks: []capturetest.Chunk{
		{Data: []byte("How are ")},
		{Data: []byte("you?")},
		{FromServer: true, Data: []byte("Well."), Read: 12},
	}}
	frames := talk.Packets(capturetest.Options{})
	frames[3], frames[4] = frames[4], frames[3] // the client's second segment overtakes its first

	table := flow.NewTable(flow.Config{}, printer{})
	for _, f := range frames {
		table.Add(&flow.Packet{Time: f.Time.UnixNano(), Data: f.Data, Length: len(f.Data), Link: wire.LinkEthernet})
	}
	table.Flush()

	// Output:
	// side 0, offset 0: "How are "
	// side 0, offset 8: "you?"
	// side 1, offset 0: "Well."
	// 10.0.0.1:40000 to 10.0.0.2:443 SF
}

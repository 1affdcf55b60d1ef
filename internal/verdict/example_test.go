package verdict_test

import (
	"fmt"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// judging passes the bytes of one connection to a session, and judges it at its end.
type judging struct {
	session *dissect.Session
	judge   *verdict.Judge
}

func (x *judging) Data(_ *flow.Conn, s *flow.Segment) {
	x.session.Data(dissect.Side(s.Side), s.Offset, s.Data, s.Ack, s.Gap)
}

func (x *judging) Changed(*flow.Conn) {}

func (x *judging) End(c *flow.Conn, _ flow.EndReason) {
	judged := x.judge.Judge(c, x.session, "eth0", true)
	fmt.Println(judged.Verdict, judged.Protocol, judged.Reasons)
}

// The example judges a connection of the flow table by the session of its bytes. An HTTP request and its response make
// it plaintext.
func ExampleJudge() {
	talk := capturetest.Conversation{Chunks: []capturetest.Chunk{
		{Data: []byte("GET / HTTP/1.1\r\nHost: cart.shop\r\n\r\n")},
		{FromServer: true, Data: []byte("HTTP/1.1 204 No Content\r\n\r\n"), Read: 35},
	}}

	table := flow.NewTable(flow.Config{}, &judging{session: dissect.New(), judge: verdict.New(verdict.Config{})})
	for _, f := range talk.Packets(capturetest.Options{}) {
		table.Add(&flow.Packet{Time: f.Time.UnixNano(), Data: f.Data, Length: len(f.Data), Link: wire.LinkEthernet})
	}
	table.Flush()

	// Output:
	// plaintext http [http_request_line http_response_line]
}

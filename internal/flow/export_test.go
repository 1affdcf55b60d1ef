package flow

// Base is the sequence number of a stream's offset 0.
func (c *Conn) Base(s Side) uint32 { return c.tcp.side[s].base }

// Held is the cost of what a side holds out of order, and the number of pieces.
func (c *Conn) Held(s Side) (cost, pieces int) {
	if q := c.queue(s); q != nil {
		return q.held, len(q.pieces)
	}
	return 0, 0
}

package evidence

// Known returns the number of connections that t knows.
func (t *Truncator) Known() int { return len(t.known) }

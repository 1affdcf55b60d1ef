package dissect

// Broken reports whether a side's record layer was lost and not found again.
func (t *TLS) Broken(side Side) bool { return t.layers[side].broken }

package dissect

// Broken reports whether the position in a side's record layer is unknown.
func (t *TLS) Broken(side Side) bool { return t.layers[side].broken }

package report

// Codes is the number of reason codes with an explanation.
func Codes() int { return len(words) }

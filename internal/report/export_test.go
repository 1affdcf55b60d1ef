package report

// Codes is how many reason codes have words.
func Codes() int { return len(words) }

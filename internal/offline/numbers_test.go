package offline

import "testing"

// TestNumbersInText: words with a number are right for 0, 1 and 2.
func TestNumbersInText(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{counted(0, "record"), "0 records"},
		{counted(1, "record"), "1 record"},
		{counted(2, "record"), "2 records"},
		{moreLines(1), "1 more line that is not a record"},
		{moreLines(2), "2 more lines that are not records"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

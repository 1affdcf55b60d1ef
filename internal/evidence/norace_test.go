//go:build !race

package evidence_test

import "testing"

func norace(*testing.T) {}

package main

import (
	"bytes"
	"errors"
	"testing"
)

func TestRBAC(t *testing.T) {
	var b bytes.Buffer
	for _, f := range []rbacFlags{{group: "oncall"}, {account: "ops:responder", all: true, optional: true}} {
		if err := printRBAC(&b, &f, "shop"); err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n")
	}
	golden(t, "rbac.yaml", b.String())
}

func TestRBACUsage(t *testing.T) {
	for _, f := range []rbacFlags{{}, {user: "a", group: "b"}, {account: "responder"}} {
		var s *statusError
		if err := printRBAC(&bytes.Buffer{}, &f, "shop"); !errors.As(err, &s) || s.status != exitUsage {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

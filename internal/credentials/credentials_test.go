package credentials

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	all := Kinds(1<<kindCount - 1).Names()
	if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != kindCount || slices.Contains(all, "") {
		t.Errorf("names %q", all)
	}
	for kind, want := range map[Kinds]string{
		FTPPassword: "ftp_password", HTTPDigest: "http_digest", MQTTPassword: "mqtt_password", PostgreSQLPassword: "postgresql_password",
		SASLAMQPLAIN: "sasl_amqplain", SASLPlain: "sasl_plain", TelnetPassword: "telnet_password",
	} {
		if got := kind.Names(); len(got) != 1 || got[0] != want {
			t.Errorf("names %q, want %q", got, want)
		}
	}
}

func TestSessionNames(t *testing.T) {
	for name, want := range map[string]bool{
		"session": true, "JSESSIONID": true, "PHPSESSID": true, "ASP.NET_SessionId": true, "connect.sid": true, "sid": true, "_my_app_session": true,
		"auth": true, ".ASPXAUTH": true, "oauth": true, "access_token": true, "rememberToken": true, "jwt": true, "__Host-sess": true, "user-auth-2": true,
		"lang": false, "sidebar": false, "author": false, "inside": false, "csrftoken": false, "XSRF-TOKEN": false, "_csrf_session": false, "authors": false,
		"_ga": false, "theme": false, "": false, "assessment": false,
	} {
		if got := isSessionName([]byte(name)); got != want {
			t.Errorf("isSessionName(%q) = %v", name, got)
		}
	}
}

func TestPlainMessages(t *testing.T) {
	for message, want := range map[string]bool{
		"\x00alice\x00secret": true, "admin\x00alice\x00secret": true, "\x00alice\x00": false, "\x00alice": false, "": false, "alice:secret": false,
	} {
		if got := plainPassword([]byte(message)); got != want {
			t.Errorf("plainPassword(%q) = %v", message, got)
		}
	}
	for text, want := range map[string]bool{"AGEAYg==": true, "AGEA": false, "AGEAYg==x": false, "AGEA*g==": false, "=": false} {
		if got := plainInBase64([]byte(text)); got != want {
			t.Errorf("plainInBase64(%q) = %v", text, got)
		}
	}
}

// TestCookiesWithoutValues: the cost of a field is linear in its size for any content. If it were quadratic, this field would
// take minutes.
func TestCookiesWithoutValues(t *testing.T) {
	begin := time.Now()
	var f Field
	f.Write(append([]byte("cookie: "), bytes.Repeat([]byte(";"), 4<<20)...))
	if f.Write([]byte("sid=x")); f.Kinds() != HTTPCookie {
		t.Error("the cookie at the end was not found")
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("4 MiB took %v", took)
	}
}

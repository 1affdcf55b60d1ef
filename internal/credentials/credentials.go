package credentials

import "math/bits"

// Kinds is a set of kinds of credentials. Its zero value is the empty set.
type Kinds uint32

// The kinds of credentials, in the order of their names.
const (
	FTPPassword        Kinds = 1 << iota // PASS, except for the user anonymous (RFC 959 section 4.1.1)
	HTTPBasic                            // Authorization or Proxy-Authorization with the scheme Basic (RFC 7617)
	HTTPBearer                           // the same with Bearer (RFC 6750)
	HTTPCookie                           // a cookie that has the name of a session, see isSessionName
	HTTPDigest                           // the same with Digest (RFC 7616), from which the password can be guessed offline
	IMAPPassword                         // LOGIN (RFC 9051 section 6.2.3)
	LDAPSimpleBind                       // a simple bind with a password (RFC 4513 section 5.1.3)
	MemcachedPassword                    // user and password of the text protocol (memcached, doc/protocol.txt)
	MQTTPassword                         // CONNECT with a password (MQTT 5.0 section 3.1.3.6)
	MySQLPassword                        // mysql_clear_password of MySQL, dialog of MariaDB
	NATSPassword                         // the member pass of CONNECT
	NATSToken                            // the member auth_token of CONNECT
	NNTPPassword                         // AUTHINFO PASS (RFC 4643 section 2.3)
	POP3Password                         // PASS (RFC 1939 section 7)
	PostgreSQLPassword                   // PasswordMessage that answers AuthenticationCleartextPassword
	RedisPassword                        // AUTH, or HELLO with AUTH
	SASLAMQPLAIN                         // AMQPLAIN of AMQP 0-9-1: user and password
	SASLLogin                            // LOGIN (draft-murchison-sasl-login)
	SASLOAuthBearer                      // OAUTHBEARER (RFC 7628) or XOAUTH2: a bearer token
	SASLPlain                            // PLAIN (RFC 4616)
	TelnetPassword                       // a line that answers a prompt for a password

	kindCount = iota
)

// names holds the published names of the kinds, by their bit. They are sorted.
var names = [kindCount]string{
	"ftp_password", "http_basic", "http_bearer", "http_cookie", "http_digest", "imap_password", "ldap_simple_bind", "memcached_password",
	"mqtt_password", "mysql_password", "nats_password", "nats_token", "nntp_password", "pop3_password", "postgresql_password", "redis_password",
	"sasl_amqplain", "sasl_login", "sasl_oauthbearer", "sasl_plain", "telnet_password",
}

// Names returns the names of the kinds in k, sorted. It returns nil for the empty set.
func (k Kinds) Names() []string {
	if k == 0 {
		return nil
	}
	out := make([]string, 0, bits.OnesCount32(uint32(k)))
	for ; k != 0; k &= k - 1 {
		out = append(out, names[bits.TrailingZeros32(uint32(k))])
	}
	return out
}

package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// The test binary can also run as the server and as the client whose traffic contains secrets.
func init() {
	switch os.Getenv("MESHTLS_SECRETS") {
	case "server":
		exitOn(secretsServer(os.Getenv("MESHTLS_ADDRESS")))
	case "client":
		exitOn(secretsClient(os.Getenv("MESHTLS_ADDRESS")))
	}
}

// Levels of TAP_REDACT from which on records may have a text, and never.
const (
	fromStrict = iota
	fromDefault
	fromNone
	never
)

// planted is a secret in the traffic.
type planted struct {
	place     string
	level     int    // fromStrict to never
	wire      string // its form in the packets
	encrypted bool   // packets have it only encrypted
}

// secret returns the secret of a place: 16 lower-case letters and digits.
func secret(place string) string {
	sum := sha256.Sum256([]byte(place))
	return "s3cr3t" + hex.EncodeToString(sum[:5])
}

// exchange is a conversation in plaintext: the messages of the client and of the server in turn. An empty first message lets
// the server begin.
type exchange struct {
	port     int
	messages []string
}

// traffic has all conversations and the secrets in them. Both programs build the same one.
type traffic struct {
	secrets   []planted
	exchanges []exchange
}

func (x *traffic) put(place string, level int) string {
	x.secrets = append(x.secrets, planted{place: place, level: level, wire: secret(place)})
	return secret(place)
}

// p returns a secret that may never be published.
func (x *traffic) p(place string) string { return x.put(place, never) }

// base64 returns a text with secrets that may never be published. They are in the packets only within its base64 form.
func (x *traffic) base64(format string, places ...string) string {
	var args []any
	for _, p := range places {
		args = append(args, secret(p))
	}
	coded := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, format, args...))
	for _, p := range places {
		x.secrets = append(x.secrets, planted{place: p, level: never, wire: coded})
	}
	return coded
}

// percent returns a secret that may never be published, percent-encoded.
func (x *traffic) percent(place string) string {
	coded := ""
	for _, c := range []byte(secret(place)) {
		coded += fmt.Sprintf("%%%02X", c)
	}
	x.secrets = append(x.secrets, planted{place: place, level: never, wire: coded})
	return coded
}

func (x *traffic) say(port int, messages ...string) {
	x.exchanges = append(x.exchanges, exchange{port, messages})
}

// http adds a request without a body and its response.
func (x *traffic) http(request string, fields ...string) {
	const response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	x.say(8000+len(x.exchanges), request+" HTTP/1.1\r\n"+strings.Join(append(fields, "", ""), "\r\n"), response)
}

// newTraffic returns the conversations. A text that may be published only from a level on is a secret up to that level.
func newTraffic() *traffic {
	x := &traffic{}
	const host = "Host: shop.example"
	x.http("GET /", host, "Authorization: Basic "+x.base64("%s:%s", "Basic user", "Basic password"))
	x.http("GET /", host, "Authorization: Bearer "+x.p("bearer token"), "Cookie: sid="+x.p("cookie"), "X-Api-Key: "+x.p("field"), "Referer: http://a/"+x.p("referer"))
	x.http("GET /", host, `Authorization: Digest username="`+x.p("Digest user")+`", response="`+x.p("Digest response")+`"`)
	x.http("GET /"+x.put("path", fromNone)+"?token="+x.p("query")+"&more="+x.percent("encoded query"), host, "User-Agent: "+x.put("user agent", fromNone))
	x.http("GET /"+x.put("userinfo as path", fromNone)+"@shop.example:x", "Host: "+x.p("Host user")+":"+x.p("Host password")+"@shop.example")
	x.http("GET /", "Host: "+x.percent("encoded Host"))
	x.http("GET /", "Host: shop.example/"+x.p("path in Host")+"?q="+x.p("query in Host"))
	x.http("GET /", "Host: 10.0.0.1:"+x.p("port in Host"))
	x.http("GET http://"+x.p("target user")+":"+x.p("target password")+"@shop.example/", host)
	x.http("CONNECT "+x.p("CONNECT user")+":"+x.p("CONNECT password")+"@shop.example:443", host, "Proxy-Authorization: Basic "+x.base64("proxy:%s", "proxy password"))
	x.http("GET /", "Host: "+x.put("Host", fromDefault)+".shop.example")
	x.say(8100, "POST /login HTTP/1.1\r\n"+host+"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 25\r\n\r\npassword="+x.p("form"),
		"HTTP/1.1 302 "+x.p("reason phrase")+"\r\nSet-Cookie: sid="+x.p("Set-Cookie")+"\r\nLocation: /?token="+x.p("Location")+"\r\nContent-Length: 16\r\n\r\n"+x.p("response body"))
	x.grpc()

	x.say(25, "", "220 mx ESMTP\r\n", "EHLO a\r\n", "250-mx\r\n250 AUTH PLAIN LOGIN\r\n", "AUTH PLAIN "+x.base64("\x00mail\x00%s", "SMTP password")+"\r\n", "235 ok\r\n")
	x.say(143, "", "* OK IMAP4rev1 ready\r\n", "a LOGIN joe "+x.p("IMAP password")+"\r\n", "a OK\r\n")
	x.say(110, "", "+OK POP3 ready\r\n", "USER "+x.p("POP3 user")+"\r\n", "+OK\r\n", "PASS "+x.p("POP3 password")+"\r\n", "+OK\r\n")
	x.say(21, "", "220 FTP ready\r\n", "USER joe\r\n", "331 password\r\n", "PASS "+x.p("FTP password")+"\r\n", "230 in\r\n")
	x.say(23, "", "\xff\xfd\x18login: ", x.p("Telnet user")+"\r\n", "Password: ", x.p("Telnet password")+"\r\n", "$ ")
	x.say(389, "\x30\x1f\x02\x01\x01\x60\x1a\x02\x01\x03\x04\x03cn=\x80\x10"+x.p("LDAP password"), "\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00")
	x.databases()
	x.say(6379, "*2\r\n$4\r\nAUTH\r\n$16\r\n"+x.p("Redis password")+"\r\n", "+OK\r\n", "SET k "+x.p("Redis value")+"\r\n", "+OK\r\n")
	x.say(4222, "", "INFO {\"server_id\":\"a\"}\r\n", `CONNECT {"user":"u","pass":"`+x.p("NATS password")+"\"}\r\nPING\r\n", "PONG\r\n")
	x.say(9092, "\x00\x00\x00\x12\x00\x11\x00\x00\x00\x00\x00\x07\x00\x01c\x00\x05PLAIN", "\x00\x00\x00\x0a\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00", "\x00\x00\x00\x13\x00u\x00"+x.p("Kafka password of the application"), "\x00\x00\x00\x00")
	x.say(1883, "\x10\x20\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01c\x00\x01u\x00\x10"+x.p("MQTT password"), "\x20\x02\x00\x00")
	x.say(22, "SSH-2.0-"+x.p("SSH banner")+"\r\n", "SSH-2.0-OpenSSH_9\r\n")
	x.say(7777, "a text of no known protocol with "+x.p("text")+" in it\r\n", "and an answer with "+x.p("answer")+"\r\n")

	x.put("DNS name", fromDefault)
	for _, version := range []string{"TLS 1.2", "TLS 1.3"} {
		x.put(version+" SNI", fromDefault)
		x.put(version+" ALPN", fromStrict)
		x.secrets = append(x.secrets, planted{place: version + " data", level: never, encrypted: true})
		for _, end := range []string{" server", " client"} {
			for _, field := range certificateFields {
				level := fromDefault
				if field == "extension" || version == "TLS 1.3" {
					level = never
				}
				x.secrets = append(x.secrets, planted{place: version + end + " certificate " + field, level: level, wire: secret(version + end + " certificate " + field), encrypted: version == "TLS 1.3"})
			}
		}
	}
	return x
}

// grpc adds a gRPC request, with literal fields that are not indexed.
func (x *traffic) grpc() {
	field := func(name, value string) string {
		return "\x00" + string(byte(len(name))) + name + string(byte(len(value))) + value
	}
	frame := func(typ, flags, stream byte, body string) string {
		return string([]byte{0, 0, byte(len(body)), typ, flags, 0, 0, 0, stream}) + body
	}
	fields := field(":method", "POST") + field(":scheme", "http") + field(":path", "/shop.Cart/"+x.put("gRPC path", fromNone)) +
		field(":authority", x.p("authority user")+":"+x.p("authority password")+"@grpc.shop") + field("authorization", "Bearer "+x.p("gRPC token"))
	x.say(50051, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+frame(4, 0, 0, "")+frame(1, 4, 1, fields)+frame(0, 1, 1, "\x00\x00\x00\x00\x10"+x.p("gRPC message")), frame(4, 0, 0, "")+frame(4, 1, 0, "")+frame(1, 5, 1, "\x88"))
}

// databases adds logins at PostgreSQL and MySQL.
func (x *traffic) databases() {
	sized := func(tag, body string) string {
		return tag + string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) + body
	}
	x.say(5432, sized("", "\x00\x03\x00\x00user\x00"+x.p("PostgreSQL user")+"\x00database\x00db\x00\x00"), sized("R", "\x00\x00\x00\x03"),
		sized("p", x.p("PostgreSQL password")+"\x00"), sized("R", "\x00\x00\x00\x00")+sized("Z", "I"), sized("Q", "SELECT '"+x.p("SQL")+"'\x00"), sized("C", "SELECT 1\x00"))
	packet := func(n byte, body string) string { return string([]byte{byte(len(body)), 0, 0, n}) + body }
	x.say(3306, "", packet(0, "\x0a8.0\x00\x07\x00\x00\x00abcdefgh\x00\xff\xff\x21\x02\x00\xff\xc7\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00mysql_clear_password\x00"),
		packet(1, "\x85\xa6\x0f\x00\x00\x00\x00\x01\x21"+strings.Repeat("\x00", 23)+x.p("MySQL user")+"\x00\x11"+x.p("MySQL password")+"\x00mysql_clear_password\x00"), packet(2, "\x00\x00\x00\x02\x00\x00\x00"))
}

// certificateFields are the fields of a certificate that have a secret.
var certificateFields = []string{"CN", "O", "serialNumber", "DNS", "URI", "extension"}

// secretCertificate issues a certificate with a secret in each of these fields.
func secretCertificate(of string) (tls.Certificate, error) {
	ca, err := capturetest.NewAuthority()
	if err != nil {
		return tls.Certificate{}, err
	}
	at := func(field string) string { return secret(of + " certificate " + field) }
	return ca.Sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		Subject:  pkix.Name{CommonName: at("CN"), Organization: []string{at("O")}, SerialNumber: at("serialNumber")},
		DNSNames: []string{at("DNS") + ".example"}, URIs: []*url.URL{{Scheme: "spiffe", Host: "td", Path: "/sa/" + at("URI")}},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: []byte(at("extension"))}},
	})
}

// secretTLS returns the settings of an end of the TLS conversations.
func secretTLS(version uint16, end string) (*tls.Config, error) {
	name := tls.VersionName(version)
	cert, err := secretCertificate(name + " " + end)
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, //nolint:gosec // any certificate will do
		ServerName: secret(name+" SNI") + ".shop.example", NextProtos: []string{secret(name + " ALPN")},
	}, err
}

var secretVersions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// secretsServer serves the conversations until its standard input ends. It answers DNS queries with its address.
func secretsServer(address string) error {
	dns, err := net.ListenPacket("udp", address+":53")
	if err != nil {
		return err
	}
	go func() {
		b := make([]byte, 512)
		for {
			_, from, err := dns.ReadFrom(b)
			if err != nil {
				return
			}
			_, response := secretDNS(address)
			_, _ = dns.WriteTo(response, from)
		}
	}()
	listen := func(port int, serve func(net.Conn) error) error {
		l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
		if err == nil {
			go serveEach(l, serve)
		}
		return err
	}
	for _, x := range newTraffic().exchanges {
		err = errors.Join(err, listen(x.port, func(c net.Conn) error { return converse(c, x.messages, 1) }))
	}
	for i, version := range secretVersions {
		cfg, failed := secretTLS(version, "server")
		err = errors.Join(err, failed, listen(9443+i, func(c net.Conn) error {
			s := tls.Server(c, cfg)
			if _, err := io.ReadFull(s, make([]byte, 16)); err != nil {
				return err
			}
			_, err := io.WriteString(s, "ok")
			return errors.Join(err, s.Close())
		}))
	}
	if err != nil {
		return err
	}
	return untilInputEnds()
}

func secretDNS(address string) (query, response []byte) {
	return capturetest.DNS(0x1234, secret("DNS name")+".shop.example", 60, nil, netip.MustParseAddr(address))
}

// converse plays one end of a conversation: 0 the client, 1 the server.
func converse(c net.Conn, messages []string, end int) error {
	for i, m := range messages {
		var err error
		if i%2 == end {
			_, err = io.WriteString(c, m)
		} else {
			_, err = io.ReadFull(c, make([]byte, len(m)))
		}
		if err != nil {
			return fmt.Errorf("%.20q: %w", m, err)
		}
	}
	return nil
}

// secretsClient looks up the server's name and has all conversations with it, one after the other.
func secretsClient(address string) error {
	u, err := net.Dial("udp", address+":53")
	if err != nil {
		return err
	}
	query, _ := secretDNS(address)
	if _, err := u.Write(query); err != nil {
		return err
	}
	if _, err := u.Read(make([]byte, 512)); err != nil {
		return err
	}
	for _, x := range newTraffic().exchanges {
		c, err := net.Dial("tcp", net.JoinHostPort(address, strconv.Itoa(x.port)))
		if err != nil {
			return err
		}
		if err := errors.Join(converse(c, x.messages, 0), c.Close()); err != nil {
			return fmt.Errorf("port %d: %w", x.port, err)
		}
	}
	for i, version := range secretVersions {
		cfg, err := secretTLS(version, "client")
		if err != nil {
			return err
		}
		c, err := tls.Dial("tcp", net.JoinHostPort(address, strconv.Itoa(9443+i)), cfg)
		if err != nil {
			return err
		}
		_, err = io.WriteString(c, secret(tls.VersionName(version)+" data"))
		if err == nil {
			_, err = io.ReadAll(c)
		}
		if err := errors.Join(err, c.Close()); err != nil {
			return err
		}
	}
	return nil
}

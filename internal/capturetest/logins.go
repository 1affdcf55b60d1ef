package capturetest

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
)

// Secret is the password or token in all Logins.
const Secret = "pW7-canary-Qz93"

// Secrets returns parts of Secret that show it in plaintext or in base64, whose alignment can differ.
func Secrets() []string {
	out := []string{Secret[:6]}
	for i := range 3 {
		out = append(out, in64("xx"[:i] + Secret)[4:12])
	}
	return out
}

// Login is a conversation in which a client authenticates in plaintext, or nearly does.
type Login struct {
	Name     string
	Protocol string   // as the recognizers name it
	Kinds    []string // of credentials, sorted; none for a near miss
	Talk     *Conversation
}

// user is the name in all Logins.
const user = "alice"

// said returns a conversation of messages. Those that begin with a mark of the server are the server's.
func said(messages ...string) *Conversation {
	talk := &Conversation{}
	var sent [2]int
	for _, m := range messages {
		data, server := strings.CutPrefix(m, fromServer)
		from := 0
		if server {
			from = 1
		}
		talk.Chunks = append(talk.Chunks, Chunk{FromServer: server, Data: []byte(data), Read: sent[1-from]})
		sent[from] += len(data)
	}
	return talk
}

// fromServer marks a message of the server.
const fromServer = "S: "

func in64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// plain returns a response of the mechanism PLAIN with a password.
func plain(password string) string { return "\x00" + user + "\x00" + password }

// Logins returns conversations of each protocol in which credentials are found, and near misses.
func Logins() []Login {
	return slices.Concat(webLogins(), mailLogins(), databaseLogins(), directoryLogins(), keyValueLogins(), brokerLogins(), terminalLogins(), evasions())
}

func webLogins() []Login {
	const ok, body = fromServer + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET /orders HTTP/1.1\r\nHost: shop\r\n"
	get := func(name string, kinds []string, fields string) Login {
		return Login{name, "http", kinds, said(body+"Accept: */*\r\n"+fields+"\r\n\r\n", ok)}
	}
	return []Login{
		get("Basic", []string{"http_basic"}, "Authorization: Basic "+in64(user+":"+Secret)),
		get("Basic in lower case", []string{"http_basic"}, "authorization: basic  "+in64(user+":"+Secret)),
		get("Basic to a proxy", []string{"http_basic"}, "Proxy-Authorization: Basic "+in64(user+":"+Secret)),
		get("Bearer", []string{"http_bearer"}, "Authorization: Bearer "+Secret+strings.Repeat("x", 900)),
		get("Digest", []string{"http_digest"}, `Authorization: Digest username="alice", realm="shop", nonce="1", uri="/", response="`+Secret+`"`),
		get("a session cookie", []string{"http_cookie"}, "Cookie: lang=en; JSESSIONID="+Secret+"; theme=dark"),
		get("a long cookie first", []string{"http_cookie"}, "Cookie: lang="+strings.Repeat("e", 1500)+"; connect.sid="+Secret),
		get("Basic and a cookie", []string{"http_basic", "http_cookie"}, "Authorization: Basic "+in64(user+":"+Secret)+"\r\nCookie: auth="+Secret),
		get("Basic without a password", nil, "Authorization: Basic "+in64(user+":")),
		get("Basic that is not base64", nil, "Authorization: Basic {{password}}"),
		get("Bearer without a token", nil, "Authorization: Bearer "),
		get("Negotiate", nil, "Authorization: Negotiate YIIabc"),
		get("signature of AWS", nil, "Authorization: AWS4-HMAC-SHA256 Credential=a, Signature=b"),
		get("a cookie of preferences", nil, "Cookie: lang=en; author=bob; sidebar=open; csrf_token=abc; XSRF-TOKEN=abc; session="),
		get("a field of another name", nil, "X-Authorization: Basic "+in64(user+":"+Secret)),
		{"credentials in a body", "http", nil, said("POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 90\r\n\r\nAuthorization: Basic "+in64(user+":"+Secret)+"\r\n", ok)},
		{"credentials in a response", "http", nil, said(body+"\r\n", fromServer+"HTTP/1.1 200 OK\r\nAuthorization: Basic "+in64(user+":"+Secret)+"\r\n\r\n")},
		{"Digest after 401", "http", []string{"http_digest"}, said(body+"\r\n", fromServer+"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"shop\", nonce=\"1\"\r\nContent-Length: 0\r\n\r\n",
			body+"Authorization: Digest username=\"alice\", response=\""+Secret+"\"\r\n\r\n", ok)},
		{"a proxy's tunnel", "http", []string{"http_basic"}, said("CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\nProxy-Authorization: Basic "+in64(user+":"+Secret)+"\r\n\r\n",
			fromServer+"HTTP/1.1 200 OK\r\n\r\n", body+"\r\n", ok)},
		{"Redis in a proxy's tunnel", "redis", []string{"redis_password"}, said("CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n",
			fromServer+"HTTP/1.1 200 OK\r\n\r\n", resp("AUTH", Secret), fromServer+"+OK\r\n")},
	}
}

func mailLogins() []Login {
	const smtp, ehlo = fromServer + "220 mx.example ESMTP\r\n", fromServer + "250-mx.example\r\n250 AUTH PLAIN LOGIN\r\n"
	const imap, pop, ftp = fromServer + "* OK IMAP4rev1 ready\r\n", fromServer + "+OK POP3 ready\r\n", fromServer + "220 FTP server ready\r\n"
	return []Login{
		{"AUTH PLAIN", "smtp", []string{"sasl_plain"}, said(smtp, "EHLO a\r\n", ehlo, "AUTH PLAIN "+in64(plain(Secret))+"\r\n", fromServer+"235 ok\r\n")},
		{"AUTH PLAIN in two steps", "smtp", []string{"sasl_plain"}, said(smtp, "EHLO a\r\n", ehlo, "AUTH PLAIN\r\n", fromServer+"334 \r\n", in64(plain(Secret))+"\r\n", fromServer+"235 ok\r\n")},
		{"AUTH LOGIN", "smtp", []string{"sasl_login"}, said(smtp, "EHLO a\r\n", ehlo, "AUTH LOGIN\r\n", fromServer+"334 VXNlcm5hbWU6\r\n", in64(user)+"\r\n", fromServer+"334 UGFzc3dvcmQ6\r\n", in64(Secret)+"\r\n", fromServer+"235 ok\r\n")},
		{"AUTH LOGIN with a user", "smtp", []string{"sasl_login"}, said(smtp, "EHLO a\r\n", ehlo, "AUTH LOGIN "+in64(user)+"\r\n", fromServer+"334 UGFzc3dvcmQ6\r\n", in64(Secret)+"\r\n", fromServer+"235 ok\r\n")},
		{"AUTH XOAUTH2", "smtp", []string{"sasl_oauthbearer"}, said(smtp, "EHLO a\r\n", ehlo, "AUTH XOAUTH2 "+in64("user=alice\x01auth=Bearer "+Secret+"\x01\x01")+"\r\n", fromServer+"235 ok\r\n")},
		{"LMTP", "lmtp", []string{"sasl_plain"}, said(fromServer+"220 mx.example LMTP\r\n", "LHLO a\r\n", ehlo, "AUTH PLAIN "+in64(plain(Secret))+"\r\n", fromServer+"235 ok\r\n")},
		{"AUTH LOGIN refused", "smtp", nil, said(smtp, "EHLO a\r\n", ehlo, "AUTH LOGIN\r\n", fromServer+"538 use TLS\r\n", "RSET\r\n", fromServer+"250 ok\r\n", "QUIT\r\n")},
		{"AUTH PLAIN canceled", "smtp", nil, said(smtp, "EHLO a\r\n", ehlo, "AUTH PLAIN\r\n", fromServer+"334 \r\n", "*\r\n", fromServer+"501 canceled\r\n")},
		{"AUTH PLAIN without a password", "smtp", nil, said(smtp, "EHLO a\r\n", ehlo, "AUTH PLAIN "+in64(plain(""))+"\r\n", fromServer+"535 no\r\n")},
		{"AUTH SCRAM", "smtp", nil, said(smtp, "EHLO a\r\n", ehlo, "AUTH SCRAM-SHA-256 "+in64("n,,n=alice,r=abc")+"\r\n", fromServer+"334 "+in64("r=abcdef,s=QSXCR,i=4096")+"\r\n", in64("c=biws,r=abcdef,p=abc")+"\r\n", fromServer+"235 ok\r\n")},
		{"a mail about AUTH", "smtp", nil, said(smtp, "EHLO a\r\n", ehlo, "MAIL FROM:<a@b>\r\n", fromServer+"250 ok\r\n", "DATA\r\n", fromServer+"354 go\r\n", "AUTH PLAIN "+in64(plain(Secret))+"\r\n.\r\n", fromServer+"250 ok\r\n")},

		{"LOGIN", "imap", []string{"imap_password"}, said(imap, "a1 CAPABILITY\r\n", fromServer+"* CAPABILITY IMAP4rev1\r\na1 OK\r\n", "a2 LOGIN alice "+Secret+"\r\n", fromServer+"a2 OK\r\n")},
		{"LOGIN with quotes", "imap", []string{"imap_password"}, said(imap, "a2 login \"al\\\"ice\" \""+Secret+"\"\r\n", fromServer+"a2 OK\r\n")},
		{"LOGIN with literals", "imap", []string{"imap_password"}, said(imap, "a2 LOGIN {5}\r\n", fromServer+"+ go\r\n", user+" {15}\r\n", fromServer+"+ go\r\n", Secret+"\r\n", fromServer+"a2 OK\r\n")},
		{"AUTHENTICATE PLAIN", "imap", []string{"sasl_plain"}, said(imap, "a1 AUTHENTICATE PLAIN\r\n", fromServer+"+ \r\n", in64(plain(Secret))+"\r\n", fromServer+"a1 OK\r\n")},
		{"LOGIN without a password", "imap", nil, said(imap, "a2 LOGIN alice \"\"\r\n", fromServer+"a2 NO\r\n")},
		{"AUTHENTICATE GSSAPI", "imap", nil, said(imap, "a1 AUTHENTICATE GSSAPI\r\n", fromServer+"+ \r\n", in64("\x60\x82abc")+"\r\n", fromServer+"a1 OK\r\n")},

		{"PASS", "pop3", []string{"pop3_password"}, said(pop, "USER alice\r\n", fromServer+"+OK\r\n", "PASS "+Secret+"\r\n", fromServer+"+OK\r\n")},
		{"AUTH PLAIN", "pop3", []string{"sasl_plain"}, said(pop, "AUTH PLAIN\r\n", fromServer+"+ \r\n", in64(plain(Secret))+"\r\n", fromServer+"+OK\r\n")},
		{"APOP", "pop3", nil, said(fromServer+"+OK POP3 <1896.697170952@mx.example>\r\n", "APOP alice c4c9334bac560ecc979e58001b3e22fb\r\n", fromServer+"+OK\r\n")},
		{"PASS", "ftp", []string{"ftp_password"}, said(ftp, "USER alice\r\n", fromServer+"331 password\r\n", "PASS "+Secret+"\r\n", fromServer+"230 ok\r\n")},
		{"anonymous", "ftp", nil, said(ftp, "USER anonymous\r\n", fromServer+"331 password\r\n", "PASS "+Secret+"\r\n", fromServer+"230 ok\r\n")},
		{"AUTHINFO PASS", "nntp", []string{"nntp_password"}, said(fromServer+"200 NNTP ready\r\n", "AUTHINFO USER alice\r\n", fromServer+"381 more\r\n", "AUTHINFO PASS "+Secret+"\r\n", fromServer+"281 ok\r\n")},
		{"AUTHENTICATE PLAIN", "sieve", []string{"sasl_plain"}, said(fromServer+"\"IMPLEMENTATION\" \"x\"\r\n\"SASL\" \"PLAIN\"\r\nOK\r\n", "AUTHENTICATE \"PLAIN\" \""+in64(plain(Secret))+"\"\r\n", fromServer+"OK\r\n")},
		{"AUTHENTICATE PLAIN with a literal", "sieve", []string{"sasl_plain"}, said(fromServer+"\"IMPLEMENTATION\" \"x\"\r\nOK\r\n", "AUTHENTICATE \"PLAIN\" {28+}\r\n"+in64(plain(Secret[:14]))+"\r\n", fromServer+"OK\r\n")},
	}
}

// typed returns a message of PostgreSQL.
func typed(typ byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{typ}, uint32(4+len(body)))) + body
}

// packet returns a packet of MySQL.
func packet(number byte, body string) string {
	return string([]byte{byte(len(body)), byte(len(body) >> 8), 0, number}) + body
}

func databaseLogins() []Login {
	startup := typed('x', "\x00\x03\x00\x00user\x00alice\x00database\x00shop\x00\x00")[1:]
	const request, no = "\x00\x00\x00\x08\x04\xd2\x16\x2f", fromServer + "N"
	authOK := fromServer + typed('R', "\x00\x00\x00\x00") + typed('Z', "I")
	greeting := fromServer + packet(0, "\x0a8.0.36\x00\x01\x00\x00\x0012345678\x00\xff\xf7\xff\x02\x00\xff\xdf\x15"+strings.Repeat("\x00", 10)+"123456789012\x00caching_sha2_password\x00")
	login := func(response, plugin string) string {
		return packet(1, "\x8d\xa2\x0b\x00\x00\x00\x00\x40\xff"+strings.Repeat("\x00", 23)+user+"\x00"+string([]byte{byte(len(response))})+response+"shop\x00"+plugin+"\x00")
	}
	hash := strings.Repeat("h", 20)
	return []Login{
		{"a plaintext password", "postgresql", []string{"postgresql_password"}, said(startup, fromServer+typed('R', "\x00\x00\x00\x03"), typed('p', Secret+"\x00"), authOK)},
		{"a plaintext password after SSLRequest", "postgresql", []string{"postgresql_password"}, said(request, no, startup, fromServer+typed('R', "\x00\x00\x00\x03"), typed('p', Secret+"\x00"), authOK)},
		{"MD5", "postgresql", nil, said(request, no, startup, fromServer+typed('R', "\x00\x00\x00\x05salt"), typed('p', "md5"+Secret+"\x00"), authOK)},
		{"SCRAM", "postgresql", nil, said(startup, fromServer+typed('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"), typed('p', "SCRAM-SHA-256\x00\x00\x00\x00\x05n,,n="), fromServer+typed('R', "\x00\x00\x00\x0br=abc"), typed('p', "c=biws,"+Secret), authOK)},
		{"an empty password", "postgresql", nil, said(startup, fromServer+typed('R', "\x00\x00\x00\x03"), typed('p', "\x00"), fromServer+typed('E', "SFATAL\x00\x00"))},
		{"trust", "postgresql", nil, said(startup, authOK, typed('Q', "select 1\x00"))},

		{"mysql_clear_password", "mysql", []string{"mysql_password"}, said(greeting, login(hash, "caching_sha2_password"), fromServer+packet(2, "\xfemysql_clear_password\x00"), packet(3, Secret+"\x00"), fromServer+packet(4, "\x00\x00\x00\x02\x00\x00\x00"))},
		{"mysql_clear_password at once", "mysql", []string{"mysql_password"}, said(greeting, login(Secret+"\x00", "mysql_clear_password"), fromServer+packet(2, "\x00\x00\x00\x02\x00\x00\x00"))},
		{"dialog", "mysql", []string{"mysql_password"}, said(greeting, login(hash, "mysql_native_password"), fromServer+packet(2, "\xfedialog\x00\x04Password: "), packet(3, Secret+"\x00"), fromServer+packet(4, "\x00\x00\x00\x02\x00\x00\x00"))},
		{"a hash", "mysql", nil, said(greeting, login(hash, "caching_sha2_password"), fromServer+packet(2, "\x00\x00\x00\x02\x00\x00\x00"), packet(0, "\x03select 1"))},
		{"a switch to a hash", "mysql", nil, said(greeting, login(hash, "caching_sha2_password"), fromServer+packet(2, "\xfemysql_native_password\x00"+hash+"\x00"), packet(3, hash), fromServer+packet(4, "\x00\x00\x00\x02\x00\x00\x00"))},

		{"PLAIN", "mongodb", []string{"sasl_plain"}, said(mongo(number("hello", 1)), fromServer+mongo(number("ok", 1)), mongo(number("saslStart", 1)+text("mechanism", "PLAIN")+data("payload", plain(Secret))+text("$db", "$external")), fromServer+mongo(number("ok", 1)))},
		{"SCRAM", "mongodb", nil, said(mongo(number("saslStart", 1)+text("mechanism", "SCRAM-SHA-256")+data("payload", "n,,n=alice,r=abc")), fromServer+mongo(number("ok", 1)), mongo(number("saslContinue", 1)+data("payload", plain(Secret))))},
		{"a document with a mechanism", "mongodb", nil, said(mongo(text("insert", "saslStart")+text("mechanism", "PLAIN")+data("payload", plain(Secret))), fromServer+mongo(number("ok", 1)))},
	}
}

// Elements of BSON.
func number(name string, n uint32) string {
	return "\x10" + name + "\x00" + string(binary.LittleEndian.AppendUint32(nil, n))
}

func text(name, s string) string {
	return "\x02" + name + "\x00" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)+1))) + s + "\x00"
}

func data(name, s string) string {
	return "\x05" + name + "\x00" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + "\x00" + s
}

// mongo returns OP_MSG with a document.
func mongo(elements string) string {
	document := string(binary.LittleEndian.AppendUint32(nil, uint32(len(elements)+5))) + elements + "\x00"
	b := binary.LittleEndian.AppendUint32(nil, uint32(16+5+len(document)))
	return string(b) + "\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00" + document
}

// ber returns an element of BER.
func ber(tag byte, contents ...string) string {
	s := strings.Join(contents, "")
	return string([]byte{tag, byte(len(s))}) + s
}

// long returns an element of BER with a size of four bytes.
func long(tag byte, contents ...string) string {
	return string([]byte{tag, 0x84}) + string32(strings.Join(contents, ""))
}

func directoryLogins() []Login {
	const name = "cn=a"
	bind := func(choice string) string {
		return ber(0x30, ber(2, "\x01"), ber(0x60, ber(2, "\x03"), ber(4, name), choice))
	}
	search := ber(0x30, ber(2, "\x01"), ber(0x63, ber(4, "dc=shop"), ber(10, "\x02"), ber(10, "\x00"), ber(2, "\x00"), ber(2, "\x00"), ber(1, "\x00"), ber(0x87, "uid"), ber(0x30)))
	done := fromServer + ber(0x30, ber(2, "\x01"), ber(0x65, ber(10, "\x00"), ber(4), ber(4)))
	bound := fromServer + ber(0x30, ber(2, "\x01"), ber(0x61, ber(10, "\x00"), ber(4), ber(4)))
	return []Login{
		{"a simple bind", "ldap", []string{"ldap_simple_bind"}, said(bind(ber(0x80, Secret)), bound)},
		{"sizes of four bytes", "ldap", []string{"ldap_simple_bind"}, said(long(0x30, ber(2, "\x01"), long(0x60, ber(2, "\x03"), ber(4, name), ber(0x80, Secret))), bound)},
		{"a search before the bind", "ldap", []string{"ldap_simple_bind"}, said(search, done, bind(ber(0x80, Secret)), bound)},
		{"PLAIN", "ldap", []string{"sasl_plain"}, said(bind(ber(0xa3, ber(4, "PLAIN"), ber(4, plain(Secret)))), bound)},
		{"an anonymous bind", "ldap", nil, said(ber(0x30, ber(2, "\x01"), ber(0x60, ber(2, "\x03"), ber(4), ber(0x80))), bound)},
		{"an unauthenticated bind", "ldap", nil, said(bind(ber(0x80)), bound)},
		{"GSS-SPNEGO", "ldap", nil, said(bind(ber(0xa3, ber(4, "GSS-SPNEGO"), ber(4, plain(Secret)))), bound)},
		{"PLAIN", "xmpp", []string{"sasl_plain"}, said("<?xml version='1.0'?><stream:stream to='shop' xmlns='jabber:client'>", fromServer+"<?xml version='1.0'?><stream:stream from='shop'><stream:features/>", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"+in64(plain(Secret))+"</auth>", fromServer+"<success/>")},
		{"SCRAM", "xmpp", nil, said("<?xml version='1.0'?><stream:stream to='shop' xmlns='jabber:client'>", fromServer+"<?xml version='1.0'?><stream:stream from='shop'><stream:features/>", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>"+in64(plain(Secret))+"</auth>", fromServer+"<success/>")},
	}
}

// resp returns a command of Redis.
func resp(args ...string) string {
	var b strings.Builder
	b.WriteString("*" + decimal(len(args)) + "\r\n")
	for _, a := range args {
		b.WriteString("$" + decimal(len(a)) + "\r\n" + a + "\r\n")
	}
	return b.String()
}

func keyValueLogins() []Login {
	const ok = fromServer + "+OK\r\n"
	binaryAuth := func(mechanism, response string) string {
		return "\x80\x21\x00" + string([]byte{byte(len(mechanism))}) + "\x00\x00\x00\x00\x00\x00\x00" + string([]byte{byte(len(mechanism) + len(response))}) + strings.Repeat("\x00", 12) + mechanism + response
	}
	const binaryOK = fromServer + "\x81\x21\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0d" + zeros8 + "\x00\x00\x00\x00Authenticated"
	return []Login{
		{"AUTH", "redis", []string{"redis_password"}, said(resp("AUTH", Secret), ok)},
		{"AUTH with a user", "redis", []string{"redis_password"}, said(resp("CLIENT", "SETNAME", "a"), ok, resp("auth", user, Secret), ok)},
		{"HELLO", "redis", []string{"redis_password"}, said(resp("HELLO", "3", "AUTH", user, Secret, "SETNAME", "a"), fromServer+"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n")},
		{"AUTH in a line", "redis", []string{"redis_password"}, said("PING\r\n", fromServer+"+PONG\r\n", "AUTH "+Secret+"\r\n", ok)},
		{"AUTH without a password", "redis", nil, said(resp("AUTH", ""), fromServer+"-ERR\r\n")},
		{"HELLO without AUTH", "redis", nil, said(resp("HELLO", "3", "SETNAME", "AUTH"), fromServer+"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n")},
		{"a value AUTH", "redis", nil, said(resp("SET", "AUTH", Secret), ok, resp("AUTH", Secret), ok)},
		{"SASL PLAIN", "memcached", []string{"sasl_plain"}, said(binaryAuth("PLAIN", plain(Secret)), binaryOK)},
		{"SASL SCRAM", "memcached", nil, said(binaryAuth("SCRAM-SHA1", plain(Secret)), binaryOK)},
		{"text", "memcached", []string{"memcached_password"}, said("get a\r\n", fromServer+"CLIENT_ERROR unauthenticated\r\n", "set auth 0 0 21\r\nalice "+Secret+"\r\n", fromServer+"STORED\r\n")},
		{"text without a demand", "memcached", nil, said("get a\r\n", fromServer+"END\r\n", "set auth 0 0 21\r\nalice "+Secret+"\r\n", fromServer+"STORED\r\n")},
	}
}

func decimal(n int) string {
	if n < 10 {
		return string([]byte{'0' + byte(n)})
	}
	return decimal(n/10) + decimal(n%10)
}

// string16 and string32 return a string with its size.
func string16(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

func string32(s string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func brokerLogins() []Login {
	connect := func(version byte, flags byte, payload string) string {
		body := string16("MQTT") + string([]byte{version, flags}) + "\x00\x3c" + payload
		return "\x10" + string([]byte{byte(len(body))}) + body
	}
	const accepted, info = fromServer + "\x20\x02\x00\x00", fromServer + "INFO {\"server_id\":\"a\",\"auth_required\":true}\r\n"
	kafka := func(api, version uint16, body string) string {
		head := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, api), version)
		return string32(string(head) + "\x00\x00\x00\x07" + string16("consumer-1") + body)
	}
	reply := fromServer + string32("\x00\x00\x00\x07\x00\x00\x00\x00\x00\x01\x00\x05PLAIN")
	const amqp, amqpSASL = "AMQP\x00\x00\x09\x01", "AMQP\x03\x01\x00\x00"
	frame := func(payload string) string { return "\x01\x00\x00" + string32(payload) + "\xce" }
	start := fromServer + frame("\x00\x0a\x00\x0a\x00\x09"+string32("")+string32("PLAIN AMQPLAIN")+string32("en_US"))
	startOK := func(mechanism, response string) string {
		return frame("\x00\x0a\x00\x0b" + string32("\x07productS"+string32("client")) + string([]byte{byte(len(mechanism))}) + mechanism + string32(response) + "\x05en_US")
	}
	initFrame := func(mechanism, response string) string {
		fields := "\xa3" + string([]byte{byte(len(mechanism))}) + mechanism + "\xa0" + string([]byte{byte(len(response))}) + response
		body := "\x02\x01\x00\x00\x00\x53\x41\xc0" + string([]byte{byte(len(fields) + 1), 2}) + fields
		return string(binary.BigEndian.AppendUint32(nil, uint32(4+len(body)))) + body
	}
	return []Login{
		{"CONNECT", "mqtt", []string{"mqtt_password"}, said(connect(4, 0xc2, string16("id")+string16(user)+string16(Secret)), accepted)},
		{"CONNECT with a will", "mqtt", []string{"mqtt_password"}, said(connect(5, 0xc6, "\x03\x21\x00\x0a"+string16("id")+"\x00"+string16("topic")+string16("gone")+string16(user)+string16(Secret)), accepted)},
		{"CONNECT without a password", "mqtt", nil, said(connect(4, 0x82, string16("id")+string16(user)), accepted)},
		{"CONNECT with an empty password", "mqtt", nil, said(connect(4, 0xc2, string16("id")+string16(user)+string16("")), accepted)},
		{"a password", "nats", []string{"nats_password"}, said(info, "CONNECT {\"verbose\":false,\"user\":\"alice\",\"pass\":\""+Secret+"\"}\r\n", fromServer+"+OK\r\n")},
		{"a token", "nats", []string{"nats_token"}, said(info, "CONNECT {\"auth_token\": \""+Secret+"\",\"lang\":\"go\"}\r\nPING\r\n", fromServer+"PONG\r\n")},
		{"a signature", "nats", nil, said(info, "CONNECT {\"nkey\":\"U\",\"sig\":\"abc\",\"pass\":\"\",\"name\":\"pass\",\"x\":{\"pass\":\"y\"}}\r\n", fromServer+"+OK\r\n")},
		{"SASL PLAIN", "kafka", []string{"sasl_plain"}, said(kafka(18, 2, ""), reply, kafka(17, 1, string16("PLAIN")), reply, kafka(36, 1, string32(plain(Secret))), reply)},
		{"SASL PLAIN, flexible", "kafka", []string{"sasl_plain"}, said(kafka(17, 1, string16("PLAIN")), reply, kafka(36, 2, "\x00"+string([]byte{byte(len(plain(Secret)) + 1)})+plain(Secret)+"\x00"), reply)},
		{"SASL PLAIN without a header", "kafka", []string{"sasl_plain"}, said(kafka(17, 0, string16("PLAIN")), reply, string32(plain(Secret)), fromServer+"\x00\x00\x00\x00")},
		{"SASL SCRAM", "kafka", nil, said(kafka(17, 1, string16("SCRAM-SHA-512")), reply, kafka(36, 1, string32(plain(Secret))), reply)},
		{"a message about PLAIN", "kafka", nil, said(kafka(0, 7, "\xff\xff\x00\x01"+string16("PLAIN")+string32(plain(Secret))), reply)},
		{"PLAIN", "amqp", []string{"sasl_plain"}, said(amqp, start, startOK("PLAIN", plain(Secret)), fromServer+frame("\x00\x0a\x00\x1e\x00\x00\x00\x02\x00\x00\x00\x3c"))},
		{"AMQPLAIN", "amqp", []string{"sasl_amqplain"}, said(amqp, start, startOK("AMQPLAIN", "\x05LOGINS"+string32(user)+"\x08PASSWORDS"+string32(Secret)), fromServer+frame("\x00\x0a\x00\x1e\x00\x00\x00\x02\x00\x00\x00\x3c"))},
		{"EXTERNAL", "amqp", nil, said(amqp, start, startOK("EXTERNAL", ""), fromServer+frame("\x00\x0a\x00\x1e\x00\x00\x00\x02\x00\x00\x00\x3c"))},
		{"PLAIN of 1.0", "amqp", []string{"sasl_plain"}, said(amqpSASL, fromServer+amqpSASL, initFrame("PLAIN", plain(Secret)), fromServer+"\x00\x00\x00\x10\x02\x01\x00\x00\x00\x53\x44\xc0\x03\x01\x50\x00")},
		{"ANONYMOUS of 1.0", "amqp", nil, said(amqpSASL, fromServer+amqpSASL, initFrame("ANONYMOUS", plain(Secret)), fromServer+"\x00\x00\x00\x10\x02\x01\x00\x00\x00\x53\x44\xc0\x03\x01\x50\x00")},
	}
}

func terminalLogins() []Login {
	const offer, accept, login = fromServer + "\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23\xff\xfd\x27", "\xff\xfb\x18\xff\xfb\x20\xff\xfb\x23", fromServer + "\r\nhost login: "
	return []Login{
		{"a password", "telnet", []string{"telnet_password"}, said(offer, accept, login, "a", fromServer+"a", "lice\r\x00", fromServer+"\r\nPassword: ", Secret+"\r\x00", fromServer+"\r\nWelcome\r\n")},
		{"an empty password", "telnet", nil, said(offer, accept, login, "alice\r\n", fromServer+"\r\nPassword: ", "\r\x00", fromServer+"\r\nLogin incorrect\r\n")},
		{"no prompt", "telnet", nil, said(offer, accept, login, "alice\r\n", fromServer+"\r\n$ ", "passwd "+Secret+"\r\n")},
		{"a password not asked for", "telnet", nil, said(offer, accept, fromServer+"Your password: is old\r\nhost login: ", "alice\r\n", fromServer+"\r\n$ ")},
	}
}

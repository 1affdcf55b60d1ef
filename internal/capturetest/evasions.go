package capturetest

import "strings"

// evasions returns logins in forms that servers accept and that few clients send, so that a client that wants to hide its credentials could
// choose them.
func evasions() []Login {
	const ok = fromServer + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	basic := "Basic " + in64(user+":"+Secret)
	field := "Host: shop\r\nAuthorization: " + basic + "\r\n\r\n"
	web := func(name, request string) Login {
		return Login{name, "http", []string{"http_basic"}, said(request, ok)}
	}
	const noauth, fine = fromServer + "-NOAUTH Authentication required.\r\n", fromServer + "+OK\r\n"
	redis := func(name string, messages ...string) Login {
		return Login{name, "redis", []string{"redis_password"}, said(messages...)}
	}
	const smtp, ehlo, pop = fromServer + "220 mx.example ESMTP\r\n", fromServer + "250-mx.example\r\n250 AUTH PLAIN LOGIN\r\n", fromServer + "+OK POP3 ready\r\n"
	return []Login{
		web("an empty line first", "\r\nGET / HTTP/1.1\r\n"+field),
		web("many empty lines first", strings.Repeat("\r\n\n", 200)+"GET / HTTP/1.1\r\n"+field),
		web("whitespace first", " \tGET / HTTP/1.1\r\n"+field),
		web("a request line with tabs", "GET\t/\t \tHTTP/1.1\r\n"+field),
		web("a method in lower case", "get / HTTP/1.0\r\n"+field),
		web("a method of any token", "x.$1 /orders HTTP/1.1\r\n"+field),
		web("lines without CR", strings.ReplaceAll("GET / HTTP/1.1\r\n"+field, "\r", "")),
		web("a target that is not ASCII", "GET /\xff\xfe"+strings.Repeat("a", 60)+" HTTP/1.1\r\n"+field),
		web("a long absolute target", "GET http://shop/"+strings.Repeat("a", 6000)+" HTTP/1.1\r\n"+field),
		web("a folded value", "GET / HTTP/1.1\r\nAuthorization:\r\n "+basic+"\r\n\r\n"),
		web("a folded scheme", "GET / HTTP/1.1\r\nAuthorization: Basic\r\n\t"+basic[6:]+"\r\nHost: shop\r\n\r\n"),
		web("a field folded twice", "GET / HTTP/1.1\r\nAuthorization: Basic\r\n \r\n \t"+basic[6:]+"\r\n\r\n"),
		web("no space after the colon", "GET / HTTP/1.1\r\naUTHORIZATION:"+basic+"\r\n\r\n"),
		web("a space before the colon", "GET / HTTP/1.1\r\nAuthorization : "+basic+"\r\n\r\n"),
		{"a fold of another field", "http", nil, said("GET / HTTP/1.1\r\nX-Note:\r\n Authorization: "+basic+"\r\n\r\n", ok)},
		{"an empty line before the repetition", "http", []string{"http_basic"}, said("GET / HTTP/1.1\r\nHost: shop\r\n\r\n", fromServer+"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "\r\nGET / HTTP/1.1\r\n"+field, ok)},

		redis("AUTH in the first line", "AUTH "+Secret+"\r\n", fine, "GET foo\r\n", fromServer+"$3\r\nbar\r\n"),
		redis("auth in lower case with a user", "auth alice "+Secret+"\n", fine),
		redis("AUTH with tabs and quotes", "\t\"AUTH\"\t'"+Secret+"'\r\n", fine),
		redis("HELLO in a line", "hello 3 auth alice "+Secret+"\r\n", fromServer+"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
		redis("empty commands first", "*0\r\n\r\n*0\r\n"+resp("AUTH", Secret), fine),
		redis("AUTH after a refusal", resp("GET", "a"), noauth, resp("AUTH", Secret), fine),
		redis("AUTH after a refusal in a line", "PING\r\n", noauth, "GET a\r\n", noauth, "AUTH "+Secret+"\r\n", fine),
		{"AUTH after a greeting without a name", "pop3", []string{"sasl_plain"}, said(fromServer+"+OK ready\r\n", "AUTH PLAIN "+in64(plain(Secret))+"\r\n", fine)},

		{"AUTH after a refused mail", "smtp", []string{"sasl_plain"}, said(smtp, "EHLO a\r\n", ehlo, "MAIL FROM:<a@b>\r\n", fromServer+"530 authenticate\r\n", "BDAT 6 LAST\r\nhello\n", fromServer+"503 no\r\n", "AUTH PLAIN "+in64(plain(Secret))+"\r\n", fromServer+"235 ok\r\n")},
		{"a command before EHLO", "smtp", []string{"sasl_plain"}, said(smtp, "NOOP\r\n", fromServer+"250 ok\r\n", "EHLO a\r\n", ehlo, "AUTH PLAIN "+in64(plain(Secret))+"\r\n", fromServer+"235 ok\r\n")},
		{"LOGIN after a refusal", "imap", []string{"imap_password"}, said(fromServer+"* OK IMAP4rev1 ready\r\n", "a SELECT x\r\n", fromServer+"a BAD no\r\n", "b login alice "+Secret+"\r\n", fromServer+"b OK\r\n")},
		{"LOGIN with literals at once", "imap", []string{"imap_password"}, said(fromServer+"* OK IMAP4rev1 ready\r\n", "b LOGIN {5+}\r\nalice {14+}\r\n"+Secret+"\r\n", fromServer+"b OK\r\n")},
		{"PASS after a refusal", "pop3", []string{"pop3_password"}, said(pop, "STAT\r\n", fromServer+"-ERR no\r\n", "user alice\r\n", fine, "pass "+Secret+"\r\n", fine)},
		{"a command before USER", "ftp", []string{"ftp_password"}, said(fromServer+"220 FTP server ready\r\n", "NOOP\r\n", fromServer+"530 no\r\n", "user alice\r\n", fromServer+"331 password\r\n", "pass "+Secret+"\r\n", fromServer+"230 ok\r\n")},
		{"another user after anonymous", "ftp", []string{"ftp_password"}, said(fromServer+"220 FTP server ready\r\n", "USER ftp\r\n", fromServer+"331 password\r\n", "PASS a@b\r\n", fromServer+"230 ok\r\n", "USER alice\r\n", fromServer+"331 password\r\n", "PASS "+Secret+"\r\n", fromServer+"230 ok\r\n")},
		{"AUTHINFO after POST was refused", "nntp", []string{"nntp_password"}, said(fromServer+"200 NNTP ready\r\n", "POST\r\n", fromServer+"480 authenticate\r\n", "authinfo user alice\r\n", fromServer+"381 more\r\n", "authinfo pass "+Secret+"\r\n", fromServer+"281 ok\r\n")},
		{"connect in lower case", "nats", []string{"nats_password"}, said(fromServer+"INFO {\"server_id\":\"a\",\"auth_required\":true}\r\n", "connect  {\"user\":\"alice\",\"pass\":\""+Secret+"\"}\r\n", fine)},
		{"no options of the client", "telnet", []string{"telnet_password"}, said(fromServer+"\xff\xfd\x18\xff\xfb\x01login: ", "al", "ice\r\x00", fromServer+"\r\nPassword: ", Secret+"\r\x00", fromServer+"\r\n$ ")},
		{"a bind with controls", "ldap", []string{"ldap_simple_bind"}, said(ber(0x30, ber(2, "\x01"), ber(0x60, ber(2, "\x03"), ber(4, "cn=a"), ber(0x80, Secret)), ber(0xa0, ber(0x30, ber(4, "1.2.3")))), fromServer+ber(0x30, ber(2, "\x01"), ber(0x61, ber(10, "\x00"), ber(4), ber(4))))},
	}
}

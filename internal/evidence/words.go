package evidence

import "strings"

// longestWord is the length of the longest word in words.
const longestWord = 12

// words are the words of protocols that are kept in plaintext: commands, versions, names of fields that show which protocol is spoken. None of them
// is a value.
var words = func() map[string]bool {
	list := strings.Fields(`
		GET POST PUT DELETE HEAD OPTIONS PATCH CONNECT TRACE PRI PROPFIND REPORT HTTP RTSP SIP INVITE REGISTER
		EHLO HELO LHLO MAIL FROM RCPT TO DATA QUIT RSET NOOP STARTTLS STLS TLS SSL AUTH LOGIN PLAIN SMTP ESMTP LMTP IMAP IMAP4rev1 POP3 FTP NNTP
		OK PREAUTH BYE NO BAD CAPABILITY AUTHENTICATE SELECT LIST STAT RETR USER PASS APOP CAPA FEAT SYST PASV PORT TYPE CWD PWD RETR STOR
		MODE READER GROUP ARTICLE AUTHINFO IMPLEMENTATION SASL SIEVE ACAP LOGOUT
		stream xml version jabber client server iq presence message success proceed features
		NICK JOIN PRIVMSG NOTICE CAP LS PING PONG INFO SUB PUB MSG ERR UNSUB
		AMQP MQTT MQIsdp STOMP CONNECTED SEND SUBSCRIBE destination accept heart beat
		SSH RFB RSYNCD FIX GIOP JRMI JDWP Handshake ZBXD NBDMAGIC IHAVEOPT NBDMAGICIHAVEOPT MSH
		RCmb NULL saslStart saslContinue mechanism payload find insert ping
		hello isMaster ismaster admin db CQL CQLVERSION COMPRESSION ActiveMQ ClickHouse SMB
		HELLO SET GETS STORED END VALUE STATS
		mysql native password caching sha2 postgres database PROXY TCP4 TCP6 UNKNOWN
		BEGIN COMMIT ROLLBACK INSERT UPDATE WHERE`)
	all := make(map[string]bool, len(list))
	for _, w := range list {
		all[strings.ToUpper(w)] = true
	}
	return all
}()

// isWord reports whether b is one of words, in any case.
func isWord(b []byte) bool { return len(b) <= longestWord && words[strings.ToUpper(string(b))] }

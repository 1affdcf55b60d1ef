package credentials

// MaxUnit bounds a message or line that a Reader must see in one piece, in bytes. A larger one that may contain credentials ends the
// Reader.
const MaxUnit = 2 << 10

// Side is an end of the connection.
type Side uint8

// The ends of a connection.
const (
	Client Side = iota
	Server
)

// Reader reads the authentication at the start of a connection in one protocol, other than HTTP. It stores no bytes of a message.
type Reader struct {
	protocol *protocol
	kinds    Kinds
	over     bool
	failed   bool
	skip     [2]int // bytes of a message that are still to come and do not matter, by side

	started   bool      // the client's first message was read, or in protocols of lines a command that needs an authentication
	asked     bool      // the server asks for a secret or for the next response
	anonymous bool      // FTP: the user is anonymous
	mechanism mechanism // SASL
	step      uint8     // responses in the mechanism
	choices   uint8     // PostgreSQL: answers of one byte that the server owes
	raw       bool      // Kafka: the next message is a response of SASL without a header
	terminal  terminal  // Telnet
}

// protocol has the functions that read the messages of a protocol. Each function gets the bytes from the start of a message. It returns
// the size of the message, which may be more than len(b), or 0 if it needs more bytes. A nil function ignores its end.
type protocol struct {
	client, server func(r *Reader, b []byte) int
}

// protocols holds the protocols by the names that package protocols uses.
var protocols = map[string]*protocol{
	"amqp":       {client: amqpClient},
	"ftp":        {client: ftpClient, server: ftpServer},
	"imap":       {client: imapClient, server: imapServer},
	"kafka":      {client: kafkaClient},
	"ldap":       {client: ldapClient},
	"lmtp":       {client: smtpClient, server: smtpServer},
	"memcached":  {client: memcachedClient, server: memcachedServer},
	"mongodb":    {client: mongoClient},
	"mqtt":       {client: mqttClient},
	"mysql":      {client: mysqlClient, server: mysqlServer},
	"nats":       {client: natsClient},
	"nntp":       {client: nntpClient, server: nntpServer},
	"pop3":       {client: pop3Client, server: pop3Server},
	"postgresql": {client: postgresClient, server: postgresServer},
	"redis":      {client: redisClient, server: redisServer},
	"sieve":      {client: sieveClient, server: sieveServer},
	"smtp":       {client: smtpClient, server: smtpServer},
	"telnet":     {client: telnetClient, server: telnetServer},
	"xmpp":       {client: xmppClient},
}

// Reads reports whether a Reader exists for a protocol. Credentials in other protocols are not found, apart from those of HTTP.
func Reads(protocol string) bool { return protocols[protocol] != nil }

// Start prepares r for a new connection in a protocol. It reports whether Reads does.
func (r *Reader) Start(protocol string) bool {
	*r = Reader{protocol: protocols[protocol]}
	r.over = r.protocol == nil
	return !r.over
}

// Read reads the next bytes of an end. It returns how many bytes were read. The caller must pass the other bytes again, followed by later
// ones. They are fewer than MaxUnit.
func (r *Reader) Read(side Side, b []byte) (n int) {
	f := r.protocol.client
	if side == Server {
		f = r.protocol.server
	}
	for n < len(b) && !r.over && f != nil {
		if skip := min(r.skip[side], len(b)-n); skip > 0 {
			r.skip[side] -= skip
			n += skip
			continue
		}
		unit := b[n:min(len(b), n+MaxUnit)]
		size := f(r, unit)
		switch {
		case size > 0:
			r.skip[side] = max(0, size-len(unit))
			n += min(size, len(unit))
		case r.over:
		case len(unit) < MaxUnit:
			return n
		default:
			r.fail()
		}
	}
	return len(b)
}

// Kinds returns the kinds that were found so far.
func (r *Reader) Kinds() Kinds { return r.kinds }

// Over reports whether further bytes are not needed: the authentication is complete, or cannot be read.
func (r *Reader) Over() bool { return r.over }

// Failed reports whether the authentication could not be read: the absence of a kind then proves nothing.
func (r *Reader) Failed() bool { return r.failed }

// end ends the reading: no credentials follow.
func (r *Reader) end() { r.over = true }

// fail ends the reading because the bytes are not understood.
func (r *Reader) fail() { r.over, r.failed = true, true }

// add adds a kind if the secret is not empty.
func (r *Reader) add(k Kinds, present bool) {
	if present {
		r.kinds |= k
	}
}

/* A peer program of the lab (see gopeer.go) that uses Mbed TLS 3 in its default configuration:
 * it pads the records of TLS 1.3 to multiples of 16 bytes.
 * Options: hrr-server, hrr-client (together a HelloRetryRequest), both (a client that also
 * offers TLS 1.2, as by default). */
#include <ssl_misc.h> /* the library's own: whether a handshake resumes */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl_ticket.h>
#include <psa/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char name[] = "httpbin.lab.test";
static const char request[] = "GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\nConnection: close\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nlab-pong";

static int has(const char *options, const char *word)
{
	const char *at = strstr(options, word);
	return at && (at[strlen(word)] == ',' || !at[strlen(word)]);
}

static void must(int ret, const char *what)
{
	char text[200];
	if (ret == 0)
		return;
	mbedtls_strerror(ret, text, sizeof text);
	fprintf(stderr, "peer: %s: %s\n", what, text);
	exit(1);
}

static void reason(int ret, char *text, size_t size)
{
	if (ret == MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE)
		snprintf(text, size, "no client certificate");
	else
		mbedtls_strerror(ret, text, size);
}

/* handshake returns 0 or an error, and reports whether a session was resumed. */
static int handshake(mbedtls_ssl_context *s, int *resumed)
{
	int ret = 0;
	*resumed = 0;
	while (ret == 0 && !mbedtls_ssl_is_handshake_over(s)) {
		int old = s->tls_version == MBEDTLS_SSL_VERSION_TLS1_2;
		if (s->handshake && (old ? s->handshake->resume : mbedtls_ssl_tls13_key_exchange_mode_with_psk(s)))
			*resumed = 1;
		ret = mbedtls_ssl_handshake_step(s);
	}
	return ret;
}

/* receive reads data from the peer and skips session tickets. */
static int receive(mbedtls_ssl_context *s, unsigned char *b, size_t size, mbedtls_ssl_session *session, int *kept)
{
	for (;;) {
		int ret = mbedtls_ssl_read(s, b, size);
		if (ret == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET && session)
			*kept = mbedtls_ssl_get_session(s, session) == 0;
		else if (ret != MBEDTLS_ERR_SSL_WANT_READ) /* it comes before each ticket */
			return ret;
	}
}

static void serve(mbedtls_ssl_context *s)
{
	unsigned char b[4096];
	char text[200];
	int resumed, certs = 0, ret = handshake(s, &resumed);
	if (ret == 0 && mbedtls_ssl_get_peer_cert(s) && mbedtls_ssl_get_verify_result(s))
		ret = MBEDTLS_ERR_X509_CERT_VERIFY_FAILED;
	if (ret == 0 && (ret = receive(s, b, sizeof b, NULL, NULL)) > 0)
		ret = 0;
	else if (ret == 0)
		ret = MBEDTLS_ERR_SSL_CONN_EOF;
	if (ret) {
		reason(ret, text, sizeof text);
		printf("truth certs=-1 resumed=%d early=0 error=%s\n", resumed, text);
		fflush(stdout);
		return;
	}
	for (const mbedtls_x509_crt *c = mbedtls_ssl_get_peer_cert(s); c; c = c->next)
		certs++;
	printf("truth certs=%d resumed=%d early=0 error=\n", certs, resumed);
	fflush(stdout);
	mbedtls_ssl_write(s, (const unsigned char *)answer, sizeof answer - 1);
	mbedtls_ssl_close_notify(s);
}

static void call(mbedtls_ssl_context *s, mbedtls_ssl_session *session, int *kept)
{
	unsigned char b[4096];
	char text[200];
	int resumed, ret;
	must(mbedtls_ssl_set_hostname(s, name), "name");
	if (*kept)
		must(mbedtls_ssl_set_session(s, session), "session");
	if ((ret = handshake(s, &resumed)) != 0) {
		reason(ret, text, sizeof text);
		printf("client %s\n", text);
		return;
	}
	if (s->tls_version == MBEDTLS_SSL_VERSION_TLS1_2 && mbedtls_ssl_get_session(s, session) == 0)
		*kept = 1;
	mbedtls_ssl_write(s, (const unsigned char *)request, sizeof request - 1);
	ret = receive(s, b, sizeof b, session, kept);
	if (ret < 0)
		reason(ret, text, sizeof text);
	printf("client read %d resumed %d %s\n", ret, resumed, ret < 0 ? text : "");
	mbedtls_ssl_close_notify(s);
}

int main(int argc, char **a)
{
	static const uint16_t first[] = { MBEDTLS_SSL_IANA_TLS_GROUP_X25519, MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, 0 };
	static const uint16_t other[] = { MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, 0 };
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	mbedtls_ssl_config c;
	mbedtls_ssl_ticket_context tickets;
	mbedtls_x509_crt ca, cert;
	mbedtls_pk_context key;
	mbedtls_ssl_session session;
	mbedtls_net_context l, fd;
	int kept = 0;
	if (argc == 2 && !strcmp(a[1], "version"))
		return printf("%s\n", MBEDTLS_VERSION_STRING) < 0;
	if (argc != 10)
		return 2;
	int server = !strcmp(a[1], "server"), n = atoi(a[8]);
	char *port = strchr(a[2], ':');
	*port++ = 0;
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	must(psa_crypto_init(), "psa");
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random);
	mbedtls_ssl_config_init(&c);
	mbedtls_ssl_ticket_init(&tickets);
	mbedtls_x509_crt_init(&ca);
	mbedtls_x509_crt_init(&cert);
	mbedtls_pk_init(&key);
	mbedtls_ssl_session_init(&session);
	mbedtls_net_init(&l);
	must(mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0), "seed");
	must(mbedtls_ssl_config_defaults(&c, server, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT), "config");
	mbedtls_ssl_conf_rng(&c, mbedtls_ctr_drbg_random, &random);
	mbedtls_ssl_protocol_version version = strcmp(a[7], "1.2") ? MBEDTLS_SSL_VERSION_TLS1_3 : MBEDTLS_SSL_VERSION_TLS1_2;
	mbedtls_ssl_conf_min_tls_version(&c, has(a[9], "both") ? MBEDTLS_SSL_VERSION_TLS1_2 : version);
	mbedtls_ssl_conf_max_tls_version(&c, version);
	must(mbedtls_x509_crt_parse_file(&ca, a[5]), "ca");
	mbedtls_ssl_conf_ca_chain(&c, &ca, NULL);
	if (strcmp(a[3], "-")) {
		must(mbedtls_x509_crt_parse_file(&cert, a[3]), "certificate");
		must(mbedtls_pk_parse_keyfile(&key, a[4], NULL, mbedtls_ctr_drbg_random, &random), "key");
		must(mbedtls_ssl_conf_own_cert(&c, &cert, &key), "certificate");
	}
	int mode = !server || !strcmp(a[6], "required") ? MBEDTLS_SSL_VERIFY_REQUIRED : !strcmp(a[6], "optional") ? MBEDTLS_SSL_VERIFY_OPTIONAL : MBEDTLS_SSL_VERIFY_NONE;
	mbedtls_ssl_conf_authmode(&c, mode);
	if (has(a[9], "hrr-server"))
		mbedtls_ssl_conf_groups(&c, other);
	if (has(a[9], "hrr-client"))
		mbedtls_ssl_conf_groups(&c, first);
	if (server) {
		must(mbedtls_ssl_ticket_setup(&tickets, mbedtls_ctr_drbg_random, &random, MBEDTLS_CIPHER_AES_256_GCM, 7200), "tickets");
		mbedtls_ssl_conf_session_tickets_cb(&c, mbedtls_ssl_ticket_write, mbedtls_ssl_ticket_parse, &tickets);
		must(mbedtls_net_bind(&l, a[2], port, MBEDTLS_NET_PROTO_TCP), "listen");
	} else {
		mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(&c, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
	}
	while (n-- > 0) {
		mbedtls_ssl_context s;
		mbedtls_ssl_init(&s);
		mbedtls_net_init(&fd);
		must(server ? mbedtls_net_accept(&l, &fd, NULL, 0, NULL) : mbedtls_net_connect(&fd, a[2], port, MBEDTLS_NET_PROTO_TCP), "connect");
		must(mbedtls_ssl_setup(&s, &c), "setup");
		mbedtls_ssl_set_bio(&s, &fd, mbedtls_net_send, mbedtls_net_recv, NULL);
		if (server)
			serve(&s);
		else
			call(&s, &session, &kept);
		mbedtls_ssl_free(&s);
		mbedtls_net_free(&fd);
	}
	return 0;
}

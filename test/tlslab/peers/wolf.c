/* A peer program of the lab (see gopeer.go) that uses wolfSSL.
 * Options: TLS13-... or another suite by wolfSSL's name, pha, noticket, hrr-server. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char request[] = "GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\nConnection: close\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nlab-pong";

static int has(const char *options, const char *word)
{
	const char *at = strstr(options, word);
	return at && (at[strlen(word)] == ',' || !at[strlen(word)]);
}

static void why(WOLFSSL *s, int ret)
{
	char text[WOLFSSL_MAX_ERROR_SZ];
	printf("truth certs=-1 resumed=0 early=0 error=%s\n", wolfSSL_ERR_error_string((unsigned long)wolfSSL_get_error(s, ret), text));
	fflush(stdout);
}

static void serve(WOLFSSL *s, int pha)
{
	char b[4096];
	int ret, resumed, certs;
	if ((ret = wolfSSL_accept(s)) != WOLFSSL_SUCCESS || (ret = wolfSSL_read(s, b, sizeof b)) <= 0) {
		why(s, ret);
		return;
	}
	resumed = wolfSSL_session_reused(s);
	if (pha) {
		wolfSSL_request_certificate(s);
		wolfSSL_write(s, "more", 4);
		if ((ret = wolfSSL_read(s, b, sizeof b)) <= 0) {
			why(s, ret);
			return;
		}
	}
	WOLFSSL_X509 *peer = wolfSSL_get_peer_certificate(s);
	WOLFSSL_X509_CHAIN *chain = wolfSSL_get_peer_chain(s);
	certs = chain ? wolfSSL_get_chain_count(chain) : 0;
	if (peer && certs == 0)
		certs = 1;
	printf("truth certs=%d resumed=%d early=0 error=\n", certs, resumed);
	fflush(stdout);
	wolfSSL_write(s, answer, sizeof answer - 1);
	wolfSSL_shutdown(s);
}

static void call(WOLFSSL *s, WOLFSSL_SESSION **session, int pha)
{
	char b[4096];
	int ret;
	if (*session)
		wolfSSL_set_session(s, *session);
	if ((ret = wolfSSL_connect(s)) != WOLFSSL_SUCCESS) {
		why(s, ret);
		return;
	}
	wolfSSL_write(s, request, sizeof request - 1);
	ret = wolfSSL_read(s, b, sizeof b);
	if (pha && ret > 0) {
		wolfSSL_write(s, request, sizeof request - 1);
		ret = wolfSSL_read(s, b, sizeof b);
	}
	printf("client read %d\n", ret);
	*session = wolfSSL_get1_session(s);
	wolfSSL_shutdown(s);
}

int main(int argc, char **a)
{
	if (argc != 10)
		return 2;
	int server = !strcmp(a[1], "server"), n = atoi(a[8]), pha = has(a[9], "pha");
	struct sockaddr_in addr = { .sin_family = AF_INET };
	char *colon = strchr(a[2], ':');
	*colon = 0;
	inet_pton(AF_INET, a[2], &addr.sin_addr);
	addr.sin_port = htons(atoi(colon + 1));
	signal(SIGPIPE, SIG_IGN);
	wolfSSL_Init();
	int old = !strcmp(a[7], "1.2");
	WOLFSSL_METHOD *m = server ? (old ? wolfTLSv1_2_server_method() : wolfTLSv1_3_server_method()) : (old ? wolfTLSv1_2_client_method() : wolfTLSv1_3_client_method());
	WOLFSSL_CTX *c = wolfSSL_CTX_new(m);
	if (strcmp(a[3], "-") && (wolfSSL_CTX_use_certificate_chain_file(c, a[3]) != WOLFSSL_SUCCESS || wolfSSL_CTX_use_PrivateKey_file(c, a[4], WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS))
		return 3;
	if (wolfSSL_CTX_load_verify_locations(c, a[5], NULL) != WOLFSSL_SUCCESS)
		return 4;
	for (char *o = strtok(strdup(a[9]), ","); o; o = strtok(NULL, ","))
		if (!strncmp(o, "TLS13-", 6) || !strncmp(o, "ECDHE", 5))
			wolfSSL_CTX_set_cipher_list(c, o);
	if (!server)
		wolfSSL_CTX_set_verify(c, WOLFSSL_VERIFY_PEER, NULL);
	else if (!strcmp(a[6], "optional"))
		wolfSSL_CTX_set_verify(c, WOLFSSL_VERIFY_PEER, NULL);
	else if (!strcmp(a[6], "required"))
		wolfSSL_CTX_set_verify(c, WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	else
		wolfSSL_CTX_set_verify(c, WOLFSSL_VERIFY_NONE, NULL);
	if (pha && !server)
		wolfSSL_CTX_allow_post_handshake_auth(c);
	if (!server && old && !has(a[9], "noticket"))
		wolfSSL_CTX_UseSessionTicket(c);
	int group = WOLFSSL_ECC_SECP384R1;
	if (has(a[9], "hrr-server"))
		wolfSSL_CTX_set_groups(c, &group, 1);
	int l = -1, one = 1;
	WOLFSSL_SESSION *session = NULL;
	if (server) {
		l = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(l, (void *)&addr, sizeof addr) || listen(l, 5))
			return 5;
	}
	while (n-- > 0) {
		int fd = server ? accept(l, NULL, NULL) : socket(AF_INET, SOCK_STREAM, 0);
		if (!server && connect(fd, (void *)&addr, sizeof addr))
			return 6;
		WOLFSSL *s = wolfSSL_new(c);
		wolfSSL_set_fd(s, fd);
		wolfSSL_KeepArrays(s);
		if (!server)
			wolfSSL_UseSNI(s, WOLFSSL_SNI_HOST_NAME, "httpbin.lab.test", 16);
		if (server)
			serve(s, pha);
		else
			call(s, &session, pha);
		wolfSSL_free(s);
		close(fd);
	}
	return 0;
}

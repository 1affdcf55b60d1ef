// A peer program of the lab (see gopeer.go) that uses Botan 3.
// Options: hrr-server, hrr-client (together a HelloRetryRequest), stateless (a server whose
// tickets contain the session; otherwise they are session numbers).
#include "botan_all.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <iostream>
#include <set>

namespace {

using namespace Botan;

const std::string name = "httpbin.lab.test";
const std::string request = "GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\nConnection: close\r\n\r\n";
const std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nlab-pong";

struct Arguments {
	bool server, old;
	std::string address, cert, key, ca, auth;
	uint16_t port;
	int n;
	std::set<std::string> options;
	bool has(const std::string& word) const { return options.count(word) > 0; }
};

class Rules : public TLS::Policy {
	const Arguments& a;

public:
	explicit Rules(const Arguments& a) : a(a) {}
	bool allow_tls12() const override { return a.old; }
	bool allow_tls13() const override { return !a.old; }
	bool allow_dtls12() const override { return false; }
	bool require_cert_revocation_info() const override { return false; } // the lab has no OCSP responder
	bool request_client_certificate_authentication() const override { return a.server && a.auth != "none"; }
	bool require_client_certificate_authentication() const override { return a.server && a.auth == "required"; }
	std::vector<TLS::Group_Params> key_exchange_groups() const override {
		if(a.has("hrr-server"))
			return {TLS::Group_Params::SECP384R1};
		if(a.has("hrr-client"))
			return {TLS::Group_Params::X25519, TLS::Group_Params::SECP384R1};
		return TLS::Policy::key_exchange_groups();
	}
	std::vector<TLS::Group_Params> key_exchange_groups_to_offer() const override {
		return {key_exchange_groups().front()};
	}
};

class Credentials : public Credentials_Manager {
	std::vector<X509_Certificate> chain;
	std::shared_ptr<Private_Key> key;
	Certificate_Store_In_Memory roots;
	bool asks;

public:
	explicit Credentials(const Arguments& a) : asks(!a.server || a.auth != "none") {
		roots.add_certificate(X509_Certificate(a.ca));
		if(a.cert == "-")
			return;
		DataSource_Stream certs(a.cert), keys(a.key);
		while(!certs.end_of_data()) {
			try {
				chain.emplace_back(certs);
			} catch(const Decoding_Error&) {
				break; // end of the file
			}
		}
		key = PKCS8::load_key(keys);
	}
	std::vector<Certificate_Store*> trusted_certificate_authorities(const std::string&, const std::string&) override {
		if(!asks)
			return {}; // a server that names authorities requests a certificate
		return {&roots};
	}
	std::vector<X509_Certificate> find_cert_chain(const std::vector<std::string>& kinds, const std::vector<AlgorithmIdentifier>&,
	                                              const std::vector<X509_DN>&, const std::string&, const std::string&) override {
		if(!key || std::find(kinds.begin(), kinds.end(), key->algo_name()) == kinds.end())
			return {};
		return chain; // for every server, regardless of the authorities that it names
	}
	std::shared_ptr<Private_Key> private_key_for(const X509_Certificate&, const std::string&, const std::string&) override { return key; }
	secure_vector<uint8_t> session_ticket_key() override { return secure_vector<uint8_t>(32, 7); }
};

class Connection : public TLS::Callbacks {
	int fd;

public:
	std::string got;
	bool resumed = false;
	size_t certs = 0;

	explicit Connection(int fd) : fd(fd) {}
	void tls_emit_data(std::span<const uint8_t> b) override {
		while(!b.empty()) {
			const ssize_t n = ::send(fd, b.data(), b.size(), MSG_NOSIGNAL);
			if(n <= 0)
				return; // the peer is gone; the next read reports it
			b = b.subspan(static_cast<size_t>(n));
		}
	}
	void tls_record_received(uint64_t, std::span<const uint8_t> b) override { got.append(b.begin(), b.end()); }
	void tls_alert(TLS::Alert alert) override {
		if(alert.is_fatal())
			throw TLS::TLS_Exception(alert.type(), "alert " + alert.type_string());
	}
	void tls_session_established(const TLS::Session_Summary& s) override { resumed = s.was_resumption(), certs = s.peer_certs().size(); }
	void tls_verify_cert_chain(const std::vector<X509_Certificate>& chain, const std::vector<std::optional<OCSP::Response>>& ocsp,
	                           const std::vector<Certificate_Store*>& trusted, Usage_Type usage, std::string_view host, const TLS::Policy& policy) override {
		// a client's certificate has no host name
		TLS::Callbacks::tls_verify_cert_chain(chain, ocsp, trusted, usage, usage == Usage_Type::TLS_CLIENT_AUTH ? "" : host, policy);
	}
	// receive passes incoming bytes to the channel until there is application data, or the connection ends.
	void receive(TLS::Channel& c) {
		uint8_t b[4096];
		while(got.empty() && !c.is_closed_for_reading()) {
			const ssize_t n = ::recv(fd, b, sizeof b, 0);
			if(n <= 0)
				return;
			c.received_data(b, static_cast<size_t>(n));
		}
	}
};

std::string oneLine(std::string s) {
	std::replace(s.begin(), s.end(), '\n', ' ');
	return s;
}

struct Peer {
	const Arguments& a;
	std::shared_ptr<RandomNumberGenerator> random = std::make_shared<AutoSeeded_RNG>();
	std::shared_ptr<Credentials> credentials = std::make_shared<Credentials>(a);
	std::shared_ptr<Rules> rules = std::make_shared<Rules>(a);
	std::shared_ptr<TLS::Session_Manager> sessions;

	explicit Peer(const Arguments& a) : a(a) {
		if(a.has("stateless"))
			sessions = std::make_shared<TLS::Session_Manager_Stateless>(credentials, random);
		else
			sessions = std::make_shared<TLS::Session_Manager_In_Memory>(random);
	}

	void serve(int fd) {
		const auto io = std::make_shared<Connection>(fd);
		std::string error;
		try {
			TLS::Server s(io, sessions, credentials, rules, random);
			io->receive(s);
			if(io->got.empty())
				error = "the client ended the handshake";
			else {
				s.send(answer);
				s.close();
			}
		} catch(const std::exception& e) {
			error = oneLine(e.what());
		}
		std::cout << "truth certs=" << (error.empty() ? static_cast<int>(io->certs) : -1) << " resumed=" << io->resumed << " early=0 error=" << error << std::endl;
	}

	void call(int fd) {
		const auto io = std::make_shared<Connection>(fd);
		try {
			const auto version = a.old ? TLS::Protocol_Version::TLS_V12 : TLS::Protocol_Version::TLS_V13;
			TLS::Client c(io, sessions, credentials, rules, random, TLS::Server_Information(name, a.port), version);
			uint8_t b[4096];
			while(!c.is_active() && !c.is_closed()) {
				const ssize_t n = ::recv(fd, b, sizeof b, 0);
				if(n <= 0)
					throw std::runtime_error("the server ended the handshake");
				c.received_data(b, static_cast<size_t>(n));
			}
			c.send(request);
			io->receive(c);
			std::cout << "client read " << io->got.size() << " resumed " << io->resumed << std::endl;
			c.close();
		} catch(const std::exception& e) {
			std::cout << "client " << oneLine(e.what()) << std::endl;
		}
	}
};

int run(const Arguments& a) {
	Peer peer(a);
	sockaddr_in to{};
	to.sin_family = AF_INET;
	to.sin_port = htons(a.port);
	inet_pton(AF_INET, a.address.c_str(), &to.sin_addr);
	const auto* where = reinterpret_cast<sockaddr*>(&to);
	const int l = a.server ? socket(AF_INET, SOCK_STREAM, 0) : -1, on = 1;
	if(a.server) {
		setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		if(bind(l, where, sizeof to) != 0 || listen(l, 5) != 0)
			return 5;
	}
	for(int i = 0; i < a.n; i++) {
		const int fd = a.server ? accept(l, nullptr, nullptr) : socket(AF_INET, SOCK_STREAM, 0);
		if(!a.server && connect(fd, where, sizeof to) != 0)
			return 6;
		if(a.server)
			peer.serve(fd);
		else
			peer.call(fd);
		close(fd);
	}
	return 0;
}

}  // namespace

int main(int argc, char** argv) {
	if(argc == 2 && std::string(argv[1]) == "version") {
		std::cout << short_version_string() << std::endl;
		return 0;
	}
	if(argc != 10)
		return 2;
	const std::string to = argv[2];
	const auto colon = to.find(':');
	Arguments a{std::string(argv[1]) == "server", std::string(argv[7]) == "1.2", to.substr(0, colon), argv[3], argv[4], argv[5], argv[6],
	            static_cast<uint16_t>(std::stoi(to.substr(colon + 1))), std::stoi(argv[8]), {}};
	std::istringstream words(argv[9]);
	for(std::string word; std::getline(words, word, ',');)
		a.options.insert(word);
	signal(SIGPIPE, SIG_IGN);
	try {
		return run(a);
	} catch(const std::exception& e) {
		std::cerr << "peer: " << e.what() << std::endl;
		return 1;
	}
}

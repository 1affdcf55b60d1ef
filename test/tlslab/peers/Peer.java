import java.io.*;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.Provider;
import java.security.Security;
import java.security.cert.*;
import java.util.*;
import javax.net.ssl.*;

/**
 * A peer program of the lab (see gopeer.go) that uses JSSE. The certificate file is PKCS #12; the key file is not used.
 * Options: TLS_... (a suite). The property lab.provider names the class of a provider that replaces Java's own.
 */
public class Peer {
  static final String NAME = "httpbin.lab.test";

  public static void main(String[] a) throws Exception {
    String[] address = a[1].split(":");
    int port = Integer.parseInt(address[1]), n = Integer.parseInt(a[7]);
    Set<String> options = new HashSet<>(Arrays.asList(a[8].split(",")));
    SSLContext context = context();
    context.init(keys(a[2]), trust(a[4]), null);
    String[] versions = {"TLSv" + a[6]};
    String[] suites = options.stream().filter(o -> o.startsWith("TLS_")).toArray(String[]::new);
    if (a[0].equals("server")) {
      SSLServerSocket l = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(port, 5, InetAddress.getByName(address[0]));
      l.setEnabledProtocols(versions);
      if (suites.length > 0) l.setEnabledCipherSuites(suites);
      l.setWantClientAuth(a[5].equals("optional"));
      if (a[5].equals("required")) l.setNeedClientAuth(true);
      for (int i = 0; i < n; i++) {
        SSLSocket s = (SSLSocket) l.accept();
        serve(s, System.currentTimeMillis());
        Thread.sleep(10); // creation times of sessions are in milliseconds
      }
      return;
    }
    for (int i = 0; i < n; i++) {
      try (SSLSocket s = (SSLSocket) context.getSocketFactory().createSocket(address[0], port)) {
        SSLParameters p = s.getSSLParameters();
        p.setServerNames(List.of(new SNIHostName(NAME)));
        s.setSSLParameters(p);
        s.setEnabledProtocols(versions);
        if (suites.length > 0) s.setEnabledCipherSuites(suites);
        s.setSoTimeout(5000);
        s.getOutputStream().write(("GET /ping HTTP/1.1\r\nHost: " + NAME + "\r\n\r\n").getBytes(StandardCharsets.US_ASCII));
        s.getOutputStream().flush();
        System.out.println("client read " + s.getInputStream().read(new byte[4096]));
      } catch (IOException e) {
        System.out.println("client " + e);
      }
    }
  }

  static SSLContext context() throws Exception {
    String name = System.getProperty("lab.provider");
    if (name == null) return SSLContext.getInstance("TLS");
    if (bouncy()) Security.addProvider(provider("org.bouncycastle.jce.provider.BouncyCastleProvider"));
    other = provider(name);
    Security.addProvider(other);
    return SSLContext.getInstance("TLS", other);
  }

  static Provider other; // null: Java's own

  static boolean bouncy() { return System.getProperty("lab.provider").contains("bouncycastle"); }

  static Provider provider(String name) throws Exception {
    return (Provider) Class.forName(name).getDeclaredConstructor().newInstance();
  }

  static void serve(SSLSocket s, long accepted) {
    try (s) {
      s.setSoTimeout(5000);
      s.startHandshake();
      SSLSession session = s.getSession();
      boolean resumed = other == null && session.getCreationTime() < accepted; // other providers' are in seconds
      s.getInputStream().read(new byte[4096]);
      int certs;
      try {
        certs = session.getPeerCertificates().length;
      } catch (SSLPeerUnverifiedException e) {
        certs = 0;
      }
      s.getOutputStream().write("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nlab-pong".getBytes(StandardCharsets.US_ASCII));
      s.getOutputStream().flush();
      System.out.println("truth certs=" + certs + " resumed=" + (resumed ? 1 : 0) + " early=0 error=");
    } catch (IOException e) {
      System.out.println("truth certs=-1 resumed=0 early=0 error=" + e);
    }
  }

  static KeyManager[] keys(String file) throws Exception {
    if (file.equals("-")) return null;
    KeyStore k = KeyStore.getInstance("PKCS12");
    try (InputStream in = new FileInputStream(file)) {
      k.load(in, "changeit".toCharArray());
    }
    KeyManagerFactory f = other != null && bouncy() ? KeyManagerFactory.getInstance("PKIX", other) : KeyManagerFactory.getInstance(other == null ? "PKIX" : "SunX509");
    f.init(k, "changeit".toCharArray());
    return f.getKeyManagers();
  }

  static TrustManager[] trust(String pem) throws Exception {
    KeyStore k = KeyStore.getInstance("PKCS12");
    k.load(null, null);
    try (InputStream in = new FileInputStream(pem)) {
      k.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
    }
    if (other != null) return new TrustManager[] {new Trust(k)};
    TrustManagerFactory f = TrustManagerFactory.getInstance("PKIX");
    f.init(k);
    return f.getTrustManagers();
  }

  /** Java's own trust managers do not know other providers' names for the key exchange of TLS 1.3. */
  static class Trust extends X509ExtendedTrustManager {
    final PKIXParameters parameters;

    Trust(KeyStore k) throws Exception {
      parameters = new PKIXParameters(k);
      parameters.setRevocationEnabled(false);
    }

    void check(X509Certificate[] chain) throws CertificateException {
      try {
        List<X509Certificate> path = new ArrayList<>(Arrays.asList(chain));
        path.removeIf(c -> c.getSubjectX500Principal().equals(c.getIssuerX500Principal()));
        CertPathValidator.getInstance("PKIX").validate(CertificateFactory.getInstance("X.509").generateCertPath(path), parameters);
      } catch (java.security.GeneralSecurityException e) {
        throw new CertificateException(e);
      }
    }

    public void checkClientTrusted(X509Certificate[] c, String t) throws CertificateException { check(c); }
    public void checkServerTrusted(X509Certificate[] c, String t) throws CertificateException { check(c); }
    public void checkClientTrusted(X509Certificate[] c, String t, java.net.Socket s) throws CertificateException { check(c); }
    public void checkServerTrusted(X509Certificate[] c, String t, java.net.Socket s) throws CertificateException { check(c); }
    public void checkClientTrusted(X509Certificate[] c, String t, SSLEngine s) throws CertificateException { check(c); }
    public void checkServerTrusted(X509Certificate[] c, String t, SSLEngine s) throws CertificateException { check(c); }

    public X509Certificate[] getAcceptedIssuers() {
      return parameters.getTrustAnchors().stream().map(TrustAnchor::getTrustedCert).toArray(X509Certificate[]::new);
    }
  }
}

//! A peer program of the lab (see gopeer.go) that uses the C API of s2n-tls.
//! Options: ticket (sessions are resumed), silent (the server sends nothing).
use s2n_tls_sys::*;
use std::ffi::{CStr, CString};
use std::io::Error;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::{env, fs, ptr};

const NAME: &str = "httpbin.lab.test";
const REQUEST: &[u8] = b"GET /ping HTTP/1.1\r\nHost: httpbin.lab.test\r\nConnection: close\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nlab-pong";

unsafe extern "C" fn any_host(_: *const libc_char, _: usize, _: *mut core::ffi::c_void) -> u8 {
    1
}

#[allow(non_camel_case_types)]
type libc_char = std::os::raw::c_char;

unsafe fn why() -> String {
    let code = *s2n_errno_location();
    let text = CStr::from_ptr(s2n_strerror(code, ptr::null())).to_string_lossy().replace('\n', " ");
    format!("{text} {}", Error::last_os_error())
}

unsafe fn check(what: &str, ret: i32) {
    if ret < 0 {
        eprintln!("peer: {what}: {}", why());
        std::process::exit(1);
    }
}

unsafe fn config(a: &[String], ticket: bool) -> *mut s2n_config {
    let c = s2n_config_new();
    check("trust", s2n_config_wipe_trust_store(c));
    let ca = CString::new(fs::read(&a[4]).unwrap()).unwrap();
    check("trust", s2n_config_add_pem_to_trust_store(c, ca.as_ptr()));
    let policy = CString::new(if a[6] == "1.2" { "20190214" } else { "default_tls13" }).unwrap();
    check("policy", s2n_config_set_cipher_preferences(c, policy.as_ptr()));
    if a[2] != "-" {
        let (mut chain, mut key) = (fs::read(&a[2]).unwrap(), fs::read(&a[3]).unwrap());
        let pair = s2n_cert_chain_and_key_new();
        check("certificate", s2n_cert_chain_and_key_load_pem_bytes(pair, chain.as_mut_ptr(), chain.len() as u32, key.as_mut_ptr(), key.len() as u32));
        check("certificate", s2n_config_add_cert_chain_and_key_to_store(c, pair));
    }
    let auth = match (a[0].as_str(), a[5].as_str(), a[2].as_str()) {
        ("server", "required", _) => s2n_cert_auth_type::REQUIRED,
        ("server", "optional", _) => s2n_cert_auth_type::OPTIONAL,
        ("server", _, _) => s2n_cert_auth_type::NONE,
        _ => s2n_cert_auth_type::OPTIONAL, // sends its certificate if one is requested
    };
    check("auth", s2n_config_set_client_auth_type(c, auth));
    if a[0] == "server" {
        check("host", s2n_config_set_verify_host_callback(c, Some(any_host), ptr::null_mut()));
    }
    if ticket {
        check("ticket", s2n_config_set_session_tickets_onoff(c, 1));
        if a[0] == "server" {
            let (mut name, mut key) = (*b"lab-ticket-key-1", [7u8; 32]);
            check("ticket", s2n_config_add_ticket_crypto_key(c, name.as_mut_ptr(), 16, key.as_mut_ptr(), 32, 0));
        }
    }
    c
}

unsafe fn serve(c: *mut s2n_config, s: TcpStream, silent: bool) {
    let conn = s2n_connection_new(s2n_mode::SERVER);
    let mut blocked = 0;
    check("config", s2n_connection_set_config(conn, c));
    check("fd", s2n_connection_set_fd(conn, s.as_raw_fd()));
    let mut b = [0u8; 4096];
    if s2n_negotiate(conn, &mut blocked) < 0 || s2n_recv(conn, b.as_mut_ptr().cast(), b.len() as _, &mut blocked) <= 0 {
        println!("truth certs=-1 resumed=0 early=0 error={}", why());
        return;
    }
    let certs = (s2n_connection_client_cert_used(conn) == 1) as u8;
    let resumed = (s2n_connection_is_session_resumed(conn) == 1) as u8;
    println!("truth certs={certs} resumed={resumed} early=0 error=");
    if silent {
        println!("played sink 1");
        while s2n_recv(conn, b.as_mut_ptr().cast(), b.len() as _, &mut blocked) > 0 {}
    } else {
        s2n_send(conn, ANSWER.as_ptr().cast(), ANSWER.len() as _, &mut blocked);
    }
    s2n_shutdown(conn, &mut blocked);
    s2n_connection_free(conn);
}

unsafe extern "C" fn keep(_: *mut s2n_connection, out: *mut core::ffi::c_void, t: *mut s2n_session_ticket) -> i32 {
    let mut n = 0usize;
    s2n_session_ticket_get_data_len(t, &mut n);
    let session = &mut *(out as *mut Vec<u8>);
    session.resize(n, 0);
    s2n_session_ticket_get_data(t, n, session.as_mut_ptr())
}

unsafe fn call(c: *mut s2n_config, address: &str, session: &Vec<u8>) {
    let s = TcpStream::connect(address).unwrap();
    let conn = s2n_connection_new(s2n_mode::CLIENT);
    let mut blocked = 0;
    check("config", s2n_connection_set_config(conn, c));
    check("fd", s2n_connection_set_fd(conn, s.as_raw_fd()));
    let name = CString::new(NAME).unwrap();
    check("name", s2n_set_server_name(conn, name.as_ptr()));
    if !session.is_empty() {
        check("session", s2n_connection_set_session(conn, session.as_ptr(), session.len()));
    }
    if s2n_negotiate(conn, &mut blocked) < 0 {
        println!("client {}", why());
        return;
    }
    s2n_send(conn, REQUEST.as_ptr().cast(), REQUEST.len() as _, &mut blocked);
    let mut b = [0u8; 4096];
    println!("client read {}", s2n_recv(conn, b.as_mut_ptr().cast(), b.len() as _, &mut blocked));
    s2n_shutdown(conn, &mut blocked);
    s2n_connection_free(conn);
}

fn main() {
    let a: Vec<String> = env::args().skip(1).collect();
    let n: usize = a[7].parse().unwrap();
    let has = |o: &str| a[8].split(',').any(|x| x == o);
    unsafe {
        check("init", s2n_init());
        let c = config(&a, n > 1 || has("ticket"));
        if a[0] == "server" {
            let l = TcpListener::bind(&a[1]).unwrap();
            for _ in 0..n {
                serve(c, l.accept().unwrap().0, has("silent"));
            }
            return;
        }
        let mut session: Vec<u8> = Vec::new();
        check("session", s2n_config_set_session_ticket_cb(c, Some(keep), (&mut session as *mut Vec<u8>).cast()));
        for _ in 0..n {
            let offer = session.clone();
            call(c, &a[1], &offer);
        }
    }
}

//! No network but what the engine holds.

use super::{python, run, start};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

#[test]
fn a_listener_on_the_hosts_loopback_is_out_of_reach() {
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    let ran = run(python(&format!(
        "import socket\ntry: socket.create_connection(('127.0.0.1', {port}), 5); print('reached')\n\
         except OSError as e: print(type(e).__name__)"
    )));
    assert_eq!(ran.text, "ConnectionRefusedError\n");
}

#[test]
fn everything_else_fails_at_once() {
    // Without a time-out on any socket: a hang would hang the test.
    let ran = run(python(
        "import socket, errno\n\
         for family, place in ((2, ('169.254.169.254', 80)), (2, ('8.8.8.8', 53)), (10, ('2001:db8::1', 443))):\n\
         \x20 s = socket.socket(family)\n\
         \x20 try: s.connect(place); print('reached')\n\
         \x20 except OSError as e: print(errno.errorcode[e.errno])\n\
         u = socket.socket(2, socket.SOCK_DGRAM)\n\
         try: u.sendto(b'x', ('8.8.8.8', 53)); print('sent')\n\
         except OSError as e: print(errno.errorcode[e.errno])\n\
         try: socket.getaddrinfo('example.com', 443); print('resolved')\n\
         except OSError as e: print('no name')",
    ));
    let lines: Vec<&str> = ran.text.lines().collect();
    assert_eq!(lines[..2], ["ENETUNREACH", "ENETUNREACH"]);
    assert!(matches!(lines[2], "ENETUNREACH" | "EADDRNOTAVAIL"), "{}", lines[2]);
    assert_eq!(lines[3..], ["ENETUNREACH", "no name"]);
}

#[test]
fn abstract_unix_sockets_of_the_host_are_out_of_reach() {
    let name = format!("wflo-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _host = UnixListener::bind_addr(&address).unwrap();
    assert!(std::os::unix::net::UnixStream::connect_addr(&address).is_ok());
    let ran = run(python(&format!(
        "import socket\ns = socket.socket(socket.AF_UNIX)\n\
         try: s.connect('\\0{name}'); print('reached')\nexcept OSError as e: print(type(e).__name__)"
    )));
    assert_eq!(ran.text, "ConnectionRefusedError\n");
}

#[test]
fn strange_socket_families_do_not_exist() {
    let ran = run(python(
        "import socket\n\
         for family in (40, 38, 17, 31, 44):\n\
         \x20 try: socket.socket(family, socket.SOCK_DGRAM); print('made', family)\n\
         \x20 except OSError as e: print(e.errno)",
    ));
    assert_eq!(ran.text, "97\n97\n97\n97\n97\n");
}

#[test]
fn the_egress_listener_is_another_one_and_is_told_from_the_models() {
    let mut spec = python(
        "import os, socket\n\
         for name in ('EGRESS', 'MODEL'):\n\
         \x20 s = socket.create_connection(('127.0.0.1', int(os.environ[name]))); s.sendall(name.encode()); s.close()",
    );
    (spec.model_listener, spec.egress_listener) = (true, true);
    spec.env.push(("MODEL".into(), "{model_port}".into()));
    spec.env.push(("EGRESS".into(), "{egress_port}".into()));
    let (sandbox, _output) = start(spec);
    let (model, egress) = (sandbox.take_listener().unwrap(), sandbox.take_egress_listener().unwrap());
    assert!(sandbox.take_egress_listener().is_none());
    assert_eq!(egress.local_addr().unwrap().port(), sandbox.egress_port().unwrap());
    for (listener, name) in [(egress, "EGRESS"), (model, "MODEL")] {
        let mut said = String::new();
        listener.accept().unwrap().0.read_to_string(&mut said).unwrap();
        assert_eq!(said, name);
    }
    assert!(sandbox.wait().unwrap().success());
}

#[test]
fn the_model_listener_is_inside_and_answered_from_outside() {
    let mut spec = python(
        "import os, socket\n\
         url = os.environ['MODEL_URL']; port = int(url.rsplit(':', 1)[1])\n\
         s = socket.create_connection(('127.0.0.1', port)); s.sendall(b'question')\n\
         s.shutdown(socket.SHUT_WR); print(s.recv(100).decode())",
    );
    spec.model_listener = true;
    spec.env.push(("MODEL_URL".into(), "http://127.0.0.1:{model_port}".into()));
    let (sandbox, mut output) = start(spec);
    let listener = sandbox.take_listener().unwrap();
    assert!(sandbox.take_listener().is_none());
    assert_eq!(listener.local_addr().unwrap().port(), sandbox.model_port().unwrap());
    // The port means nothing out here.
    let (mut connection, _) = listener.accept().unwrap();
    let mut question = String::new();
    connection.read_to_string(&mut question).unwrap();
    connection.write_all(b"answer").unwrap();
    drop(connection);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!((question.as_str(), text.as_str()), ("question", "answer\n"));
    assert!(sandbox.wait().unwrap().success());
}

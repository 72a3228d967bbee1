//! What goes in and comes out while the program runs.

use super::{everywhere, pipe};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use wflo_sandbox::{MODEL_PORT, Outcome, Sandbox, Spec, Stdio};

#[test]
fn input_goes_in_and_much_output_comes_out() {
    everywhere(|world, _| {
        let (input, mut feed) = rustix::pipe::pipe().map(|(r, w)| (r, std::fs::File::from(w))).unwrap();
        let mut spec = Spec::new(["cat"]);
        spec.stdin = Stdio::Fd(input);
        let (sandbox, mut output) = world.start(None, spec);
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let copy = sent.clone();
        let feeding = std::thread::spawn(move || feed.write_all(&copy).unwrap());
        let mut got = Vec::new();
        output.read_to_end(&mut got).unwrap();
        feeding.join().unwrap();
        assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
        assert_eq!(sandbox.wait().unwrap().outcome, Outcome::Exited(0));
    });
}

#[test]
fn a_descriptor_is_a_conversation() {
    everywhere(|world, _| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut spec = Spec::new(["sh", "-c", "read word <&5; echo \"heard $word\" >&5; cat <&5 >&1"]);
        spec.fds = vec![(theirs.into(), 5)];
        let (sandbox, mut output) = world.start(None, spec);
        ours.write_all(b"hello\n").unwrap();
        let mut heard = [0; 12];
        ours.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"heard hello\n");
        ours.write_all(b"the rest").unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "the rest");
        assert_eq!(sandbox.wait().unwrap().outcome, Outcome::Exited(0));
    });
}

#[test]
fn who_does_not_read_holds_up_nobody_else() {
    everywhere(|world, _| {
        // Standard error is a pipe that nobody reads; standard output goes on.
        let (unread, write) = pipe();
        let mut spec = Spec::new([
            "sh",
            "-c",
            "(head -c 2000000 /dev/zero >&2) & sleep 0.1; head -c 1000000 /dev/zero; exit 3",
        ]);
        spec.stderr = Stdio::Fd(write);
        let (sandbox, mut output) = world.start(None, spec);
        let mut got = Vec::new();
        output.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), 1_000_000);
        assert_eq!(sandbox.wait().unwrap().outcome, Outcome::Exited(3));
        drop(unread);
    });
}

#[test]
fn the_listener_is_the_containers_own() {
    everywhere(|world, _| {
        let program = "
import os, socket
s = socket.create_connection(('127.0.0.1', int(os.environ['PORT'])))
s.sendall(b'x' * 300000); s.shutdown(socket.SHUT_WR)
got = 0
while data := s.recv(65536): got += len(data)
print(got)
try: socket.create_connection(('127.0.0.1', 1), 1)
except OSError as error: print(type(error).__name__)
";
        // Nobody on this host reaches it by its address. A port of somebody else's here may have its number: not
        // five times in a row.
        let alone = (0..5).find_map(|_| {
            let mut spec = Spec::new(["/usr/bin/python3", "-c", program]);
            spec.env = vec![("PORT".into(), MODEL_PORT.into())];
            spec.model_listener = true;
            let (sandbox, output) = world.start(None, spec);
            let listener = sandbox.take_listener().unwrap();
            let reached = std::net::TcpStream::connect(listener.local_addr().unwrap()).is_ok();
            (!reached).then_some((sandbox, output, listener))
        });
        let (sandbox, mut output, listener) = alone.expect("an address that is the container's alone");
        assert!(sandbox.take_listener().is_none(), "given once");
        let (mut connection, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        connection.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), 300_000);
        connection.write_all(&vec![b'y'; 700_000]).unwrap();
        drop(connection);
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, "700000\nConnectionRefusedError\n");
        assert!(sandbox.wait().unwrap().success());
    });
}

#[test]
fn a_terminal_is_one() {
    everywhere(|world, _| {
        let ours =
            rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
        rustix::pty::unlockpt(&ours).unwrap();
        let name = rustix::pty::ptsname(&ours, Vec::new()).unwrap();
        let theirs = std::fs::OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let size = rustix::termios::Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&theirs, size).unwrap();
        let mut spec = Spec::new([
            "sh",
            "-c",
            "until [ \"$(stty size)\" = '33 77' ]; do sleep 0.05; done; test -t 0 && test -t 1 && test -t 2 && echo terminal; read x; echo \"<$x>\"",
        ]);
        let copy = || Stdio::Fd(theirs.try_clone().unwrap().into());
        (spec.stdin, spec.stderr, spec.terminal) = (copy(), copy(), true);
        spec.stdout = copy();
        let sandbox = world.docker.launch(spec, None).unwrap();
        drop(theirs);
        let mut ours = std::fs::File::from(ours);
        ours.write_all(b"typed\n").unwrap();
        let mut text = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(read @ 1..) = ours.read(&mut buffer) {
            text.extend_from_slice(&buffer[..read]);
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("terminal") && text.contains("<typed>"), "{text}");
        assert!(sandbox.wait().unwrap().success());
    });
}

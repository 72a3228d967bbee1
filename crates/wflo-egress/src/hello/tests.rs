//! First messages of a real client, and of hostile ones.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// What rustls begins with.
fn real(name: &'static str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The smallest first message with these extensions, in records of `size`.
fn made(extensions: &[(u16, Vec<u8>)], size: usize) -> Vec<u8> {
    let long = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    let listed: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, content)| [&kind.to_be_bytes()[..], &long(content)].concat())
        .collect();
    let body = [&[3, 3][..], &[7; 32], &[0], &long(&[0x13, 1]), &[1, 0], &long(&listed)].concat();
    let message = [&[1, 0][..], &long(&body)].concat();
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &long(part)].concat()).collect()
}

fn sni(name: &str) -> (u16, Vec<u8>) {
    let length = name.len() as u16;
    let entry = [&[0][..], &length.to_be_bytes(), name.as_bytes()].concat();
    (0, [&(entry.len() as u16).to_be_bytes()[..], &entry].concat())
}

fn name_of(bytes: &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
    match read(bytes)? {
        Progress::Whole { name } => Ok(name),
        Progress::More => panic!("not whole"),
    }
}

#[test]
fn a_real_clients_name_is_read_however_it_arrives() {
    let bytes = real("api.example.org");
    assert_eq!(name_of(&bytes).unwrap().unwrap(), b"api.example.org");
    for end in 0..bytes.len() {
        assert_eq!(read(&bytes[..end]), Ok(Progress::More), "{end}");
    }
    for size in [1, 2, 7, 100] {
        assert_eq!(name_of(&made(&[sni("a.example")], size)).unwrap().unwrap(), b"a.example", "{size}");
    }
    // What follows belongs to the server.
    assert!(name_of(&[bytes.as_slice(), &[23, 3, 3, 0, 1, 0]].concat()).is_ok());
}

#[test]
fn a_name_is_the_hosts_own_or_none_for_an_address() {
    let host = |text| Host::parse(text).unwrap();
    assert_eq!(judge(Some(b"A.example"), &host("a.example")), Ok(()));
    assert_eq!(judge(None, &host("1.2.3.4")), Ok(()));
    assert_eq!(judge(None, &host("a.example")), Err(HelloError::NoName));
    for other in
        [&b"b.example"[..], b"a.example.", b"a.example\0.evil.example", b"x.a.example", b"1.2.3.4", b"\xff"]
    {
        assert!(
            matches!(judge(Some(other), &host("a.example")), Err(HelloError::OtherName { .. })),
            "{other:?}"
        );
    }
    assert!(judge(Some(b"1.2.3.4"), &host("1.2.3.4")).is_err());
}

#[test]
fn what_is_no_single_plain_name_is_refused() {
    let two = {
        let (_, one) = sni("a.example");
        let entry = &one[2..];
        (0, [&((2 * entry.len()) as u16).to_be_bytes()[..], entry, entry].concat())
    };
    let malformed = |extensions: &[(u16, Vec<u8>)]| name_of(&made(extensions, 5_000)).unwrap_err();
    assert_eq!(malformed(&[two]), HelloError::Malformed);
    assert_eq!(malformed(&[sni("a.example"), sni("b.example")]), HelloError::Malformed);
    assert_eq!(malformed(&[(0, vec![0, 0])]), HelloError::Malformed);
    assert_eq!(malformed(&[(0, vec![])]), HelloError::Malformed);
    assert_eq!(malformed(&[sni("a.example"), (0xfe0d, vec![0; 8])]), HelloError::Encrypted);
    assert_eq!(name_of(&made(&[], 5_000)), Ok(None));
}

#[test]
fn what_is_not_tls_is_told_at_once() {
    for bytes in
        [&b"SSH-2.0-x\r\n"[..], b"GET / HTTP/1.1\r\n", &[0x80, 0x2e, 1, 3, 1], &[22, 2, 0], &[23, 3, 1]]
    {
        assert_eq!(read(bytes), Err(HelloError::NotTls), "{bytes:?}");
    }
    for bytes in [&[22, 3, 1, 0, 0][..], &[22, 3, 1, 0, 1, 2], &[22, 3, 1, 0, 2, 1, 0, 23, 3, 3]] {
        assert_eq!(read(bytes), Err(HelloError::Malformed), "{bytes:?}");
    }
    assert_eq!(read(&[22, 3, 1, 0, 4, 1, 255, 0, 0]), Err(HelloError::Long));
    let endless: Vec<u8> = [22, 3, 1, 0, 1, 1].into_iter().chain([22, 3, 1, 0, 1, 0].repeat(2)).collect();
    assert_eq!(read(&endless), Ok(Progress::More));
}

proptest! {
    #[test]
    fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes);
    }

    #[test]
    fn no_change_of_a_byte_breaks_it(at in 0_usize..2_000, byte: u8, cut in 0_usize..2_000) {
        let mut bytes = real("api.example.org");
        let length = bytes.len();
        bytes[at % length] = byte;
        let _ = read(&bytes[..cut % length]);
        let _ = read(&bytes);
    }
}

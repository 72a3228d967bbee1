//! First messages of TLS: none breaks the reader, what is whole stays what it is, and a part of it is no other one.
#![no_main]

use wflo_egress::hello::{Progress, judge, read};
use wflo_egress::host::Host;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(Progress::Whole { name }) = read(bytes) else { return };
    for end in 0..bytes.len() {
        match read(&bytes[..end]) {
            Ok(Progress::Whole { name: other }) => assert_eq!(other, name),
            Ok(Progress::More) => {}
            Err(_) => panic!("the beginning of what is read cannot be refused"),
        }
    }
    let host = Host::parse("a.example").expect("a host");
    if judge(name.as_deref(), &host).is_ok() {
        assert!(name.is_some_and(|name| name.eq_ignore_ascii_case(b"a.example")));
    }
});

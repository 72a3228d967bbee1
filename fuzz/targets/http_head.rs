//! What is asked of the egress proxy: whatever is read has one reading, and is written as it was read.
#![no_main]

use wflo_egress::host::Target;
use wflo_egress::request::Request;
use wflo_egress::rules::{Rules, Segments};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let asked = match Request::parse(bytes) {
        Ok(Request::Connect(target)) => {
            assert_eq!(Target::parse(&target.to_string(), None).as_ref(), Ok(&target));
            return;
        }
        Ok(Request::Forward(asked)) => Some(*asked),
        Err(_) => {
            Target::parse("a.example:443", None).ok().and_then(|target| Request::within(bytes, &target).ok())
        }
    };
    let Some(asked) = asked else { return };
    let sound = |byte: &u8| byte.is_ascii_graphic();
    assert!(asked.path.starts_with('/') && asked.path.bytes().all(|byte| sound(&byte)));
    for (name, value) in &asked.headers {
        assert!(!matches!(
            name.as_str(),
            "host" | "content-length" | "transfer-encoding" | "connection" | "upgrade"
        ));
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    }
    // Written anew and read again it is the same.
    let query = asked.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let again = format!("{} {}{query} HTTP/1.1\r\nHost: {}\r\n\r\n", asked.method, asked.path, asked.target);
    let read = Request::within(again.as_bytes(), &asked.target).expect("what was read can be read again");
    assert_eq!((&read.path, &read.query, &read.method), (&asked.path, &asked.query, &asked.method));
    // A path has parts that hold nothing which parts them, or is compared with no rule.
    let rules = Rules::parse(&["GET http://a.example/a/**"], &[]).expect("a rule");
    if rules.request(&asked.target, false, &asked.method, &asked.path).is_ok() {
        assert!(Segments::read(&asked.path).is_ok() && asked.method == "GET");
        assert!(!asked.path.contains("//") && asked.path.split('/').all(|part| part != ".." && part != "."));
    }
});

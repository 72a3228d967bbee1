use super::*;
use crate::request::Request;
use proptest::prelude::*;

const HELD: &str = "wflo-0123456789abcdef0123456789abcdef";
const VALUE: &str = "ghp_the/real+value==";

fn secrets() -> Secrets {
    Secrets::new(vec![Secret {
        name: "github".to_owned(),
        placeholder: HELD.to_owned(),
        value: Value::new(VALUE).unwrap(),
        hosts: vec!["api.example".parse().unwrap(), "other.example:8443".parse().unwrap()],
        headers: vec!["authorization".to_owned(), "x-api-key".to_owned()],
        query: vec!["key".to_owned()],
    }])
}

fn asked(host: &str, target: &str, headers: &str) -> Forward {
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    Request::within(head.as_bytes(), &Target::parse(host, Some(443)).unwrap()).unwrap()
}

fn swapped(host: &str, target: &str, headers: &str, secure: bool) -> Result<(Forward, Swapped), Place> {
    let mut asked = asked(host, target, headers);
    let swapped = secrets().swap(&mut asked, secure).map_err(|misplaced| misplaced.place)?;
    Ok((asked, swapped))
}

fn header<'a>(asked: &'a Forward, name: &str) -> &'a str {
    let (_, value) = asked.headers.iter().find(|(own, _)| own == name).unwrap();
    std::str::from_utf8(value).unwrap()
}

#[test]
fn a_value_stands_where_its_placeholder_may() {
    let (sent, with) =
        swapped("api.example", "/x", &format!("Authorization: Bearer {HELD}\r\n"), true).unwrap();
    assert_eq!(header(&sent, "authorization"), format!("Bearer {VALUE}"));
    assert_eq!(with.names, ["github"]);
    let pair = BASE64.encode(format!("me:{HELD}"));
    let (sent, _) =
        swapped("other.example:8443", "/x", &format!("Authorization: Basic {pair}\r\n"), true).unwrap();
    assert_eq!(header(&sent, "authorization"), format!("Basic {}", BASE64.encode(format!("me:{VALUE}"))));
    let (sent, _) = swapped("api.example", &format!("/x?a=1&key={HELD}&b=2"), "", true).unwrap();
    assert_eq!(sent.query.as_deref(), Some("a=1&key=ghp_the%2Freal%2Bvalue%3D%3D&b=2"));
    // What is asked of its hosts is answered whole and plain, so that nothing of it hides in the answer.
    let (sent, with) =
        swapped("api.example", "/x", "Range: bytes=0-1\r\nAccept-Encoding: gzip\r\n", true).unwrap();
    assert_eq!(header(&sent, "accept-encoding"), "identity");
    assert!(!sent.headers.iter().any(|(name, _)| name == "range") && with.names.is_empty());
    assert!(with.values.contains(&VALUE.as_bytes().to_vec()));
}

#[test]
fn whatever_host_is_seen_repeats_no_value() {
    let (sent, with) = swapped("elsewhere.example", "/x", "Accept-Encoding: gzip\r\n", true).unwrap();
    assert_eq!(header(&sent, "accept-encoding"), "identity");
    for form in [VALUE, r"ghp_the\/real+value==", "ghp_the%2freal%2bvalue%3d%3d"] {
        assert!(with.values.iter().any(|value| value == form.as_bytes()), "{form}");
    }
    let (sent, with) = swapped("elsewhere.example", "/x", "Accept-Encoding: gzip\r\n", false).unwrap();
    assert!(header(&sent, "accept-encoding") == "gzip" && with.values.is_empty());
}

#[test]
fn a_placeholder_anywhere_else_is_refused() {
    let bearer = format!("Authorization: Bearer {HELD}\r\n");
    let upper = HELD.to_ascii_uppercase();
    for (host, target, headers, secure, place) in [
        ("evil.example", "/", bearer.clone(), true, Place::Host),
        ("api.example:8443", "/", bearer.clone(), true, Place::Host),
        ("api.example.evil.example", "/", bearer.clone(), true, Place::Host),
        ("api.example", "/", bearer, false, Place::Plain),
        ("api.example", "/", format!("Cookie: a={HELD}\r\n"), true, Place::Header),
        ("api.example", "/", format!("X: {upper}\r\n"), true, Place::Header),
        ("api.example", "/", format!("{HELD}: x\r\n"), true, Place::Header),
        ("api.example", "/", format!("X-Api-Key: {upper}\r\n"), true, Place::Header),
        ("api.example", "/", format!("Cookie: Basic {}\r\n", BASE64.encode(HELD)), true, Place::Header),
        (
            "evil.example",
            "/",
            format!("Authorization: Basic {}\r\n", BASE64.encode(format!("a:{HELD}"))),
            true,
            Place::Host,
        ),
        ("api.example", &format!("/{HELD}"), String::new(), true, Place::Address),
        ("api.example", "/%77flo-0123456789abcdef0123456789abcdef", String::new(), true, Place::Address),
        ("api.example", "/%2577flo-0123456789abcdef0123456789abcdef", String::new(), true, Place::Address),
        ("api.example", &format!("/?other={HELD}"), String::new(), true, Place::Address),
        ("api.example", &format!("/?key=x{HELD}"), String::new(), true, Place::Address),
        ("api.example", "/?key=%77flo-0123456789abcdef0123456789abcdef", String::new(), true, Place::Address),
        ("api.example", &format!("/?{HELD}=1"), String::new(), true, Place::Address),
        ("evil.example", &format!("/?key={HELD}"), String::new(), true, Place::Host),
        (&format!("{HELD}.evil.example"), "/", String::new(), true, Place::Address),
    ] {
        let got = swapped(host, target, &headers, secure).map(|_| ());
        assert_eq!(got, Err(place), "{host} {target} {headers}");
    }
}

#[test]
fn a_placeholder_that_is_empty_stands_nowhere() {
    let mut secret = secrets().0.remove(0);
    secret.placeholder = String::new();
    let secrets = Secrets::new(vec![secret]);
    let mut asked = asked("api.example", "/x?key=", "Authorization: Bearer x\r\n");
    assert!(secrets.swap(&mut asked, true).unwrap().names.is_empty());
    assert!(secrets.scanner().find(b"anything").is_none() && secrets.found_in(b"anything").is_none());
}

#[test]
fn a_value_is_never_shown() {
    let shown = format!("{:?} {:?}", secrets(), Value::new(VALUE).unwrap());
    assert!(!shown.contains(VALUE) && shown.contains("github"));
    assert_eq!(secrets().redact(format!("a {VALUE} b")), "a [redacted] b");
    for no_value in ["short", " padded-value", "two\nlines-of-it", "", "b\u{fc}cher-und-mehr"] {
        assert!(Value::new(no_value).is_none(), "{no_value:?}");
    }
}

proptest! {
    #[test]
    fn nothing_but_its_host_gets_a_value(
        host in "[a-z]{1,6}\\.(example|test)(:8443)?",
        header in "(authorization|x-api-key|cookie)",
        before in "[ -~]{0,10}",
        after in "[ -~]{0,10}",
        secure: bool,
    ) {
        let headers = format!("{header}: {before}{HELD}{after}\r\n");
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        let target = Target::parse(&host, Some(443)).unwrap();
        let Ok(mut asked) = Request::within(head.as_bytes(), &target) else { return Ok(()) };
        let swapped = secrets().swap(&mut asked, secure);
        let has_value = asked.headers.iter().any(|(_, value)| holds(value, VALUE.as_bytes()));
        let is_its_own = host == "api.example" || host == "other.example:8443";
        prop_assert_eq!(swapped.is_ok(), has_value);
        prop_assert!(!has_value || is_its_own && secure && header != "cookie");
    }
}

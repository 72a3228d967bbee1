use proptest::collection::vec;
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::super::Permit;
use super::super::tests::{rules, target};
use super::*;

fn asked(rules: &[&str], asks: &[&str]) -> Rules {
    self::rules(rules).asking(asks.iter().map(|ask| ask.parse().unwrap()).collect())
}

fn said(rules: Rules, rule: &str, allowed: bool) -> Rules {
    rules.with([Change { rule: rule.parse().unwrap(), allowed, is_answer: true }])
}

#[test]
fn what_is_asked_about_is_asked_about_although_a_rule_allows_it() {
    let rules = asked(
        &["*.example.org", "tcp://db.example.org:5432"],
        &["api.example.org", "tcp://db.example.org:5432"],
    );
    let (api, db) = (target("api.example.org:443"), target("db.example.org:5432"));
    assert_eq!((rules.tunnel(&api), rules.tunnel(&db)), (Err(Denied::Asked), Err(Denied::Asked)));
    let plain = target("api.example.org:80");
    assert_eq!(rules.request(&plain, false, "GET", "/"), Err(Denied::Asked));
    assert_eq!(rules.tunnel(&target("www.example.org:443")), Ok(Through::Tls));
    let stands = |rules: &Rules, target| rules.before_tunnel(target, &[]).unwrap().unwrap().to_string();
    assert_eq!(stands(&rules, &api), "https://api.example.org");
    assert_eq!(stands(&rules, &db), "tcp://db.example.org:5432");
    // A yes to this connection, and one that holds.
    let yes = rules.before_tunnel(&api, &[]).unwrap().unwrap();
    assert_eq!(rules.before_tunnel(&api, &[yes]), Ok(None));
    let told = said(rules.clone(), "https://api.example.org", true);
    assert_eq!(told.tunnel(&api), Ok(Through::Tls));
    assert_eq!(told.request(&plain, false, "GET", "/"), Err(Denied::Asked), "another way is another thing");
    // A no, before it or after it.
    assert_eq!(said(told.clone(), "api.example.org", false).tunnel(&api), Err(Denied::Said));
    assert_eq!(said(rules, "api.example.org", false).tunnel(&api), Err(Denied::Said));
}

#[test]
fn requests_are_asked_about_one_kind_at_a_time() {
    let ask = "POST https://*.example.org/v1/**";
    let api = target("api.example.org:443");
    let unseen = asked(&["api.example.org"], &[ask]);
    assert_eq!(unseen.tunnel(&api), Err(Denied::Asked), "what cannot be looked at is asked about whole");
    let rules = unseen.seeing(Vec::new());
    assert_eq!(rules.tunnel(&api), Ok(Through::Inspected));
    assert_eq!(rules.request(&api, true, "GET", "/v1/x"), Ok(Permit::Whole));
    assert_eq!(rules.request(&api, true, "POST", "/v2/x"), Ok(Permit::Whole));
    assert_eq!(rules.request(&api, true, "POST", "/v1/x"), Err(Denied::Asked));
    assert_eq!(
        rules.request(&api, true, "POST", "/V1/x"),
        Err(Denied::Asked),
        "many servers take it for the same"
    );
    assert!(matches!(rules.request(&api, true, "POST", "/v2/../v1/x"), Err(Denied::Path(_))));
    assert!(rules.is_by_request(&api, true), "headers that name another method are refused");
    let yes = rules.before_request((&api, true), ("POST", "/v1/x"), &[]).unwrap().unwrap();
    assert_eq!(yes.to_string(), "POST https://api.example.org/v1/**", "of this host, and of no other below");
    let told = said(rules.clone(), &yes.to_string(), true);
    assert_eq!(told.request(&api, true, "POST", "/v1/y"), Ok(Permit::Whole));
    assert_eq!(told.request(&target("b.example.org:443"), true, "POST", "/v1/y"), Err(Denied::Asked));
    // The whole host let in is no answer about a part that is asked about by itself; a no to the part is none to
    // the rest.
    let whole = said(rules.clone(), "https://api.example.org", true);
    assert_eq!(whole.request(&api, true, "POST", "/v1/y"), Err(Denied::Asked));
    let no = said(rules, &yes.to_string(), false);
    assert_eq!(no.request(&api, true, "POST", "/v1/y"), Err(Denied::Said));
    assert_eq!(no.request(&api, true, "GET", "/v1/y"), Ok(Permit::Whole));
    assert!(!no.keep_out(&api));
}

#[test]
fn a_host_that_is_only_asked_about_is_reached_by_what_is_asked_about() {
    let rules = asked(&[], &["POST https://api.example.org/**"]).seeing(Vec::new());
    let api = target("api.example.org:443");
    assert!(rules.need_sight());
    assert_eq!(rules.tunnel(&api), Ok(Through::Inspected));
    assert_eq!(rules.request(&api, true, "POST", "/x"), Err(Denied::Asked));
    assert_eq!(rules.request(&api, true, "GET", "/x"), Err(Denied::Host));
    assert_eq!(rules.tunnel(&target("b.example.org:443")), Err(Denied::Host));
}

proptest! {
    #[test]
    fn an_ask_rule_is_never_passed_without_a_question(
        allowed in vec(0..TEXTS.len(), 0..4),
        asks in vec(0..TEXTS.len(), 1..4),
        said in vec(0..TEXTS.len(), 0..3),
        sees: bool,
        host in 0..3_usize,
        port in 0..3_usize,
        method in 0..2_usize,
        path in 0..2_usize,
    ) {
        let texts = |chosen: &[usize]| chosen.iter().map(|at| TEXTS[*at]).collect::<Vec<_>>();
        let host = ["a.example.org", "b.example.org", "other.example"][host];
        let target = target(&format!("{host}:{}", [80, 443, 5432][port]));
        let (method, path) = (["GET", "POST"][method], ["/", "/v1/x"][path]);
        let sighted = |rules: Rules| if sees { rules.seeing(Vec::new()) } else { rules };
        let rules = sighted(asked(&texts(&allowed), &texts(&asks)));
        // What the asking rules would let through if they were rules that allow.
        let named = sighted(self::rules(&texts(&asks)));
        for secure in [false, true] {
            if named.request(&target, secure, method, path) == Ok(Permit::Whole) {
                let got = rules.request(&target, secure, method, path);
                // A whole host over TLS has been asked about at its tunnel.
                let at_tunnel = secure && rules.before_tunnel(&target, &[]) != Ok(None);
                prop_assert!(at_tunnel || got == Err(Denied::Asked), "{got:?}");
            }
        }
        match (named.tunnel(&target), rules.tunnel(&target)) {
            // Its requests are seen and asked about, where not all of it is.
            (Ok(Through::Inspected), Ok(Through::Inspected)) => {}
            (Ok(named), got) => prop_assert_eq!(got, Err(Denied::Asked), "{:?}", named),
            (Err(_), _) => {}
        }
        // Nothing is asked about where no asking rule is about the host, and nothing more is let through.
        let plain = sighted(self::rules(&texts(&allowed)));
        if named.before_all(&target) {
            prop_assert_eq!(plain.tunnel(&target), rules.tunnel(&target));
        }
        // Whatever was said of other things, a no to this host is one.
        let mut told = rules;
        for text in texts(&said) {
            told = self::said(told, text, true);
        }
        let told = self::said(told, host, false);
        prop_assert_eq!(told.tunnel(&target), Err(Denied::Said));
    }
}

const TEXTS: [&str; 8] = [
    "a.example.org",
    "*.example.org",
    "https://b.example.org",
    "http://a.example.org",
    "POST https://a.example.org/v1/**",
    "GET http://*.example.org/**",
    "tcp://a.example.org:443",
    "tcp://b.example.org:5432",
];

impl Rules {
    /// Whether none of its rules is about the target.
    fn before_all(&self, target: &Target) -> bool {
        !self.rules.iter().any(|rule| rule.touches(target))
    }
}

/// A request, and the way that it goes.
type Asked = (Target, bool, &'static str, &'static str);

/// All requests of a small world.
fn world() -> Vec<Asked> {
    let mut all = Vec::new();
    for host in ["a.example.org", "b.example.org", "other.example"] {
        for port in [80, 443, 5432] {
            for secure in [false, true] {
                for method in ["GET", "POST"] {
                    for path in ["/", "/v1/x", "/V1/x"] {
                        all.push((target(&format!("{host}:{port}")), secure, method, path));
                    }
                }
            }
        }
    }
    all
}

/// Whether a request gets out without anybody being asked, on whatever way.
fn gets_out(rules: &Rules, (target, secure, method, path): &Asked) -> bool {
    let tunnel = rules.tunnel(target);
    let is_sent = || rules.request(target, *secure, method, path).is_ok();
    match (secure, tunnel) {
        (_, Ok(Through::Raw)) | (true, Ok(Through::Tls)) => true,
        (true, Ok(Through::Inspected)) | (false, _) => is_sent(),
        (true, Err(_)) => false,
    }
}

/// What people are asked when a request is made, if they are, also about a host that no rule names.
fn question(rules: &Rules, (target, secure, method, path): &Asked) -> Option<Rule> {
    let at = |scheme, usual| Some(Rule::at(scheme, target, usual));
    let about_request = || match rules.before_request((target, *secure), (method, path), &[]) {
        Ok(Some(rule)) => Some(rule),
        Ok(None) => match rules.allowed_request(target, *secure, method, path) {
            Err(Denied::Host | Denied::Port) if !secure => at("http", 80),
            _ => None,
        },
        Err(_) => None,
    };
    if !secure {
        return about_request();
    }
    match rules.before_tunnel(target, &[]) {
        Ok(Some(rule)) => Some(rule),
        Ok(None) => match rules.allowed_through(target) {
            Ok(Through::Inspected) => about_request(),
            Err(Denied::Host | Denied::Port) => at("https", 443),
            _ => None,
        },
        Err(_) => None,
    }
}

/// Whether a question names a request.
fn names(question: &Rule, (target, secure, method, path): &Asked) -> bool {
    let is_raw = question.names(&target.host) && question.lets_bytes(target.port);
    is_raw || question.lets(target, *secure) && question.is_about(method, path) == Ok(true)
}

const MORE: [&str; 13] = [
    "a.example.org",
    "*.example.org",
    "https://b.example.org",
    "http://a.example.org",
    "POST https://a.example.org/v1/**",
    "POST https://*.example.org",
    "GET http://*.example.org/**",
    "GET http://a.example.org/v1/**",
    "GET https://a.example.org/v1/**",
    "GET https://a.example.org:5432/**",
    "https://*.example.org/v1/**",
    "tcp://a.example.org:443",
    "tcp://b.example.org:5432",
];

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(600))]
    #[test]
    fn a_yes_opens_what_its_question_named_and_no_part_of_a_host_more_than_the_rules_allow(
        allowed in vec(0..MORE.len(), 0..4),
        asks in vec(0..MORE.len(), 0..3),
        made in vec(0..world().len(), 1..4),
        sees: bool,
        once: bool,
    ) {
        let texts = |chosen: &[usize]| chosen.iter().map(|at| MORE[*at]).collect::<Vec<_>>();
        let sighted = |rules: Rules| if sees { rules.seeing(Vec::new()) } else { rules };
        let plain = sighted(self::rules(&texts(&allowed)));
        let mut rules = sighted(asked(&texts(&allowed), &texts(&asks)));
        let mut answered: Vec<Rule> = Vec::new();
        for made in made {
            let Some(question) = question(&rules, &world()[made]) else { continue };
            rules = match once {
                true => rules.answered(std::slice::from_ref(&question)),
                false => said(rules, &question.to_string(), true),
            };
            answered.push(question);
        }
        for request in world() {
            if !gets_out(&rules, &request) || gets_out(&plain, &request) {
                continue;
            }
            let named = answered.iter().filter(|question| names(question, &request));
            let opening: Vec<_> = named.filter(|question| !plain.allow_a_part(question, &request.0)).collect();
            prop_assert!(!opening.is_empty(), "{request:?} gets out by {answered:?}");
        }
    }

    #[test]
    fn a_no_to_a_part_closes_that_part_and_nothing_else(
        allowed in vec(0..MORE.len(), 0..4),
        part in 0..MORE.len(),
        asks: bool,
        sees: bool,
    ) {
        let texts: Vec<&str> = allowed.iter().map(|at| MORE[*at]).collect();
        let asks = if asks { &MORE[part..=part] } else { &[] };
        let sighted = |rules: Rules| if sees { rules.seeing(Vec::new()) } else { rules };
        let before = sighted(asked(&texts, asks));
        let rule: Rule = MORE[part].parse().unwrap();
        if rule.is_whole_host() {
            return Ok(());
        }
        let never = rule.of_host(&target("a.example.org:443").host);
        let after = said(before.clone(), &never.to_string(), false);
        for request in world() {
            let (target, secure, method, path) = &request;
            if names(&never, &request) {
                prop_assert!(!gets_out(&after, &request), "{request:?}");
                prop_assert_eq!(after.before_request((target, *secure), (method, path), &[]), Err(Denied::Said));
                continue;
            }
            prop_assert!(gets_out(&before, &request) || !gets_out(&after, &request), "{request:?}");
            // What is not seen cannot be told apart, and is kept out with it.
            let is_told_apart = !secure || sees;
            if is_told_apart && before.ruled_through(target) != Ok(Through::Raw) {
                prop_assert_eq!(gets_out(&after, &request), gets_out(&before, &request), "{:?}", request);
                prop_assert!(!after.keep_out(target));
            }
        }
    }
}

#[test]
fn a_yes_to_a_host_leaves_closed_what_a_narrower_rule_leaves_closed() {
    let rules = asked(&["GET https://api.example.org/repos/**"], &["api.example.org"]).seeing(Vec::new());
    let api = target("api.example.org:443");
    assert_eq!(rules.tunnel(&api), Err(Denied::Asked));
    let yes = rules.before_tunnel(&api, &[]).unwrap().unwrap();
    assert_eq!(yes.to_string(), "https://api.example.org");
    for told in [said(rules.clone(), "https://api.example.org", true), rules.answered(&[yes])] {
        assert_eq!(told.allowed_through(&api), Ok(Through::Inspected));
        assert_eq!(told.allowed_request(&api, true, "GET", "/repos/x"), Ok(Permit::Whole));
        assert_eq!(told.allowed_request(&api, true, "POST", "/repos/x"), Err(Denied::Request));
        assert_eq!(told.allowed_request(&api, true, "GET", "/user"), Err(Denied::Request));
    }
    // What people let in unasked is meant as it stands.
    let rule = "https://api.example.org".parse().unwrap();
    let let_in = rules.with([Change { rule, allowed: true, is_answer: false }]);
    assert_eq!(let_in.request(&api, true, "POST", "/user"), Ok(Permit::Whole));
    // Where no rule allows a part, the yes is to all that was asked about.
    let alone = said(asked(&[], &["api.example.org"]), "https://api.example.org", true);
    assert_eq!(alone.tunnel(&api), Ok(Through::Tls));
    // And a yes to a part is one to that part, whatever else is allowed.
    let part =
        asked(&["GET https://api.example.org/**"], &["POST https://api.example.org/**"]).seeing(Vec::new());
    let told = said(part, "POST https://api.example.org/**", true);
    assert_eq!(told.request(&api, true, "POST", "/x"), Ok(Permit::Whole));
    assert_eq!(told.request(&api, true, "DELETE", "/x"), Err(Denied::Request));
}

#[test]
fn a_no_to_a_part_holds_in_runs_that_do_not_ask_and_keeps_no_host_out() {
    let never = "POST https://api.example.org/v1/**";
    let api = target("api.example.org:443");
    let run = said(rules(&["api.example.org"]), never, false);
    // Where requests are not seen there is no telling: nothing goes through.
    assert_eq!(run.tunnel(&api), Err(Denied::Said));
    assert_eq!(run.request(&target("api.example.org:80"), false, "POST", "/v1/x"), Ok(Permit::Whole));
    let run = run.seeing(Vec::new());
    assert_eq!(run.tunnel(&api), Ok(Through::Inspected));
    assert_eq!(run.request(&api, true, "POST", "/v1/x"), Err(Denied::Said));
    assert!(matches!(run.request(&api, true, "POST", "/v1/../v1/x"), Err(Denied::Path(_))));
    assert_eq!(run.request(&api, true, "GET", "/v1/x"), Ok(Permit::Whole));
    assert!(run.is_by_request(&api, true) && !run.keep_out(&api));
    assert_eq!(run.tunnel(&target("www.example.org:443")), Err(Denied::Host));
    // Let in again by name, it is.
    let again = said(run.clone(), never, true);
    assert_eq!(again.request(&api, true, "POST", "/v1/x"), Ok(Permit::Whole));
    let host = said(run, "https://api.example.org", true);
    assert_eq!(host.request(&api, true, "POST", "/v1/x"), Err(Denied::Said), "the host is not the part");
}

//! Rules that say what people are asked about, although another rule allows it.
//!
//! Owns which of them stands before a tunnel or a request, and what a yes to it stands for. Who is asked is
//! [`crate::ask`]'s.

use super::path::Segments;
use super::rule::Rule;
use super::{Change, Denied, Rules, Through};
use crate::host::Target;

impl Rules {
    /// The rule that a tunnel to `target` waits for, as what a yes stands for; `answered` are those that people have
    /// said yes to for this very connection.
    ///
    /// # Errors
    /// That they keep it out.
    pub fn before_tunnel(&self, target: &Target, answered: &[Rule]) -> Result<Option<Rule>, Denied> {
        if self.keep_out(target) {
            return Err(Denied::Said);
        }
        let through = self.allowed_through(target).ok();
        let is_seen = through == Some(Through::Inspected);
        for ask in self.asks.iter().filter(|ask| ask.touches(target)) {
            let stands = match () {
                // It is judged request by request.
                () if !ask.is_whole_host() => !is_seen && through.is_some(),
                // Over a tunnel of any bytes goes everything; else it is no way through the tunnel.
                () => ask.through(target, true).is_some() || through == Some(Through::Raw),
            };
            if stands && let Some(rule) = self.open(whole_at(target, ask, through), target, answered)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    /// The rule that a request waits for; as [`Rules::before_tunnel`]. A request of TLS has come through a tunnel
    /// already, and what names its whole host is behind it.
    ///
    /// # Errors
    /// That people keep it out, or that its path could be read in two ways where a rule names paths.
    pub fn before_request(
        &self,
        (target, secure): (&Target, bool),
        (method, path): (&str, &str),
        answered: &[Rule],
    ) -> Result<Option<Rule>, Denied> {
        if self.keep_out(target) {
            return Err(Denied::Said);
        }
        for ask in self.asks.iter().filter(|ask| ask.lets(target, secure)) {
            if ask.is_whole_host() {
                if secure {
                    continue;
                }
                let rule = Rule::at("http", target, 80);
                if let Some(rule) = self.open(rule, target, answered)? {
                    return Ok(Some(rule));
                }
                continue;
            }
            // What a body asks for is not looked at: each request to this path is asked about.
            let fits = match ask.is_by_method() {
                true => ask.lets_method(method),
                false => ask.asks_about(method, &Segments::read(path).map_err(Denied::Path)?),
            };
            if fits && let Some(rule) = self.open(ask.of_host(&target.host), target, answered)? {
                return Ok(Some(rule));
            }
        }
        Ok(None)
    }

    /// `rule`, unless people have said yes to it: to the connection at hand, or since the run began.
    fn open(&self, rule: Rule, target: &Target, answered: &[Rule]) -> Result<Option<Rule>, Denied> {
        let is_same = |other: &Rule| other.to_string() == rule.to_string();
        if answered.iter().any(is_same) {
            return Ok(None);
        }
        for Change { rule: said, allowed } in self.changes.iter().rev() {
            // A whole host that was let in is no answer about a part that is asked about by itself.
            let is_answer = is_same(said) || rule.is_whole_host() && said.covers(&rule);
            match allowed {
                true if is_answer => return Ok(None),
                false if is_answer || said.is_whole_host() && said.keeps_out(target) => {
                    return Err(Denied::Said);
                }
                _ => {}
            }
        }
        Ok(Some(rule))
    }

    /// Whether requests to `target` are asked about by what their method and path are.
    pub(super) fn asks_by_request(&self, target: &Target, secure: bool) -> bool {
        self.asks.iter().any(|ask| !ask.is_whole_host() && ask.lets(target, secure))
    }

    /// How a tunnel is let through to which people have said yes.
    pub fn said_through(&self, target: &Target) -> Through {
        match self.allowed_through(target) {
            Ok(through) => through,
            Err(_) if self.see(target) => Through::Inspected,
            Err(_) if self.asks.iter().any(|ask| ask.through(target, false) == Some(Through::Raw)) => {
                Through::Raw
            }
            Err(_) => Through::Tls,
        }
    }

    /// Whether it is the answer about a part of a host that is asked about.
    pub(super) fn is_asked_part(&self, rule: &Rule) -> bool {
        let is_its = |ask: &Rule| match rule.host() {
            Some(host) => ask.names(host) && ask.of_host(host).to_string() == rule.to_string(),
            None => ask == rule,
        };
        !rule.is_whole_host() && self.asks.iter().any(is_its)
    }
}

/// The rule that a yes to a tunnel stands for: this host and port, by the way that the tunnel is made for.
fn whole_at(target: &Target, ask: &Rule, through: Option<Through>) -> Rule {
    match through.or_else(|| ask.through(target, false)) {
        Some(Through::Raw) => Rule::at("tcp", target, 0),
        _ => Rule::at("https", target, 443),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Permit;
    use super::super::tests::{rules, target};
    use super::*;

    fn asked(rules: &[&str], asks: &[&str]) -> Rules {
        self::rules(rules).asking(asks.iter().map(|ask| ask.parse().unwrap()).collect())
    }

    fn said(rules: Rules, rule: &str, allowed: bool) -> Rules {
        rules.with([Change { rule: rule.parse().unwrap(), allowed }])
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
        assert_eq!(
            told.request(&plain, false, "GET", "/"),
            Err(Denied::Asked),
            "another way is another thing"
        );
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
        assert!(rules.is_by_request(&api, true, true), "headers that name another method are refused");
        let yes = rules.before_request((&api, true), ("POST", "/v1/x"), &[]).unwrap().unwrap();
        assert_eq!(
            yes.to_string(),
            "POST https://api.example.org/v1/**",
            "of this host, and of no other below"
        );
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

    proptest::proptest! {
        #[test]
        fn an_ask_rule_is_never_passed_without_a_question(
            allowed in proptest::collection::vec(0..TEXTS.len(), 0..4),
            asks in proptest::collection::vec(0..TEXTS.len(), 1..4),
            said in proptest::collection::vec(0..TEXTS.len(), 0..3),
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
                    proptest::prop_assert!(at_tunnel || got == Err(Denied::Asked), "{got:?}");
                }
            }
            match (named.tunnel(&target), rules.tunnel(&target)) {
                // Its requests are seen and asked about, where not all of it is.
                (Ok(Through::Inspected), Ok(Through::Inspected)) => {}
                (Ok(named), got) => proptest::prop_assert_eq!(got, Err(Denied::Asked), "{:?}", named),
                (Err(_), _) => {}
            }
            // Nothing is asked about where no asking rule is about the host, and nothing more is let through.
            let plain = sighted(self::rules(&texts(&allowed)));
            if named.before_all(&target) {
                proptest::prop_assert_eq!(plain.tunnel(&target), rules.tunnel(&target));
            }
            // Whatever was said of other things, a no to this host is one.
            let mut told = rules;
            for text in texts(&said) {
                told = self::said(told, text, true);
            }
            let told = self::said(told, host, false);
            proptest::prop_assert_eq!(told.tunnel(&target), Err(Denied::Said));
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
}

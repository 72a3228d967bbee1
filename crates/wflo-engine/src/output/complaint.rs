//! Whether a program that has failed says that it found no network.
//!
//! Without one the cause looks like broken name servers. `python/wflo/runner/hints.py` and
//! `node/runner/failure.mjs` do the same for exceptions of steps, whose types they see.

/// So many lines at the end are looked at: what failed stands there, below or above a traceback.
const LOOKED_AT: u64 = 40;

/// What programs say, in English, when a name is not resolved or there is no way to an address.
const SAID: [&str; 10] = [
    "name or service not known",
    "temporary failure in name resolution",
    "getaddrinfo enotfound",
    "getaddrinfo eai_again",
    "could not resolve host",
    "unable to resolve host",
    "failed to resolve",
    "failed to lookup address",
    "no such host",
    "network is unreachable",
];

/// The last lines of a program, as far as they are needed.
#[derive(Default)]
pub(super) struct LastLines {
    lines: u64,
    /// Which of them was the last to say so, from 1.
    said: Option<u64>,
}

impl LastLines {
    pub(super) fn push(&mut self, line: &str) {
        self.lines += 1;
        let line = line.to_lowercase();
        // What the gateway says of a provider is another thing, and has its own hint.
        if !line.contains("wflo-4") && SAID.iter().any(|said| line.contains(said)) {
            self.said = Some(self.lines);
        }
    }

    pub(super) fn name_no_network(&self) -> bool {
        self.said.is_some_and(|said| self.lines - said < LOOKED_AT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says_so(lines: &[&str]) -> bool {
        let mut last = LastLines::default();
        lines.iter().for_each(|line| last.push(line));
        last.name_no_network()
    }

    #[test]
    fn the_words_of_resolvers_are_known_among_the_last_lines() {
        for line in [
            "socket.gaierror: [Errno -2] Name or service not known",
            "curl: (6) Could not resolve host: api.example.org",
            "Error: getaddrinfo EAI_AGAIN api.example.org",
            "dial tcp: lookup api.example.org: no such host",
        ] {
            assert!(says_so(&["before", line, "after"]), "{line}");
        }
        assert!(!says_so(&["ValueError: no"]));
        let long: Vec<&str> = ["Name or service not known"].into_iter().chain(["later"; 40]).collect();
        assert!(!says_so(&long), "it went on after that");
    }

    #[test]
    fn what_wflo_says_of_a_provider_is_not_taken_for_it() {
        let told =
            "the provider `openai` could not be reached: dns error: Name or service not known [WFLO-4008]";
        assert!(!says_so(&[told]));
    }
}

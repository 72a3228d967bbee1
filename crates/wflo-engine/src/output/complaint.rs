//! What a program that has failed says of its sandbox without knowing it.
//!
//! Without a network the cause looks like broken name servers, and a full disk like the machine's own.
//! `python/wflo/runner/hints.py` and `node/runner/failure.mjs` do the same for exceptions of steps, whose types they
//! see.

/// So many lines at the end are looked at: what failed stands there, below or above a traceback.
const LOOKED_AT: u64 = 40;

/// What a program says that it misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// It found no network.
    Network,
    /// It found no room on a disk.
    Space,
    /// Git does not know who commits.
    Identity,
    /// Git's own files are not in the project.
    GitFolder,
}

/// What programs say, in English, when a name is not resolved or there is no way to an address.
const NO_NETWORK: [&str; 11] = [
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
    "enetunreach",
];

/// What curl says of an address, whatever the cause.
const NOT_CONNECTED: [&str; 2] = ["couldn't connect to server", "could not connect to server"];
/// What a sandbox does reach.
const OWN: [&str; 4] = [" localhost ", " 127.0.0.1 ", " ::1 ", " [::1] "];

/// What they say of a full disk, or of one without room for a further file.
const NO_SPACE: [&str; 3] = ["no space left on device", "enospc", "disk quota exceeded"];

/// What Git says without a name for its user.
const NO_IDENTITY: [&str; 2] = ["please tell me who you are", "author identity unknown"];

/// What it says where a linked worktree leads to nothing; without the colon there is none at all.
const NO_GIT_FOLDER: [&str; 1] = ["fatal: not a git repository: "];

impl Complaint {
    /// What this line says, if it says one.
    fn of(line: &str) -> Option<Complaint> {
        let line = line.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|said| line.contains(said));
        match line {
            // What the gateway says of a provider is another thing, and has its own hint.
            _ if line.contains("wflo-4") => None,
            _ if says(&NO_NETWORK) => Some(Complaint::Network),
            _ if says(&NOT_CONNECTED) && !says(&OWN) => Some(Complaint::Network),
            _ if says(&NO_SPACE) => Some(Complaint::Space),
            _ if says(&NO_IDENTITY) => Some(Complaint::Identity),
            _ if says(&NO_GIT_FOLDER) => Some(Complaint::GitFolder),
            _ => None,
        }
    }

    /// What the last lines of this text say.
    pub(crate) fn of_text(text: &str) -> Option<Complaint> {
        let mut last = LastLines::default();
        text.lines().for_each(|line| last.push(line));
        last.complaint()
    }
}

/// The last lines of a program, as far as they are needed.
#[derive(Default)]
pub(super) struct LastLines {
    lines: u64,
    /// Which of them was the last to complain, from 1.
    said: Option<(u64, Complaint)>,
}

impl LastLines {
    pub(super) fn push(&mut self, line: &str) {
        self.lines += 1;
        if let Some(complaint) = Complaint::of(line) {
            self.said = Some((self.lines, complaint));
        }
    }

    pub(super) fn complaint(&self) -> Option<Complaint> {
        self.said.filter(|(said, _)| self.lines - said < LOOKED_AT).map(|(_, complaint)| complaint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_resolvers_are_known_among_the_last_lines() {
        for line in [
            "socket.gaierror: [Errno -2] Name or service not known",
            "curl: (7) Failed to connect to 93.184.216.34 port 80 after 0 ms: Couldn't connect to server",
            "Error: connect ENETUNREACH 93.184.216.34:80",
            "curl: (6) Could not resolve host: api.example.org",
            "Error: getaddrinfo EAI_AGAIN api.example.org",
            "dial tcp: lookup api.example.org: no such host",
        ] {
            let said = Complaint::of_text(&format!("before\n{line}\nafter"));
            assert_eq!(said, Some(Complaint::Network), "{line}");
        }
        assert_eq!(Complaint::of_text("ValueError: no"), None);
        let own = "curl: (7) Failed to connect to localhost port 8000 after 0 ms: Couldn't connect to server";
        assert_eq!(Complaint::of_text(own), None, "its own server is not there");
        let long = format!("Name or service not known\n{}", "later\n".repeat(40));
        assert_eq!(Complaint::of_text(&long), None, "it went on after that");
    }

    #[test]
    fn a_full_disk_is_known_and_the_last_complaint_counts() {
        for line in [
            "OSError: [Errno 28] No space left on device: 'out.bin'",
            "Error: ENOSPC: no space left on device, write",
            "cp: error writing 'x': Disk quota exceeded",
        ] {
            assert_eq!(Complaint::of_text(line), Some(Complaint::Space), "{line}");
        }
        let both = "no such host\nNo space left on device\n";
        assert_eq!(Complaint::of_text(both), Some(Complaint::Space));
    }

    #[test]
    fn what_git_misses_is_known() {
        let identity = "Author identity unknown\n\n*** Please tell me who you are.\n\nRun\n";
        assert_eq!(Complaint::of_text(identity), Some(Complaint::Identity));
        let linked = "fatal: not a git repository: /home/ada/p/.git/worktrees/w";
        assert_eq!(Complaint::of_text(linked), Some(Complaint::GitFolder));
        let none = "fatal: not a git repository (or any of the parent directories): .git";
        assert_eq!(Complaint::of_text(none), None, "there is none outside either");
    }

    #[test]
    fn what_wflo_says_of_a_provider_is_not_taken_for_it() {
        let told =
            "the provider `openai` could not be reached: dns error: Name or service not known [WFLO-4008]";
        assert_eq!(Complaint::of_text(told), None);
    }
}

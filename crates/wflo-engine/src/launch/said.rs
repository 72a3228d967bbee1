//! What was said by hand about hosts: when a run was started, and while it and those that it retries went on.
//!
//! Owns what of that a retry takes over. How it counts against rules is `wflo-egress`'s.

use serde::{Deserialize, Serialize};
use wflo_core::machine::HostChange;
use wflo_egress::rules::Rule;

use super::Launch;

/// What whoever starts a run says of the network by hand, beside the settings. A retry takes it over, and no more: the
/// settings may have changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ByHand {
    /// Hosts that steps may reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_hosts: Vec<String>,
    /// Addresses that those may stand for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// What people are asked about although a rule allows it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ask_rules: Vec<String>,
    /// People are asked about other hosts.
    pub ask_hosts: bool,
}

/// A host that was let in, or kept out, while a run went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The host, as a rule.
    pub rule: String,
    /// Whether it may be reached.
    pub allowed: bool,
}

impl Launch {
    /// What a retry takes over of this run, to which `since` was said: of the network what was said by hand. What the
    /// settings said then is left to those of today; of a run of before it cannot be told from the rest, which is kept.
    #[must_use]
    pub fn taken_over(mut self, since: &[HostChange]) -> Launch {
        self.said_hosts = self.said_with(since);
        if let Some(by_hand) = &self.by_hand {
            self.allow_hosts.clone_from(&by_hand.allow_hosts);
            self.allow_addresses.clone_from(&by_hand.allow_addresses);
            self.ask_rules.clone_from(&by_hand.ask_rules);
            self.ask_hosts = self.ask_hosts.filter(|_| by_hand.ask_hosts);
        }
        self
    }

    /// What people have said of hosts unasked, to the runs that this one retries and to this one, each host once and the
    /// latest last. Answers are not among it, as people are asked again; a no takes back what was let in before it, and
    /// stands with what lets in more than it: that would be asked about no more.
    #[must_use]
    pub fn said_with(&self, since: &[HostChange]) -> Vec<Said> {
        let mut said = self.said_hosts.clone();
        for HostChange { rule, allowed, is_answer } in since {
            if *is_answer {
                if !*allowed {
                    said.retain(|known| !known.allowed || !covers(rule, &known.rule));
                    if said.iter().any(|known| known.allowed && covers(&known.rule, rule)) {
                        said.push(Said { rule: rule.clone(), allowed: false });
                    }
                }
                continue;
            }
            said.retain(|known| known.rule != *rule);
            said.push(Said { rule: rule.clone(), allowed: *allowed });
        }
        said
    }

    /// Whether a host was let in by that.
    #[must_use]
    pub fn lets_in(&self) -> bool {
        self.said_hosts.iter().any(|said| said.allowed)
    }
}

/// Whether all that `less` names is named by `more`.
fn covers(more: &str, less: &str) -> bool {
    let read = |text: &str| text.parse::<Rule>().ok();
    more == less || read(more).zip(read(less)).is_some_and(|(more, less)| more.covers(&less))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wflo_core::size::Millis;

    use super::super::Limits;
    use super::*;

    /// A launch with what is said of its network.
    fn launch(network: serde_json::Value) -> Launch {
        let mut all = json!({
            "project": "/p", "workflow": null, "interpreter": null, "sealed": "", "sandbox": Limits::default(),
            "env": [], "ro": [], "rw": [], "hide": [], "require_kernel": false,
        });
        all.as_object_mut().unwrap().extend(network.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn change(rule: &str, allowed: bool, is_answer: bool) -> HostChange {
        HostChange { rule: rule.to_owned(), allowed, is_answer }
    }

    #[test]
    fn a_retry_takes_over_what_was_said_by_hand_and_nothing_of_the_settings() {
        let network = json!({
            "allow_hosts": ["settings.example", "hand.example"], "allow_addresses": ["10.0.0.0/8"],
            "ask_rules": ["asked.example"], "ask_hosts": Millis(10_000),
        });
        let mut new = network.clone();
        new["by_hand"] = json!({ "allow_hosts": ["hand.example"] });
        let taken = launch(new).taken_over(&[]);
        assert_eq!(taken.allow_hosts, ["hand.example"]);
        assert!(taken.allow_addresses.is_empty() && taken.ask_rules.is_empty() && taken.ask_hosts.is_none());
        let mut asking = network.clone();
        asking["by_hand"] = json!({ "ask_rules": ["asked.example"], "ask_hosts": true });
        let taken = launch(asking).taken_over(&[]);
        assert!(taken.allow_hosts.is_empty() && taken.ask_hosts.is_some());
        assert_eq!(taken.ask_rules, ["asked.example"]);
        // A run of before does not know what came from where.
        assert_eq!(launch(network.clone()).taken_over(&[]), launch(network));
    }

    #[test]
    fn what_was_said_unasked_goes_from_retry_to_retry_and_answers_do_not() {
        let said = |rule: &str, allowed| Said { rule: rule.to_owned(), allowed };
        let first = launch(json!({})).taken_over(&[
            change("a.example", true, false),
            change("b.example", false, false),
            change("c.example", true, true),
            change("d.example", false, true),
        ]);
        assert_eq!(first.said_hosts, [said("a.example", true), said("b.example", false)]);
        assert!(first.lets_in());
        let second = first.taken_over(&[
            // A yes lifts nothing that was kept out unasked; a no takes back what was let in.
            change("b.example", true, true),
            change("a.example", false, true),
            change("e.example", true, false),
        ]);
        assert_eq!(second.said_hosts, [said("b.example", false), said("e.example", true)]);
        // A no to less than what was let in stands beside it.
        let narrowed = second.clone().taken_over(&[change("https://e.example", false, true)]);
        assert_eq!(narrowed.said_hosts[1..], [said("e.example", true), said("https://e.example", false)]);
        let third = second.taken_over(&[change("b.example", true, false)]);
        assert_eq!(third.said_hosts, [said("e.example", true), said("b.example", true)]);
    }
}

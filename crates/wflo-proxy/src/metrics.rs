//! What is counted, and how Prometheus reads it. Every name of a metric stands in this file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::keys::Client;
use crate::spending::End;

const REQUESTS: &str = "wflo_gateway_requests_total";
const TOKENS: &str = "wflo_gateway_tokens_total";
const COST: &str = "wflo_gateway_cost_usd_total";
const UNCERTAIN: &str = "wflo_gateway_uncertain_calls_total";
const REFUSALS: &str = "wflo_gateway_refusals_total";
const UNSTORABLE: &str = "wflo_gateway_unstorable_folds_total";
const OVERSHOOTS: &str = "wflo_gateway_overshoots_total";
const RUNNING: &str = "wflo_gateway_running_calls";
const CONNECTIONS: &str = "wflo_gateway_connections";
const ADDED: &str = "wflo_gateway_added_latency_seconds";

/// Upper bounds of the added latency's buckets, in microseconds.
const BUCKETS: [u64; 13] = [25, 50, 75, 100, 150, 200, 300, 500, 1_000, 2_500, 10_000, 100_000, 1_000_000];

/// What one key came to.
#[derive(Debug, Default, Clone, Copy)]
struct OfKey {
    input_tokens: u64,
    output_tokens: u64,
    cost_nanos: i128,
}

/// The counters of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By the first digit of the status.
    statuses: [AtomicU64; 6],
    keys: Mutex<BTreeMap<String, OfKey>>,
    uncertain: AtomicU64,
    refusals: Mutex<BTreeMap<&'static str, u64>>,
    connections: AtomicI64,
    buckets: [AtomicU64; BUCKETS.len() + 1],
    added_us: AtomicU64,
}

impl Metrics {
    /// A request was answered with this status.
    pub(crate) fn answered(&self, status: u16) {
        if let Some(counter) = self.statuses.get(usize::from(status / 100)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call was settled.
    pub(crate) fn settled(&self, end: &End, client: Option<&Client>) {
        self.uncertain.fetch_add(u64::from(end.uncertain), Ordering::Relaxed);
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let name = client.map_or("", Client::name);
        if !keys.contains_key(name) {
            keys.insert(name.to_owned(), OfKey::default());
        }
        if let Some(of) = keys.get_mut(name) {
            of.input_tokens = of.input_tokens.saturating_add(end.input_tokens);
            of.output_tokens = of.output_tokens.saturating_add(end.output_tokens);
            of.cost_nanos += i128::from(end.cost.nanos());
        }
    }

    /// A call was refused.
    pub(crate) fn refused(&self, why: &'static str) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
    }

    /// A connection came (1) or went (-1).
    pub(crate) fn connections(&self, change: i64) {
        self.connections.fetch_add(change, Ordering::Relaxed);
    }

    /// So long the gateway itself took for a call.
    pub(crate) fn added(&self, micros: u64) {
        let at = BUCKETS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKETS.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.added_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn render(&self, running: usize, overshoots: u64, unstorable: u64) -> String {
        let mut out = String::new();
        head(&mut out, REQUESTS, "counter", "Requests answered, by the class of their status.");
        for (class, counter) in self.statuses.iter().enumerate().skip(1) {
            line(&mut out, REQUESTS, &format!("status=\"{class}xx\""), counter.load(Ordering::Relaxed));
        }
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        head(&mut out, TOKENS, "counter", "Tokens of settled calls, by key and direction.");
        for (key, of) in &keys {
            let key = escaped(key);
            for (direction, tokens) in [("input", of.input_tokens), ("output", of.output_tokens)] {
                line(&mut out, TOKENS, &format!("key=\"{key}\",direction=\"{direction}\""), tokens);
            }
        }
        head(&mut out, COST, "counter", "What settled calls were charged, in USD, by key.");
        for (key, of) in &keys {
            let (whole, nanos) = (of.cost_nanos / 1_000_000_000, of.cost_nanos % 1_000_000_000);
            line(&mut out, COST, &format!("key=\"{}\"", escaped(key)), format_args!("{whole}.{nanos:09}"));
        }
        head(&mut out, UNCERTAIN, "counter", "Calls whose bill is not known and whose hold was charged.");
        line(&mut out, UNCERTAIN, "", self.uncertain.load(Ordering::Relaxed));
        head(&mut out, REFUSALS, "counter", "Calls that were refused, by what refused them.");
        for (why, count) in self.refusals.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            line(&mut out, REFUSALS, &format!("by=\"{why}\""), count);
        }
        head(&mut out, OVERSHOOTS, "counter", "Calls billed above their upper bound. An alarm: it stays 0.");
        line(&mut out, OVERSHOOTS, "", overshoots);
        head(&mut out, UNSTORABLE, "counter", "Folds stored only as a sum. An alarm: it stays 0.");
        line(&mut out, UNSTORABLE, "", unstorable);
        head(&mut out, RUNNING, "gauge", "Calls under way.");
        line(&mut out, RUNNING, "", running);
        head(&mut out, CONNECTIONS, "gauge", "Connections that clients hold open.");
        line(&mut out, CONNECTIONS, "", self.connections.load(Ordering::Relaxed));
        self.histogram(&mut out);
        out
    }

    fn histogram(&self, out: &mut String) {
        head(
            out,
            ADDED,
            "histogram",
            "What the gateway itself took: to the dispatch, and for the settlement.",
        );
        let mut below = 0;
        let bounds = BUCKETS.iter().map(|bound| seconds(*bound)).chain(["+Inf".to_owned()]);
        for (bound, bucket) in bounds.zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            line(out, &format!("{ADDED}_bucket"), &format!("le=\"{bound}\""), below);
        }
        line(out, &format!("{ADDED}_sum"), "", seconds(self.added_us.load(Ordering::Relaxed)));
        line(out, &format!("{ADDED}_count"), "", below);
    }
}

/// Microseconds as a decimal number of seconds.
fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use wflo_core::money::NanoUsd;

    #[test]
    fn what_was_counted_is_what_is_read() {
        let metrics = Metrics::default();
        metrics.answered(200);
        metrics.answered(402);
        metrics.refused("budget");
        metrics.added(80);
        metrics.added(2_000_000);
        let end = End {
            at_ms: 0,
            cost: NanoUsd::from_nanos(1_500_000_001),
            uncertain: true,
            status: 200,
            input_tokens: 7,
            cached_tokens: 0,
            output_tokens: 3,
            took_us: 1,
        };
        metrics.settled(&end, None);
        let text = metrics.render(2, 0, 0);
        for wanted in [
            "wflo_gateway_requests_total{status=\"2xx\"} 1\n",
            "wflo_gateway_requests_total{status=\"4xx\"} 1\n",
            "wflo_gateway_tokens_total{key=\"\",direction=\"input\"} 7\n",
            "wflo_gateway_cost_usd_total{key=\"\"} 1.500000001\n",
            "wflo_gateway_refusals_total{by=\"budget\"} 1\n",
            "wflo_gateway_overshoots_total 0\n",
            "wflo_gateway_running_calls 2\n",
            "wflo_gateway_added_latency_seconds_bucket{le=\"0.000075\"} 0\n",
            "wflo_gateway_added_latency_seconds_bucket{le=\"0.000100\"} 1\n",
            "wflo_gateway_added_latency_seconds_bucket{le=\"+Inf\"} 2\n",
            "wflo_gateway_added_latency_seconds_sum 2.000080\n",
        ] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
    }
}

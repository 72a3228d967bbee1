//! Prometheus' text format.

use std::fmt::{Display, Write as _};

use wflo_gateway::counts::Histogram;

/// A page that is being written.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    /// Begins a metric.
    pub(super) fn metric(&mut self, name: &'static str, kind: &'static str, help: &str) -> Metric<'_> {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Metric { page: &mut self.0, name }
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

/// One metric and its lines.
pub(super) struct Metric<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Metric<'_> {
    /// Its value.
    pub(super) fn is(&mut self, value: impl Display) {
        self.of(&[], value);
    }

    /// Its value under these labels.
    pub(super) fn of(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// A histogram's values under these labels.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let mut count = 0;
        for (bound, below) in histogram.below() {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), seconds);
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.line("_bucket", &labels, below);
            count = below;
        }
        self.line("_sum", labels, seconds(histogram.micros()));
        self.line("_count", labels, count);
    }

    fn line(&mut self, part: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.page, "{}{part}", self.name);
        for (nth, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.page, "{}{label}=\"{}\"", if nth == 0 { '{' } else { ',' }, escaped(text));
        }
        let _ = writeln!(self.page, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// Microseconds as a decimal number of seconds.
fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_label_ends_no_line_and_no_label() {
        let mut page = Page::default();
        page.metric("m", "gauge", "What.").of(&[("key", "a\"b\\c\nd"), ("x", "")], 1);
        assert_eq!(page.text(), "# HELP m What.\n# TYPE m gauge\nm{key=\"a\\\"b\\\\c\\nd\",x=\"\"} 1\n");
    }
}

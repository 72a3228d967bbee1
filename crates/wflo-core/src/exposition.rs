//! The text format that Prometheus and its like read, version 0.0.4.
//!
//! Owns how a page is written, its escapes and its numbers; what is counted, and under which names, is the
//! counter's. (<https://prometheus.io/docs/instrumenting/exposition_formats/>)

use std::fmt::{Display, Write as _};

/// The media type of a page.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page that is being written.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Begins a metric of a `kind`: `counter`, `gauge` or `histogram`. Its lines stand together, behind this.
    pub fn metric(&mut self, name: &'static str, kind: &'static str, help: &str) -> Metric<'_> {
        let _ = writeln!(self.0, "# HELP {name} {}\n# TYPE {name} {kind}", escaped(help));
        Metric { page: &mut self.0, name }
    }

    /// All of it.
    pub fn text(self) -> String {
        self.0
    }
}

/// One metric and its lines.
#[derive(Debug)]
pub struct Metric<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Metric<'_> {
    /// Its value.
    pub fn is(&mut self, value: impl Display) {
        self.of(&[], value);
    }

    /// Its value under these labels.
    pub fn of(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// A histogram of times under these labels: how many were at most a bound, in microseconds, the last of them
    /// `None`, and the sum of all in microseconds.
    pub fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        below: impl IntoIterator<Item = (Option<u64>, u64)>,
        sum: u64,
    ) {
        let mut count = 0;
        for (bound, below) in below {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), seconds);
            let labels: Vec<_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.line("_bucket", &labels, below);
            count = below;
        }
        self.line("_sum", labels, seconds(sum));
        self.line("_count", labels, count);
    }

    fn line(&mut self, part: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.page, "{}{part}", self.name);
        for (nth, (label, text)) in labels.iter().enumerate() {
            let text = escaped(text).replace('"', "\\\"");
            let _ = write!(self.page, "{}{label}=\"{text}\"", if nth == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.page, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// Microseconds as a decimal number of seconds.
pub fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Nano-USD as a decimal number of USD.
pub fn usd(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_label_ends_no_line_and_no_label() {
        let mut page = Page::default();
        page.metric("m", "gauge", "What\nthis.").of(&[("key", "a\"b\\c\nd"), ("x", "")], 1);
        assert_eq!(
            page.text(),
            "# HELP m What\\nthis.\n# TYPE m gauge\nm{key=\"a\\\"b\\\\c\\nd\",x=\"\"} 1\n"
        );
    }

    #[test]
    fn a_histogram_has_its_buckets_sum_and_count() {
        let mut page = Page::default();
        page.metric("t", "histogram", "T.").histogram(
            &[("a", "b")],
            [(Some(500_000), 1), (None, 3)],
            2_000_001,
        );
        let lines: Vec<_> = page.text().lines().skip(2).map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "t_bucket{a=\"b\",le=\"0.500000\"} 1",
                "t_bucket{a=\"b\",le=\"+Inf\"} 3",
                "t_sum{a=\"b\"} 2.000001",
                "t_count{a=\"b\"} 3"
            ]
        );
    }

    #[test]
    fn money_is_exact() {
        assert_eq!([usd(1_500_000_001), usd(-1), usd(0)], ["1.500000001", "-0.000000001", "0.000000000"]);
    }
}

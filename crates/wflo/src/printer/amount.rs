//! Money, time and sizes as people read them. JSON has its own exact forms.

use std::time::Duration;

use jiff::Timestamp;
use wflo_core::budget::{Amount, Measure};
use wflo_core::money::NanoUsd;
use wflo_core::resources::Resources;

/// `$1.25`, `$0.0021`, `$0`: exact to four significant digits below a cent, rounded up.
pub(crate) fn money(amount: NanoUsd) -> String {
    rounded(amount, u64::div_ceil)
}

fn rounded(amount: NanoUsd, by: impl Fn(u64, u64) -> u64) -> String {
    let nanos = amount.nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    if nanos == 0 {
        return "$0".to_owned();
    }
    // The unit of the last digit shown: a cent from ten cents on, else four digits.
    let unit = match nanos {
        100_000_000.. => 10_000_000,
        1_000_000.. => 100_000,
        1_000.. => 1_000,
        _ => 1,
    };
    let shown = by(nanos, unit) * unit;
    let amount = NanoUsd::from_nanos(i64::try_from(shown).unwrap_or(i64::MAX));
    format!("{sign}${amount}")
}

/// What may still be used: never more than there is, where [`amount`] never shows less.
pub(crate) fn room(measure: Measure, left: Amount) -> String {
    match measure {
        Measure::Cost if !left.money().is_negative() => rounded(left.money(), |nanos, unit| nanos / unit),
        measure => amount(measure, left),
    }
}

/// `$1.25`, `12 model calls`, `3 min 05 s`.
pub(crate) fn amount(measure: Measure, amount: Amount) -> String {
    match measure {
        Measure::Cost => money(amount.money()),
        Measure::Seconds => duration(Duration::from_millis(amount.units().unsigned_abs())),
        measure => measure.show(amount),
    }
}

/// A limit as it was set: `$0.104` and not `$0.11`.
pub(crate) fn limit(measure: Measure, limit: Amount) -> String {
    match measure {
        Measure::Cost => format!("${}", limit.money()),
        measure => amount(measure, limit),
    }
}

/// `2026-11-29T08:50:35Z`: to the second, in UTC.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `850 ms`, `2.4 s`, `3 min 05 s`, `2 h 10 min`.
pub(crate) fn duration(span: Duration) -> String {
    let millis = span.as_millis();
    let seconds = span.as_secs();
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", seconds, (millis % 1_000) / 100),
        60_000..3_600_000 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// `0.8 s of a core, 41.2 MB`: what is not known is left out.
pub(crate) fn resources(took: &Resources) -> String {
    let cpu = took.cpu_ms.map(|ms| format!("{} of a core", duration(Duration::from_millis(ms))));
    cpu.into_iter().chain(took.memory_peak_bytes.map(size)).collect::<Vec<_>>().join(", ")
}

/// `0 B`, `812 kB`, `12.3 MB`: decimal, as disks are sold and `ls -h --si` shows them.
pub(crate) fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_000 => return format!("{bytes} B"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    match bytes / unit {
        whole @ 0..100 => format!("{whole}.{} {name}", bytes % unit * 10 / unit),
        whole => format!("{whole} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_short_and_never_understated() {
        let shown = |text: &str| money(text.parse().unwrap());
        assert_eq!(shown("0"), "$0");
        assert_eq!(shown("10"), "$10.00");
        assert_eq!(shown("1.231"), "$1.24");
        assert_eq!(shown("0.0123411"), "$0.0124");
        assert_eq!(shown("0.000012"), "$0.000012");
        assert_eq!(shown("0.000000001"), "$0.000000001");
        assert_eq!(shown("-2.5"), "-$2.50");
    }

    #[test]
    fn what_is_left_is_never_overstated() {
        let shown = |text: &str| room(Measure::Cost, Amount::from(text.parse::<NanoUsd>().unwrap()));
        assert_eq!(shown("0.9995"), "$0.99");
        assert_eq!(shown("1"), "$1.00");
        assert_eq!(shown("0.0123499"), "$0.0123");
        assert_eq!(shown("0"), "$0");
    }

    #[test]
    fn a_limit_is_what_was_set() {
        let shown = |text: &str| limit(Measure::Cost, Amount::from(text.parse::<NanoUsd>().unwrap()));
        assert_eq!([shown("0.104"), shown("2"), shown("1.5")], ["$0.104", "$2.00", "$1.50"]);
    }

    #[test]
    fn a_moment_has_no_fractions() {
        assert_eq!(moment("2026-12-29T08:30:01.410832237Z".parse().unwrap()), "2026-12-29T08:30:01Z");
    }

    #[test]
    fn sizes_are_short() {
        let shown = [0, 999, 1_000, 12_345, 812_999, 12_345_678, 3_000_000_000].map(size);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "12.3 kB", "812 kB", "12.3 MB", "3.0 GB"]);
    }

    #[test]
    fn time_is_short() {
        let shown = |millis| duration(Duration::from_millis(millis));
        assert_eq!(shown(850), "850 ms");
        assert_eq!(shown(2_449), "2.4 s");
        assert_eq!(shown(185_000), "3 min 05 s");
        assert_eq!(shown(7_800_000), "2 h 10 min");
    }
}

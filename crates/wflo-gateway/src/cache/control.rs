//! What a request says of caching, by its `Cache-Control` (RFC 9111, 5.2.1).

use std::time::Duration;

use http::{HeaderMap, header};

/// The directives that count here; others are no business of this cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Control {
    /// Nothing of this call is kept, and no kept answer is given.
    pub(crate) no_store: bool,
    /// No kept answer is given; the new one is kept.
    pub(crate) no_cache: bool,
    /// No answer that is older is given.
    pub(crate) max_age: Option<Duration>,
    /// Nothing but a kept answer is wanted.
    pub(crate) only_if_cached: bool,
}

impl Control {
    pub(crate) fn read(headers: &HeaderMap) -> Control {
        let mut control = Control::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            let text = value.to_str().unwrap_or_default();
            for directive in text.split(',') {
                let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
                match name.trim().to_ascii_lowercase().as_str() {
                    "no-store" => control.no_store = true,
                    "no-cache" => control.no_cache = true,
                    "only-if-cached" => control.only_if_cached = true,
                    "max-age" => {
                        // An age that cannot be read is none that an answer may have (4.2.1).
                        let seconds = value.trim().trim_matches('"').parse::<u32>().unwrap_or(0);
                        let age = Duration::from_secs(u64::from(seconds));
                        control.max_age = Some(control.max_age.map_or(age, |other| other.min(age)));
                    }
                    _ => {}
                }
            }
        }
        control
    }

    /// Whether a kept answer may be given.
    pub(crate) fn reads(&self) -> bool {
        !self.no_store && !self.no_cache
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(values: &[&'static str]) -> Control {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_static(value));
        }
        Control::read(&headers)
    }

    #[test]
    fn directives_are_read_in_any_case_and_from_every_header() {
        assert_eq!(read(&[]), Control::default());
        let both = read(&["No-Cache, max-age=60", "ONLY-IF-CACHED,max-age=\"5\""]);
        assert!(both.no_cache && both.only_if_cached && !both.no_store);
        assert_eq!(both.max_age, Some(Duration::from_secs(5)));
        assert!(!read(&["no-store"]).reads() && !read(&["no-cache"]).reads() && read(&["max-age=1"]).reads());
        assert_eq!(read(&["private, no-transform, x"]), Control::default());
    }

    #[test]
    fn an_age_that_cannot_be_read_is_none() {
        for value in ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=99999999999999999999"] {
            assert_eq!(read(&[value]).max_age, Some(Duration::ZERO), "{value}");
        }
    }
}

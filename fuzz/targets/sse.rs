//! Event streams of model providers: what is cut out of them, joined, is what went in, wherever the network cut it.
#![no_main]

use wflo_gateway::sse::Splitter;

const LIMIT: usize = 1 << 16;

fn cut(parts: &[&[u8]]) -> Option<Vec<Vec<u8>>> {
    let mut splitter = Splitter::new(LIMIT);
    let mut events = Vec::new();
    for part in parts {
        splitter.push(part);
        while let Some(event) = splitter.next_event().ok()? {
            events.push(event.raw.to_vec());
        }
    }
    events.extend(splitter.rest().map(|event| event.raw.to_vec()));
    Some(events)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((at, bytes)) = bytes.split_first() else { return };
    let at = usize::from(*at).min(bytes.len());
    let (one, other) = bytes.split_at(at);
    let (whole, parted) = (cut(&[bytes]), cut(&[one, other]));
    if let (Some(whole), Some(parted)) = (whole, parted) {
        assert_eq!(whole.concat(), bytes);
        assert_eq!(parted.concat(), bytes);
    }
});

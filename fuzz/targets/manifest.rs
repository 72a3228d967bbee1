//! Manifests of sealed trees: what is read is written and read again as the same, and no path leads out.
#![no_main]

use wflo_sandbox::workspace::Manifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(manifest) = Manifest::decode(bytes) else { return };
    for path in manifest.entries.keys() {
        let text = path.as_bytes();
        assert!(!text.is_empty() && !text.starts_with(b"/") && !text.contains(&0));
        assert!(
            text.split(|byte| *byte == b'/').all(|part| !part.is_empty() && part != b"." && part != b"..")
        );
    }
    let again = manifest.encode();
    assert_eq!(Manifest::decode(&again).expect("what was written can be read"), manifest);
});

//! Manifests of sealed trees: what is read is written and read again as the same, no path leads out, and no attribute
//! is an overlay's note.
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
    for (name, _) in manifest.entries.values().flat_map(|entry| entry.attributes.iter()) {
        assert!(name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") && !name.contains(&0));
    }
    let again = manifest.encode();
    assert_eq!(Manifest::decode(&again).expect("what was written can be read"), manifest);
});

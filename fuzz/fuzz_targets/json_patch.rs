//! Patches, against RFC 6902 written down plainly.
#![no_main]

libfuzzer_sys::fuzz_target!(init: statehouse::fuzz::prepare(), |bytes: &[u8]| {
    statehouse::fuzz::json_patch(bytes);
});

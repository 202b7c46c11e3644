//! The law of the bridge.
#![no_main]

libfuzzer_sys::fuzz_target!(init: statehouse::fuzz::prepare(), |bytes: &[u8]| {
    statehouse::fuzz::projection(bytes);
});

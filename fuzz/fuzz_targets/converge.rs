//! Many replicas, and all are the same in the end.
#![no_main]

libfuzzer_sys::fuzz_target!(init: statehouse::fuzz::prepare(), |bytes: &[u8]| {
    statehouse::fuzz::converge(bytes);
});

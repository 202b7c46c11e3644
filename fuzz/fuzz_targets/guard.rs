//! Foreign changes, damaged, with a good checksum.
#![no_main]

libfuzzer_sys::fuzz_target!(init: statehouse::fuzz::prepare(), |bytes: &[u8]| {
    statehouse::fuzz::guard(bytes);
});

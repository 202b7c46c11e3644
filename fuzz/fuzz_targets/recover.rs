//! A log on a disk that damages it.
#![no_main]

libfuzzer_sys::fuzz_target!(init: statehouse::fuzz::prepare(), |bytes: &[u8]| {
    statehouse::fuzz::recover(bytes);
});

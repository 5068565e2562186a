//! See [`ocibuild_fuzz::pattern`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ocibuild_fuzz::pattern::check(data));

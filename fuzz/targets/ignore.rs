//! See [`ocibuild_fuzz::ignore`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ocibuild_fuzz::ignore::check(data));

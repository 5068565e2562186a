//! See [`ocibuild_fuzz::listing`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ocibuild_fuzz::listing::check(data));

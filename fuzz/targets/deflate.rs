//! See [`ocibuild_fuzz::deflate`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ocibuild_fuzz::deflate::check(data));

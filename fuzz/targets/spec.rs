//! See [`ocibuild_fuzz::spec`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ocibuild_fuzz::spec::check(data));

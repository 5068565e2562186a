//! See [`ocibuild_fuzz::reference`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ocibuild_fuzz::reference::check(data));

//! See [`ocibuild_fuzz::tar`].
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|data: &[u8]| ocibuild_fuzz::tar::check(data));

// One in eight stays damaged: that has to be survived as well.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = fuzzer_mutate(data, size, max_size);
    if !seed.is_multiple_of(8) {
        ocibuild_fuzz::tar::repair(&mut data[..size]);
    }
    size
});

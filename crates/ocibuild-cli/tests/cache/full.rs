//! A cache on a disk that is full, at whatever point it gets full, or that can't be written to: an error
//! that says which file and what to do, or the image as it should be. With room again, all is well.

use std::path::Path;

use ocibuild_testkit::{Missing, Mounted, Output, require};

use crate::bench::Bench;
use crate::project::{builds, copied, expected, is_thorough, is_whole_and_tidy, project, write};

/// Builds into a layout and an archive with the cache there; tells whether it went well.
fn tries(bench: &Bench, cache: &Path, digest: &str) -> bool {
    let outputs = ["--output", "type=oci,dest=out", "--output", "type=oci-archive,dest=out.tar"];
    for name in ["work/out", "work/out.tar"] {
        if bench.tree.join(name).exists() {
            bench.tree.remove(name);
        }
    }
    let directory = cache.to_str().unwrap();
    let output = bench.run(&[&["build", "--cache-dir", directory], &outputs[..]].concat());
    match output.code {
        Some(0) => {
            assert_eq!(output.text(), digest, "{output}");
            bench.valid("out");
            bench.valid("oci-archive:out.tar");
            true
        }
        _ => {
            says_what_is_full(&output.clone().expect_code(6), directory);
            assert!(!bench.path("out").exists() && !bench.path("out.tar").exists(), "{output}");
            false
        }
    }
}

fn says_what_is_full(output: &Output, directory: &str) {
    let said = output.errors();
    assert!(said.contains("error: cannot ") && said.contains(&format!("`{directory}")), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("hint: ") && said.contains("cache prune --max-size"), "{said}");
}

/// Fills caches of growing size, and gives each room afterwards.
fn grows(
    kind: &str,
    sizes: &[u64],
    mount: impl Fn(u64) -> Result<Mounted, Missing>,
    before: &dyn Fn(&Bench, &Path),
) -> Result<(), Missing> {
    let digest = expected(2);
    let (mut failed, mut well) = (0, 0);
    let bench = project(2);
    for size in sizes {
        let disk = mount(*size)?;
        let cache = disk.path().join("cache");
        before(&bench, &cache);
        match tries(&bench, &cache, &digest) {
            true => well += 1,
            false => failed += 1,
        }
        disk.widen();
        for _ in 0..2 {
            assert!(tries(&bench, &cache, &digest), "{kind} {size}: it has room by now");
        }
        let directory = cache.to_str().unwrap();
        bench.ok(&["cache", "verify", "--cache-dir", directory]);
    }
    println!("{kind}: {failed} of {} ended with an error that says so, {well} went well", sizes.len());
    assert!(failed > 0 && well > 0);
    Ok(())
}

/// In pages of 4 KiB: from none beside the directory itself to enough.
fn pages() -> Vec<u64> {
    let few = 1..=16;
    few.chain([18, 20, 22, 24, 26, 28, 30, 34, 40, 64, 256]).map(|pages| pages * 4096).collect()
}

/// All sizes, or some of them: the last one is enough.
fn some(sizes: Vec<u64>) -> Vec<u64> {
    let step = if is_thorough() { 1 } else { 5 };
    let mut some: Vec<u64> = sizes.into_iter().rev().step_by(step).collect();
    some.reverse();
    some
}

#[test]
fn a_disk_gets_full_of_the_first_build() {
    require!(grows("bytes, empty cache", &some(pages()), Mounted::tmpfs_of, &|_, _| {}));
    let files: Vec<u64> = (2..40).step_by(2).chain([200]).collect();
    require!(grows("files, empty cache", &some(files), Mounted::tmpfs_of_files, &|_, _| {}));
}

#[test]
fn a_disk_gets_full_of_another_build() {
    let warm = |bench: &Bench, cache: &Path| {
        write(bench, 1);
        let _ = tries_any(bench, cache);
        write(bench, 2);
    };
    let sizes: Vec<u64> = (16..=64).step_by(3).chain([512]).map(|pages| pages * 4096).collect();
    require!(grows("bytes, the previous build", &some(sizes), Mounted::tmpfs_of, &warm));
}

/// Builds what was there before, as far as there is room.
fn tries_any(bench: &Bench, cache: &Path) -> Output {
    bench.run(&["build", "--cache-dir", cache.to_str().unwrap(), "--output", "type=oci,dest=before"])
}

#[test]
fn where_results_go_gets_full() {
    let digest = expected(1);
    let bench = project(1);
    let (mut failed, mut well) = (0, 0);
    for pages in some(vec![1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 20, 64]) {
        let disk = require!(Mounted::tmpfs_of(pages * 4096));
        let place = disk.path().display().to_string();
        for (output, image) in [
            (format!("type=oci,dest={place}/out"), format!("{place}/out")),
            (format!("type=oci-archive,dest={place}/out.tar"), format!("oci-archive:{place}/out.tar")),
        ] {
            let built = bench.run(&["build", "--output", &output]);
            if built.code == Some(0) {
                assert_eq!(built.text(), digest);
                bench.valid(&image);
                well += 1;
            } else {
                let said = built.expect_code(3).errors();
                assert!(said.contains(&place) && said.contains("the disk isn't full"), "{said}");
                let left: Vec<_> = disk.path().read_dir().unwrap().collect();
                assert!(left.is_empty(), "{left:?}");
                failed += 1;
            }
            let _ = std::fs::remove_dir_all(disk.path().join("out"));
            let _ = std::fs::remove_file(disk.path().join("out.tar"));
        }
        disk.widen();
        assert_eq!(bench.digest(&["--output", &format!("type=oci,dest={place}/out")]), digest);
        bench.valid(&format!("{place}/out"));
    }
    println!("results: {failed} ended with an error that says so, {well} went well");
    assert!(failed > 0 && well > 0);
}

#[test]
fn a_cache_that_is_only_read() {
    let digest = expected(1);
    let bench = project(1);
    builds(&bench, &digest);
    is_whole_and_tidy(&bench);
    copied(&bench.tree.join("cache"), &bench.tree.join("kept"));
    let view = require!(Mounted::read_only(&bench.tree.join("cache")));
    let directory = view.path().display().to_string();
    // What it answers needs no writing.
    let words = ["build", "--cache-dir", &directory, "--output", "type=oci,dest=again"];
    let output = bench.ok(&words);
    assert_eq!(output.text(), digest);
    assert!(output.errors().contains("cache: 3 of 3 layers"), "{output}");
    bench.valid("again");
    // What it doesn't is told.
    write(&bench, 2);
    let said = bench.run(&words).expect_code(6).errors();
    assert!(said.contains(&directory) && said.contains("Read-only file system"), "{said}");
    assert!(said.contains("hint: check that the cache directory"), "{said}");
}

//! What was sent or received before a connection broke isn't sent or received again.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;

use ocibuild_core::blob::{BytesContent, Sink as _, Target as _};
use ocibuild_core::copy::{CopyOptions, copy};
use ocibuild_core::event::Transfer;
use ocibuild_core::layout::Layout;
use ocibuild_serve::faults::Asked;
use ocibuild_serve::{Exchange, Fault, Script, When};

use crate::bench::Bench;
use crate::cases::{ends, large};
use crate::double::{Double, has, options, repository};
use crate::image::{Image, layer};

const MIB: u64 = 1 << 20;
/// The most that may be sent twice: a chunk.
const CHUNK: u64 = 4 * MIB;

/// Pushes a layer of 8 MiB, and gives how many bytes came.
fn uploaded(script: Script, chunk: Option<u64>) -> u64 {
    let image = Image::new(&[layer(8 << 20, 1)], "resumed");
    let double = Double::with(script, |options| options.chunk_min_length = chunk);
    let to = repository(&double.name("team/app"), options());
    let (descriptor, bytes) = image.blobs[0].clone();
    assert_eq!(to.push(&descriptor, &BytesContent::new(bytes)).unwrap(), Transfer::Sent);
    let uploaded = double.uploaded();
    copy(std::slice::from_ref(&image.root), &image.memory(), &to, &CopyOptions::new()).unwrap();
    to.tag(&image.root, "1").unwrap();
    let view = double.view();
    has(&repository(&format!("{}/team/app", view.address()), options()), "1", &image).unwrap();
    uploaded
}

#[test]
fn after_a_reset_at_most_a_chunk_is_sent_again() {
    let bytes = |script: Script, skip: usize, times: usize, fault: Fault| {
        let when = |method: &str| When::asked(method, "/blobs/uploads/").skip(skip).times(times);
        script.on(when("PUT"), fault.clone()).on(when("PATCH"), fault)
    };
    let all = 8 * MIB;
    println!("| reset after | bytes sent again |\n|---|---|");
    let judge = |at: u64, chunk: Option<u64>| {
        let name = if chunk.is_some() { ", in chunks" } else { "" };
        let again = uploaded(bytes(Script::new(), 0, 1, Fault::ResetRequest(at)), chunk) - all;
        println!("| {at} bytes{name} | {again} |");
        assert!(again <= CHUNK, "after {at} bytes{name}, {again} are sent again");
    };
    thread::scope(|scope| {
        for chunk in [None, Some(MIB)] {
            scope.spawn(move || {
                for at in [0, 1, 65_537, MIB, 3 * MIB + 11, 5 * MIB, all - 1, all] {
                    judge(at, chunk);
                }
            });
        }
    });
    let often = uploaded(bytes(Script::new(), 0, 7, Fault::ResetRequest(MIB)), None) - all;
    println!("| a MiB, seven times | {often} |");
    assert!(often <= 7 * CHUNK / 4, "{often} are sent again");
}

#[test]
fn a_pull_goes_on_where_it_broke() {
    let directory = tempfile::tempdir().unwrap();
    let image = large();
    let sizes: BTreeMap<String, u64> =
        image.data().map(|blob| (blob.digest.to_string(), blob.size)).collect();
    let broken = Mutex::new(sizes.clone());
    let double = Double::with(
        move |asked: &Asked| {
            let digest = asked.path().rsplit('/').next().unwrap_or_default();
            let size = (asked.method() == "GET").then(|| broken.lock().unwrap().remove(digest)).flatten();
            size.map(|size| Fault::ResetResponse(size / 2)).into_iter().collect()
        },
        |_| (),
    );
    let to = repository(&double.name("team/app"), options());
    copy(std::slice::from_ref(&image.root), &image.memory(), &to, &CopyOptions::new()).unwrap();
    to.tag(&image.root, "1").unwrap();
    double.recorder.clear();

    let (bench, target) = (Bench::new(), directory.path().join("pulled.oci"));
    let mut command = bench.command(&["pull", &double.name("team/app:1"), target.to_str().unwrap()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    ends(command.spawn().unwrap()).unwrap();
    let layout = Layout::open(&target).unwrap();
    let root = layout.sole().unwrap();
    assert_eq!(root.digest, image.root.digest);
    let found = ocibuild_core::image::validate(&layout, &root, &Default::default()).unwrap();
    assert_eq!(found, []);

    let exchanges = double.recorder.exchanges();
    for (digest, &size) in &sizes {
        let is_it = |exchange: &&Exchange| exchange.method == "GET" && exchange.path.ends_with(digest);
        let asked: Vec<_> = exchanges.iter().filter(is_it).collect();
        let [first, second] = asked[..] else { panic!("{digest} was asked for {} times", asked.len()) };
        let start = second.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
        let start: u64 = start.and_then(|range| range.strip_suffix('-')).unwrap().parse().unwrap();
        println!("{size} bytes: broken after {}, gone on with at {start}: {}", first.sent, second.sent);
        assert_eq!((first.range.as_deref(), first.sent, second.status), (None, size / 2, Some(206)));
        // A reset may take what was on its way along; what arrived isn't asked for again.
        assert!(start > 0 && start <= first.sent && second.sent == size - start);
    }
}

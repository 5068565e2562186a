//! Many clients at once leave nothing but whole images.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ocibuild_core::blob::{BytesContent, Sink as _, Source as _, Target as _};
use ocibuild_core::image::{ValidateOptions, validate};
use ocibuild_core::layout::Layout;
use ocibuild_core::oci::{Descriptor, ImageConfig, Manifest, MediaType, RootFs, to_json};
use ocibuild_core::reference::Reference;
use ocibuild_core::registry::{Registry, RegistryOptions, RemoteRepository};
use ocibuild_core::{DiffId, Digest};
use ocibuild_serve::ServeOptions;
use support::{Bench, noise};

const PUSHERS: usize = 32;

fn repository(bench: &Bench, name: &str) -> RemoteRepository {
    let reference: Reference = format!("{}/{name}", bench.address()).parse().unwrap();
    let mut options = RegistryOptions::default();
    options.idle_timeout = Duration::from_secs(60);
    Registry::new(options).repository(reference.repository())
}

/// A tar with one file, so that what is pushed is an image.
fn layer(seed: u64) -> Vec<u8> {
    let content = noise(200_000, seed);
    let mut header = vec![0_u8; 512];
    header[..5].copy_from_slice(format!("f{seed:04}").as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000001\0");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = [header, content].concat();
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    tar
}

/// Pushes an image of two layers, of which the neighbours have one each.
fn push(bench: &Bench, number: usize) {
    let repository = repository(bench, &format!("team/app{}", number % 4));
    let layers = [number / 2, 100 + number % 3].map(|seed| layer(seed as u64));
    let mut config = ImageConfig::new("linux", "amd64");
    config.rootfs = RootFs::new(layers.iter().map(|bytes| DiffId(Digest::of(bytes))).collect());
    let config = to_json(&config);
    let config_descriptor = Descriptor::of(MediaType::CONFIG, &config);
    let descriptors = layers.each_ref().map(|bytes| Descriptor::of(MediaType::LAYER, bytes));
    let manifest = to_json(&Manifest::new(config_descriptor.clone(), descriptors.to_vec()));
    let manifest_descriptor = Descriptor::of(MediaType::MANIFEST, &manifest);
    for (descriptor, bytes) in descriptors.iter().zip(&layers) {
        repository.push(descriptor, &BytesContent::new(bytes.clone())).unwrap();
    }
    repository.push(&config_descriptor, &BytesContent::new(config)).unwrap();
    repository.push(&manifest_descriptor, &BytesContent::new(manifest)).unwrap();
    for tag in [format!("v{number}"), "latest".to_owned()] {
        repository.tag(&manifest_descriptor, &tag).unwrap();
    }
}

#[test]
fn connections_that_do_nothing_make_room_for_others() {
    let mut options = ServeOptions::default();
    options.max_connections = 2;
    let bench = Bench::with(options);
    let mut lazy = [bench.connect(), bench.connect()];
    for connection in &mut lazy {
        connection.send("GET", "/v2/", &[], b"").unwrap();
        assert_eq!(connection.reply("GET").unwrap().status, 200);
    }
    for _ in 0..5 {
        let mut connection = bench.connect();
        connection.send("GET", "/v2/", &[], b"").unwrap();
        assert_eq!(connection.reply("GET").unwrap().status, 200);
    }
    assert!(lazy[0].is_closed() && lazy[1].is_closed());
}

#[test]
fn thirty_two_pushers_of_overlapping_images_leave_whole_images() {
    let bench = Bench::new();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Whoever reads the directory meanwhile sees a layout, and whole images.
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !is_over.load(Ordering::SeqCst) {
                let layout = Layout::open(bench.layout()).unwrap();
                for descriptor in layout.descriptors().unwrap() {
                    assert!(layout.exists(&descriptor).unwrap());
                    seen += 1;
                }
                thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|number| {
                scope.spawn({
                    let bench = &bench;
                    move || push(bench, number)
                })
            })
            .collect();
        let ended: Vec<bool> = pushers.into_iter().map(|pusher| pusher.join().is_ok()).collect();
        is_over.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(|ended| *ended));
        assert!(reader.join().unwrap() > 0);
    });
    let layout = Layout::open(bench.layout()).unwrap();
    let descriptors = layout.descriptors().unwrap();
    assert_eq!(descriptors.len(), PUSHERS + 4);
    for descriptor in &descriptors {
        assert_eq!(validate(&layout, descriptor, &ValidateOptions::default()).unwrap(), []);
    }
    for number in 0..PUSHERS {
        let remote = repository(&bench, &format!("team/app{}", number % 4));
        let root = remote.resolve(&format!("v{number}")).unwrap();
        assert_eq!(validate(&remote, &root, &ValidateOptions::default()).unwrap(), []);
    }
    let uploads = bench.layout().join(".ocibuild-serve/uploads").read_dir().unwrap().count();
    assert_eq!(uploads, 0);
}

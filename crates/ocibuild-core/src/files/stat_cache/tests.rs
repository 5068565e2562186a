use std::fs;

use super::*;
use crate::files::{FileId, FileKind, Timestamp};
use head::MAX_NOTES;
use rows::{LENGTH, MAX_AGE, MAX_DEVICES};

/// Long ago, with fractions of a second.
const THEN: Timestamp = Timestamp { seconds: 1_600_000_000, nanoseconds: 5 };

fn seen(inode: u64) -> Metadata {
    Metadata {
        kind: FileKind::Regular,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 10,
        id: FileId { device: 7, inode },
        links: 1,
        mtime: THEN,
        ctime: THEN,
    }
}

fn learned(byte: u8) -> Learned {
    Learned { content: [byte; 32], notes: [byte; 6] }
}

fn started(directory: &Path) -> StatCache {
    let stat = StatCache::new(directory, Path::new("/tree"));
    stat.start();
    stat
}

fn save(directory: &Path, files: &[(&str, Metadata, u8)]) -> PathBuf {
    let stat = started(directory);
    files.iter().for_each(|(path, seen, byte)| stat.learn(path.as_bytes(), seen, learned(*byte)));
    stat.save().unwrap();
    stat.path()
}

fn after(time: Timestamp, nanoseconds: i64) -> Timestamp {
    let all = nanoseconds_of(time) + nanoseconds;
    Timestamp { seconds: all.div_euclid(1_000_000_000), nanoseconds: all.rem_euclid(1_000_000_000) as u32 }
}

fn nanoseconds_of(time: Timestamp) -> i64 {
    nanoseconds(time).unwrap()
}

#[test]
fn a_file_is_known_while_it_is_as_it_was_seen() {
    let directory = tempfile::tempdir().unwrap();
    let other = Metadata { id: FileId { device: 8, inode: 1 }, ..seen(1) };
    save(directory.path(), &[("a", seen(1), 1), ("b", seen(2), 2), ("c", other, 3), ("b", seen(2), 4)]);
    let stat = started(directory.path());
    assert_eq!(stat.get(b"a", &seen(1)), Some(learned(1)));
    assert_eq!(stat.get(b"b", &seen(2)), Some(learned(4)), "the last that was learned counts");
    assert_eq!(stat.get(b"c", &other), Some(learned(3)));
    let whole = seen(1);
    for changed in [
        Metadata { size: 11, ..whole },
        Metadata { id: FileId { device: 7, inode: 2 }, ..whole },
        Metadata { id: FileId { device: 8, inode: 1 }, ..whole },
        Metadata { mtime: after(THEN, 1), ..whole },
        Metadata { ctime: after(THEN, -1), ..whole },
    ] {
        assert_eq!(stat.get(b"a", &changed), None, "{changed:?}");
    }
    assert_eq!(stat.get(b"d", &whole), None);
}

#[test]
fn nothing_is_kept_of_what_may_change_without_a_trace() {
    let directory = tempfile::tempdir().unwrap();
    let stat = started(directory.path());
    let moment = stat.started.get().unwrap().moment.unwrap();
    let at = |nanoseconds| after(Timestamp::default(), moment + nanoseconds);
    let whole = |time: Timestamp| Timestamp { nanoseconds: 0, ..time };
    let cases = [
        (at(0), THEN, false),
        (THEN, at(0), false),
        (at(-FINE), THEN, false),
        (THEN, at(-FINE), false),
        (at(1 << 40), THEN, false),
        // A millisecond more, for one without a fraction is none of these.
        (at(-FINE - 1_000_000), at(-FINE - 1_000_000), true),
        (THEN, whole(at(-1_000_000_000)), false),
        (THEN, whole(at(-COARSE - 1_000_000_000)), true),
        // What an image that is only read makes up.
        (Timestamp::default(), Timestamp::default(), false),
        (whole(THEN), whole(THEN), false),
        (whole(THEN), THEN, true),
        (THEN, whole(THEN), true),
        (Timestamp { seconds: i64::MAX, nanoseconds: 0 }, THEN, false),
    ];
    for (place, (mtime, ctime, _)) in cases.iter().enumerate() {
        stat.learn(&[place as u8], &Metadata { mtime: *mtime, ctime: *ctime, ..seen(1) }, learned(1));
    }
    stat.save().unwrap();
    let stat = started(directory.path());
    for (place, (mtime, ctime, is_kept)) in cases.into_iter().enumerate() {
        let known = stat.get(&[place as u8], &Metadata { mtime, ctime, ..seen(1) });
        assert_eq!(known.is_some(), is_kept, "case {place}");
    }
}

#[test]
fn what_is_damaged_or_another_trees_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = save(directory.path(), &[("a", seen(1), 1), ("b", seen(2), 2)]);
    assert!(StatCache::is_whole(&path).unwrap());
    let bytes = fs::read(&path).unwrap();
    let known = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        started(directory.path()).get(b"a", &seen(1))
    };
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert_eq!(known(&damaged), None, "byte {at}");
        assert_eq!(known(&bytes[..at]), None, "cut off at {at}");
    }
    assert!(!StatCache::is_whole(&path).is_ok_and(|whole| whole));
    assert_eq!(known(&[&bytes[..], b"x"].concat()), None);
    // It doesn't stay once it was read, though nothing else is learned.
    let stat = started(directory.path());
    assert_eq!(stat.get(b"a", &seen(1)), None);
    stat.save().unwrap();
    assert!(StatCache::is_whole(&path).unwrap());
    assert_eq!(known(&bytes), Some(learned(1)));
    let other = StatCache::new(directory.path(), Path::new("/other"));
    fs::copy(&path, other.path()).unwrap();
    other.start();
    assert_eq!(other.get(b"a", &seen(1)), None);
}

#[test]
fn numbers_that_lie_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = save(directory.path(), &[("a", seen(1), 1)]);
    let bytes = fs::read(&path).unwrap();
    let numbers = [0, 2, 3, u64::MAX];
    let end = bytes.len() - CHECKSUM - LENGTH - CHECKSUM;
    for (at, number) in [56, 64, 72].into_iter().flat_map(|at| numbers.map(|number| (at, number))) {
        let mut head = bytes[..end].to_vec();
        head[at..at + 8].copy_from_slice(&number.to_le_bytes());
        if head == bytes[..end] {
            continue;
        }
        let sum = *blake3::hash(&head).as_bytes();
        let rows = &bytes[end + CHECKSUM..][..LENGTH];
        let all = [&head[..], &sum, rows, &rows::checksum(&sum, rows)].concat();
        fs::write(&path, all).unwrap();
        assert_eq!(started(directory.path()).get(b"a", &seen(1)), None, "{number} at {at}");
    }
}

#[test]
fn what_was_noted_at_a_time_to_come_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let stat = started(directory.path());
    let now = stat.started.get().unwrap().moment.unwrap();
    let row = |moment| {
        stat.learn(b"a", &seen(1), learned(1));
        let rows = std::mem::take(&mut *stat.learned.lock().unwrap());
        fs::create_dir_all(stat.path().parent().unwrap()).unwrap();
        let none = Started {
            moment: None,
            head: Head::default(),
            rest: Mutex::default(),
            table: OnceLock::new(),
            is_damaged: false,
        };
        let notes = vec![([1; 32], vec![1])];
        fs::write(stat.path(), none.merged((rows, notes), (&stat.name, moment))).unwrap();
        assert_eq!(started(directory.path()).recall(&[1; 32]).is_some(), moment <= now);
        started(directory.path()).get(b"a", &seen(1))
    };
    assert_eq!(row(now), Some(learned(1)));
    assert_eq!(row(now + (24 * 60 * 60 * 1_000_000_000)), None);
}

#[test]
fn what_is_not_asked_for_is_dropped_in_the_end() {
    let directory = tempfile::tempdir().unwrap();
    save(directory.path(), &[("a", seen(1), 1), ("b", seen(2), 2)]);
    let round = |number: u64| {
        let stat = started(directory.path());
        assert_eq!(stat.get(b"a", &seen(1)), Some(learned(1)));
        stat.learn(b"c", &seen(number), learned(3));
        stat.save().unwrap();
    };
    (0..u64::from(MAX_AGE)).for_each(round);
    // Asked for, but not written, so it is counted on.
    assert_eq!(started(directory.path()).get(b"b", &seen(2)), Some(learned(2)));
    round(100);
    let stat = started(directory.path());
    assert_eq!(stat.get(b"b", &seen(2)), None);
    assert_eq!(stat.get(b"a", &seen(1)), Some(learned(1)));
    assert_eq!(stat.get(b"c", &seen(100)), Some(learned(3)));
}

#[test]
fn many_files_and_devices_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let stat = started(directory.path());
    let file = |number: u64| Metadata { id: FileId { device: number % 300, inode: number }, ..seen(0) };
    for number in 0..5000u64 {
        stat.learn(&number.to_le_bytes(), &file(number), learned(number as u8));
    }
    stat.save().unwrap();
    let stat = started(directory.path());
    let is_known = |number: &u64| {
        let known = stat.get(&number.to_le_bytes(), &file(*number));
        assert!(known.is_none_or(|known| known == learned(*number as u8)));
        known.is_some()
    };
    let known = (0..5000).filter(is_known).count();
    assert!((4000..5000).contains(&known), "{known}: the devices beyond the 256th have no number");
}

/// Numbers of devices may be others after each start of a machine, or of a container.
#[test]
fn devices_that_are_gone_make_room_for_others() {
    let directory = tempfile::tempdir().unwrap();
    let on = |device: u64| Metadata { id: FileId { device, inode: 1 }, ..seen(1) };
    for device in 0..MAX_DEVICES as u64 + 50 {
        let stat = started(directory.path());
        stat.learn(b"a", &on(device), learned(device as u8));
        stat.learn(b"b", &on(1000), learned(1));
        stat.save().unwrap();
        let stat = started(directory.path());
        assert_eq!(stat.get(b"a", &on(device)), Some(learned(device as u8)), "device {device}");
        assert_eq!(stat.get(b"b", &on(1000)), Some(learned(1)));
        assert_eq!(stat.started.get().unwrap().head.devices.len(), 2);
    }
    // Where there are too many at once, the last ones count.
    let stat = started(directory.path());
    let file = |number: u64| (number.to_le_bytes(), on(number));
    for (path, seen) in (0..2 * MAX_DEVICES as u64).map(file) {
        stat.learn(&path, &seen, learned(2));
    }
    stat.save().unwrap();
    let stat = started(directory.path());
    stat.learn(b"a", &on(5000), learned(3));
    for (path, seen) in (0..2 * MAX_DEVICES as u64).map(file).step_by(3) {
        let _ = stat.get(&path, &seen);
    }
    stat.save().unwrap();
    let stat = started(directory.path());
    assert_eq!(stat.get(b"a", &on(5000)), Some(learned(3)), "what is new displaces what isn't asked for");
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_none_and_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = save(directory.path(), &[("a", seen(1), 1)]);
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    assert!(StatCache::is_whole(&path).is_err());
    save(directory.path(), &[("a", seen(1), 1)]);
    assert_eq!(started(directory.path()).get(b"a", &seen(1)), Some(learned(1)));
}

#[test]
fn without_a_cache_to_write_to_nothing_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let stat = started(&file);
    stat.learn(b"a", &seen(1), learned(1));
    stat.save().unwrap();
    assert_eq!(stat.get(b"a", &seen(1)), None);
    // Nor before it was started: there would be no moment to hold times against.
    let stat = StatCache::new(directory.path(), Path::new("/tree"));
    stat.learn(b"a", &seen(1), learned(1));
    stat.save().unwrap();
    assert!(!directory.path().join("stat").exists());
}

#[test]
fn the_last_notes_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let note = |number: u8| ([number; 32], vec![number; 5]);
    for numbers in [&[1, 2][..], &[3, 4, 5, 6], &[7, 8, 2], &[9]] {
        let stat = started(directory.path());
        numbers.iter().map(|number| note(*number)).for_each(|(of, note)| stat.keep(of, note));
        stat.save().unwrap();
    }
    let stat = started(directory.path());
    let known = |number: &u8| stat.recall(&[*number; 32]) == Some(note(*number).1);
    assert_eq!((1..10).filter(known).collect::<Vec<u8>>(), [2, 3, 4, 5, 6, 7, 8, 9]);
    // One that is too large for its place takes nobody else's.
    stat.keep([10; 32], vec![0; MAX_NOTES]);
    stat.save().unwrap();
    let stat = started(directory.path());
    assert!(stat.recall(&[10; 32]).is_none() && stat.recall(&[9; 32]).is_some());
}

#[test]
fn labels_of_a_tree_know_nothing_of_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let tree = StatCache::new(directory.path(), Path::new("/tree"));
    let both = ["one", "other"].map(|name| tree.of(name));
    both.iter().for_each(StatCache::start);
    both[0].learn(b"a", &seen(1), learned(1));
    both[0].save().unwrap();
    let again = ["one", "other"].map(|name| tree.of(name));
    again.iter().for_each(StatCache::start);
    assert_eq!(again.map(|stat| stat.get(b"a", &seen(1)).is_some()), [true, false]);
}

#[test]
fn nothing_is_written_after_the_clock_went_back() {
    let directory = tempfile::tempdir().unwrap();
    let stat = StatCache::new(directory.path(), Path::new("/tree"));
    let day = 24 * 60 * 60 * 1_000_000_000;
    let moment = Some(now(directory.path()).unwrap() + day);
    let (head, rest, table) = (Head::default(), Mutex::default(), OnceLock::new());
    stat.started.set(Started { moment, head, rest, table, is_damaged: false }).unwrap();
    stat.learn(b"a", &seen(1), learned(1));
    stat.save().unwrap();
    assert!(!stat.path().exists());
}

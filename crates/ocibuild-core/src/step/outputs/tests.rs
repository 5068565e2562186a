use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::time::Duration;

use super::*;
use crate::files::{FileTree as _, display};
use crate::key::KeyWriter;

fn key(name: &str) -> Key {
    KeyWriter::new(name, 1).finish()
}

struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("work")).unwrap();
        Self(directory)
    }

    fn cache(&self) -> PathBuf {
        self.0.path().join("cache")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join("work").join(path)
    }

    /// What a step might make.
    fn make(&self) {
        fs::create_dir_all(self.at("build/dist/sub")).unwrap();
        fs::write(self.at("build/dist/program"), "program").unwrap();
        fs::set_permissions(self.at("build/dist/program"), fs::Permissions::from_mode(0o750)).unwrap();
        fs::write(self.at("build/dist/sub/file"), "file").unwrap();
        symlink("program", self.at("build/dist/link")).unwrap();
        fs::write(self.at("build/left"), "left").unwrap();
        fs::write(self.at("report"), "report").unwrap();
    }

    fn adopt(&self, trees: &OutputTrees, name: &str) -> Result<OutputTree, StepError> {
        let outputs: [&[u8]; 2] = [b"build/dist", b"report"];
        trees.adopt(&key(name), &self.at(""), &outputs, &Cancel::new())
    }

    fn trees(&self) -> OutputTrees {
        OutputTrees::new(&self.cache())
    }

    fn find(&self, name: &str) -> Option<OutputTree> {
        self.trees().find(&key(name), &Cancel::new()).unwrap()
    }

    fn names(&self) -> usize {
        fs::read_dir(self.cache().join("outputs/v1")).unwrap().count()
    }
}

fn assert_made(tree: &OutputTree) {
    let at = |path: &str| tree.path().join(path);
    assert_eq!(fs::read(at("build/dist/program")).unwrap(), b"program");
    assert_eq!(at("build/dist/program").metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::read(at("build/dist/sub/file")).unwrap(), b"file");
    assert_eq!(fs::read_link(at("build/dist/link")).unwrap(), Path::new("program"));
    assert_eq!(fs::read(at("report")).unwrap(), b"report");
    assert!(!at("build/left").exists());
    assert_eq!(tree.tree().metadata(b"report").unwrap().size, 6);
}

#[test]
fn what_a_step_made_is_moved_and_found() {
    let room = Room::new();
    assert!(room.find("a").is_none());
    room.make();
    let inode = room.at("build/dist/program").metadata().unwrap().ino();
    let trees = room.trees();
    let tree = room.adopt(&trees, "a").unwrap();
    assert_made(&tree);
    assert_eq!(tree.path().join("build/dist/program").metadata().unwrap().ino(), inode);
    assert!(!room.at("build/dist").exists() && !room.at("report").exists() && room.at("build/left").exists());
    assert_made(&room.find("a").unwrap());
    assert!(room.find("b").is_none());
    // What is there already stays, and what was made again is left.
    room.make();
    assert_made(&room.adopt(&room.trees(), "a").unwrap());
    assert!(room.at("report").exists());
    assert_eq!(room.names(), 1);
}

#[test]
fn what_does_not_look_as_it_did_is_gone() {
    type Tampering = fn(&Path);
    let tamperings: [Tampering; 9] = [
        |tree| fs::write(tree.join("report"), "REPORT").unwrap(),
        |tree| fs::write(tree.join("new"), "").unwrap(),
        |tree| fs::remove_file(tree.join("build/dist/link")).unwrap(),
        |tree| fs::set_permissions(tree.join("report"), fs::Permissions::from_mode(0o600)).unwrap(),
        |tree| fs::set_permissions(tree.join("build"), fs::Permissions::from_mode(0o700)).unwrap(),
        |tree| fs::hard_link(tree.join("report"), tree.join("../name")).unwrap(),
        |tree| fs::remove_dir_all(tree).unwrap(),
        |tree| fs::write(tree.join("../list"), "").unwrap(),
        |tree| {
            fs::rename(tree, tree.join("../other")).unwrap();
            symlink("other", tree).unwrap();
        },
    ];
    for (at, tampering) in tamperings.iter().enumerate() {
        let room = Room::new();
        room.make();
        let path = room.adopt(&room.trees(), "a").unwrap().path().to_owned();
        assert!(room.find("a").is_some());
        tampering(&path);
        assert!(room.find("a").is_none(), "tampering {at}");
        assert_eq!(room.names(), 0, "tampering {at}");
        room.make();
        assert_made(&room.adopt(&room.trees(), "a").unwrap());
    }
}

#[test]
fn what_is_damaged_and_in_use_makes_room_and_stays_for_who_uses_it() {
    let room = Room::new();
    room.make();
    let held = room.adopt(&room.trees(), "a").unwrap();
    fs::write(held.path().join("report"), "REPORT").unwrap();
    assert!(room.find("a").is_none());
    room.make();
    assert_made(&room.adopt(&room.trees(), "a").unwrap());
    assert_eq!(held.tree().metadata(b"build/dist/program").unwrap().size, 7);
    assert_eq!(room.names(), 2);
}

#[test]
fn files_with_names_elsewhere_get_a_content_of_their_own() {
    let room = Room::new();
    room.make();
    let store = room.0.path().join("store");
    fs::hard_link(room.at("build/dist/program"), &store).unwrap();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
    fs::hard_link(room.at("report"), room.at("build/dist/report")).unwrap();
    fs::set_permissions(room.at("build/dist"), fs::Permissions::from_mode(0o555)).unwrap();
    let tree = room.adopt(&room.trees(), "a").unwrap();
    let seen = |path: &str| tree.path().join(path).metadata().unwrap();
    assert_eq!(seen("build/dist/program").nlink(), 1);
    assert_eq!(store.metadata().unwrap().mode() & 0o7777, 0o700, "it is somebody else's");
    assert_eq!(seen("build/dist").mode() & 0o7777, 0o755, "modes are those that it is unpacked with");
    // Two names within the outputs are no concern of others.
    assert_eq!(seen("report").ino(), seen("build/dist/report").ino());
    fs::write(&store, "PROGRAM").unwrap();
    assert_made(&tree);
    assert_made(&room.find("a").unwrap());
}

#[test]
fn an_output_that_was_not_made_is_told() {
    let room = Room::new();
    room.make();
    symlink("build", room.at("via")).unwrap();
    let trees = room.trees();
    for output in [&b"none"[..], b"build/none", b"report/x", b"via/dist"] {
        let outputs: [&[u8]; 2] = [output, b"report"];
        let result = trees.adopt(&key("a"), &room.at(""), &outputs, &Cancel::new());
        assert!(matches!(result, Err(StepError::NotMade { .. })), "{}", display(output));
        assert_eq!(room.names(), 0);
    }
    for output in [&b".."[..], b"/etc", b"a/../../b", b""] {
        let result = trees.adopt(&key("a"), &room.at(""), &[output], &Cancel::new());
        assert!(matches!(result, Err(StepError::Path { .. })), "{}", display(output));
    }
    assert!(trees.find(&key("a"), &Cancel::new()).unwrap().is_none());
}

#[test]
fn several_that_make_one_have_one() {
    let (rooms, cache) = ([Room::new(), Room::new(), Room::new()], tempfile::tempdir().unwrap());
    rooms.iter().for_each(Room::make);
    let made = std::thread::scope(|scope| {
        let adopt = |room| {
            let trees = OutputTrees::new(cache.path());
            Room::adopt(room, &trees, "a").unwrap()
        };
        let threads: Vec<_> = rooms.iter().map(|room| scope.spawn(move || adopt(room))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    made.iter().for_each(assert_made);
    assert!(made.iter().all(|tree| tree.path() == made[0].path()));
    assert_eq!(fs::read_dir(cache.path().join("outputs/v1")).unwrap().count(), 1);
}

#[test]
fn what_is_used_is_not_taken_away() {
    let room = Room::new();
    room.make();
    let tree = room.adopt(&room.trees(), "a").unwrap();
    let directory = tree.path().parent().unwrap().to_owned();
    assert!(Turn::try_alone(&directory).is_none());
    drop(tree);
    let turn = Turn::try_alone(&directory).unwrap();
    // Whoever tidies up has it: it is as good as gone.
    assert!(room.find("a").is_none() && directory.exists());
    drop(turn);
    let before = directory.join("lock").metadata().unwrap().modified().unwrap();
    std::thread::sleep(Duration::from_millis(10));
    assert!(room.find("a").is_some());
    assert!(directory.join("lock").metadata().unwrap().modified().unwrap() > before, "its use is noted");
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_keeps_its_capabilities_where_it_is_copied() {
    use crate::files::CAPABILITY;
    let room = Room::new();
    room.make();
    // `cap_net_bind_service=ep`, as the kernel stores it.
    let value = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let program = room.at("build/dist/program");
    let set = rustix::fs::setxattr(&program, CAPABILITY, &value, rustix::fs::XattrFlags::empty());
    if !rustix::process::geteuid().is_root() {
        // Nobody else may give any.
        return;
    }
    set.unwrap();
    // A name elsewhere, so that the tree gets a file of its own.
    fs::hard_link(&program, room.at("elsewhere")).unwrap();
    let tree = room.adopt(&room.trees(), "a").unwrap();
    let mut kept = [0; 64];
    let size = rustix::fs::getxattr(tree.path().join("build/dist/program"), CAPABILITY, &mut kept).unwrap();
    assert_eq!(kept[..size], value);
}

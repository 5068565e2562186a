//! A registry in memory that writes down what it is asked, and answers mounts as the test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ocibuild_core::digest::Digest;
use ocibuild_core::registry::{Registry, RemoteRepository};

use crate::recorder::{Asked, Recorder, Reply};
use crate::{options, repository};

/// Bytes and their media type, by repository, kind and name.
type Things = BTreeMap<(String, String), (Vec<u8>, String)>;

/// A registry that works.
pub(crate) struct Whole {
    pub(crate) recorder: Recorder,
    things: Arc<Mutex<Things>>,
}

impl Whole {
    /// Starts one that answers mounts with this status: 201 takes blobs over, if they are there.
    pub(crate) fn start(mounts: u16) -> Self {
        let things: Arc<Mutex<Things>> = Arc::default();
        let shared = Arc::clone(&things);
        let recorder = Recorder::start(move |asked, _| answer(asked, &mut shared.lock().unwrap(), mounts));
        Self { recorder, things }
    }

    pub(crate) fn repository(&self, path: &str) -> RemoteRepository {
        Registry::new(options()).repository(&repository(&self.recorder.host, path))
    }

    /// Takes everything away whose name has this in it.
    pub(crate) fn remove(&self, part: &str) {
        self.things
            .lock()
            .unwrap()
            .retain(|(repository, name), _| !repository.contains(part) && !name.contains(part));
    }

    /// What was asked since there were so many questions, without those by HEAD.
    pub(crate) fn lines_since(&self, count: usize) -> Vec<String> {
        let lines = self.recorder.lines();
        lines[count..].iter().filter(|line| !line.starts_with("HEAD")).cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.recorder.lines().len()
    }
}

fn answer(asked: &Asked, things: &mut Things, mounts: u16) -> Reply {
    let path = asked.path.strip_prefix("/v2/").unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query: BTreeMap<&str, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name, value.replace("%3A", ":").replace("%2F", "/")))
        .collect();
    if let Some((repository, _)) = path.split_once("/blobs/uploads/") {
        return upload(asked, things, mounts, repository, &query);
    }
    let (repository, name) = match path.split_once("/blobs/") {
        Some((repository, name)) => (repository, format!("blob {name}")),
        None => {
            let (repository, name) = path.split_once("/manifests/").unwrap();
            (repository, format!("manifest {name}"))
        }
    };
    if asked.method == "PUT" {
        let media_type = asked.header("content-type").unwrap().to_owned();
        let own = format!("manifest {}", Digest::of(&asked.body));
        for name in [own, name] {
            things.insert((repository.to_owned(), name), (asked.body.clone(), media_type.clone()));
        }
        return Reply::new(201);
    }
    match things.get(&(repository.to_owned(), name)) {
        None => Reply::new(404),
        Some((bytes, media_type)) => Reply::new(200)
            .header("Content-Type", media_type)
            .header("Docker-Content-Digest", Digest::of(bytes))
            .header("Content-Length", bytes.len())
            .body(bytes),
    }
}

fn upload(
    asked: &Asked,
    things: &mut Things,
    mounts: u16,
    repository: &str,
    query: &BTreeMap<&str, String>,
) -> Reply {
    let begun = Reply::new(202).header("Location", format!("/v2/{repository}/blobs/uploads/1?state=x"));
    if asked.method == "PUT" {
        let name = format!("blob {}", Digest::of(&asked.body));
        if name != format!("blob {}", query["digest"]) {
            return Reply::new(400);
        }
        things.insert((repository.to_owned(), name), (asked.body.clone(), "application/octet-stream".into()));
        return Reply::new(201);
    }
    match (query.get("mount"), mounts) {
        (None, _) => begun,
        (Some(_), 202) => {
            Reply::new(202).header("Location", format!("/v2/{repository}/blobs/uploads/mounted?x=y"))
        }
        (Some(digest), 201) => {
            let name = format!("blob {digest}");
            match things.get(&(query["from"].clone(), name.clone())).cloned() {
                Some(thing) => {
                    things.insert((repository.to_owned(), name), thing);
                    Reply::new(201).header("Docker-Content-Digest", digest)
                }
                None => begun,
            }
        }
        (Some(_), status) => Reply::new(status),
    }
}

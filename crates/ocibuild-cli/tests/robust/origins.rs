//! What a registry trusts us with stays with it: wherever it points, at another host, port or scheme,
//! no `Authorization` and no secret is seen there, and what may go there gets there.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ocibuild_core::blob::{BytesContent, Content, Memory, Sink as _, Target as _};
use ocibuild_core::copy::{CopyOptions, Referrers as _, copy};
use ocibuild_core::reference::{Reference, Repository};
use ocibuild_core::registry::{
    Credential, Credentials, CredentialsError, Registry, RegistryOptions, RemoteRepository,
};
use ocibuild_serve::faults::Asked;
use ocibuild_serve::{Access, Fault, Tokens};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::double::{Double, options};
use crate::front::{Front, Reply, Rules, Seen};
use crate::image::{Image, layer};

const NAME: &str = "me";
const PASSWORD: &str = "hidden-word";
const REPOSITORY: &str = "team/app";
/// More than this at once isn't taken where chunks are wanted.
const LIMIT: u64 = 4 << 20;
const SIDE_BY_SIDE: usize = 6;

/// By what a registry points elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    UploadLocation,
    ChunkLocation,
    MountLocation,
    UploadRedirect,
    BlobPutRedirect,
    BlobRedirect,
    BlobHeadRedirect,
    ManifestRedirect,
    ManifestPutRedirect,
    TokenRealm,
    ReferrersLink,
    /// A redirect to where we are asked who we are.
    Challenge,
    /// A redirect that leads back to the registry.
    Back,
}

const WAYS: [By; 13] = [
    By::UploadLocation,
    By::ChunkLocation,
    By::MountLocation,
    By::UploadRedirect,
    By::BlobPutRedirect,
    By::BlobRedirect,
    By::BlobHeadRedirect,
    By::ManifestRedirect,
    By::ManifestPutRedirect,
    By::TokenRealm,
    By::ReferrersLink,
    By::Challenge,
    By::Back,
];

/// In what the other origin is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    Host,
    Name,
    Port,
    Scheme,
}

#[derive(Clone, Copy)]
struct Case {
    by: By,
    other: Other,
    is_secure: bool,
    has_tokens: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        let access = if self.has_tokens { "tokens" } else { "a password" };
        write!(f, "{:?} from {scheme} to another {:?}, with {access}", self.by, self.other)
    }
}

/// What is to come of it.
#[derive(PartialEq)]
enum Expected {
    /// It works, and the other origin has a part in it.
    Followed,
    /// It fails, and nothing was asked of the other origin.
    Refused,
    /// It fails at the other origin.
    Stopped,
    /// Nothing was asked of the other origin, and the rest is there.
    Ignored,
    /// Whether it works is no matter of trust.
    Open,
}

impl Case {
    fn all(with_tls: bool) -> Vec<Self> {
        let mut cases = Vec::new();
        for by in WAYS {
            for other in [Other::Host, Other::Name, Other::Port, Other::Scheme] {
                for (is_secure, has_tokens) in [(false, true), (false, false), (true, true)] {
                    let needs_tls = is_secure || other == Other::Scheme;
                    if (with_tls || !needs_tls) && (has_tokens || by != By::TokenRealm) {
                        cases.push(Self { by, other, is_secure, has_tokens });
                    }
                }
            }
        }
        cases
    }

    fn expected(self) -> Expected {
        let is_downgrade = self.is_secure && self.other == Other::Scheme;
        match self.by {
            By::ReferrersLink => Expected::Ignored,
            By::TokenRealm if is_downgrade => Expected::Open,
            // There is another way than the mount.
            By::MountLocation if is_downgrade => Expected::Ignored,
            _ if is_downgrade => Expected::Refused,
            By::Challenge | By::Back => Expected::Stopped,
            _ => Expected::Followed,
        }
    }
}

/// A certificate for this machine, and the authority that vouches for it.
struct Tls {
    server: Arc<ServerConfig>,
    authority: Vec<u8>,
}

static TLS: LazyLock<Option<Tls>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        let command = command.args(arguments.split(' ')).current_dir(directory.path());
        command.output().is_ok_and(|output| output.status.success())
    };
    let make = |name: &str| {
        format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        )
    };
    let signed = "-addext subjectAltName=IP:127.0.0.1,IP:127.0.0.2,DNS:localhost -addext basicConstraints=critical,CA:FALSE -CA authority.pem -CAkey authority.key";
    if !openssl(&make("authority")) || !openssl(&format!("{} {signed}", make("server"))) {
        return None;
    }
    // Nobody else in this process has one.
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let path = |name: &str| directory.path().join(name);
    let server = server_config(&path("server.pem"), &path("server.key"));
    Some(Tls { server, authority: std::fs::read(path("authority.pem")).unwrap() })
});

fn server_config(certificate: &Path, key: &Path) -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap())
}

struct Login;

impl Credentials for Login {
    fn lookup(&self, _: &Repository) -> Result<Option<Credential>, CredentialsError> {
        Ok(Some(Credential::password(NAME, PASSWORD, "the test")))
    }
}

fn basic() -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{NAME}:{PASSWORD}")))
}

/// What the registry does, at its own origin and at the other.
struct Pointing {
    case: Case,
    home: String,
    other: String,
    /// What the other origin, which is trusted by the registry, shows it.
    own: Mutex<String>,
}

impl Rules for Pointing {
    fn before(&self, seen: &Seen) -> Option<Reply> {
        let redirect = |origin: &str, rest: &str| {
            Some(Reply::new(307).with("Location", &format!("{origin}{}{rest}", seen.path)))
        };
        let by = self.case.by;
        if seen.origin == self.other {
            return match by {
                By::Challenge => Some(Reply::new(401).with("WWW-Authenticate", "Basic realm=\"here\"")),
                By::Back => redirect(&self.home, "?back=1"),
                _ => None,
            };
        }
        let is_manifest = seen.path.contains("/manifests/");
        let points = match by {
            By::UploadRedirect => seen.is("POST", "/blobs/uploads/"),
            By::BlobPutRedirect => seen.is("PUT", "/blobs/uploads/"),
            By::BlobRedirect | By::Challenge | By::Back => seen.is("GET", "/blobs/sha256:"),
            By::BlobHeadRedirect => seen.is("HEAD", "/blobs/sha256:"),
            By::ManifestRedirect => is_manifest && ["GET", "HEAD"].contains(&&*seen.method),
            By::ManifestPutRedirect => is_manifest && seen.method == "PUT",
            _ => false,
        };
        if points && !seen.path.contains("back=1") { redirect(&self.other, "") } else { None }
    }

    fn authorization(&self, seen: &Seen) -> Option<String> {
        match seen.origin == self.home {
            true => seen.header("authorization").map(str::to_owned),
            false if seen.path.starts_with("/token") => Some(basic()),
            false => Some(self.own.lock().unwrap().clone()),
        }
    }

    fn after(&self, seen: &Seen, reply: &mut Reply) {
        let points = match self.case.by {
            By::UploadLocation => seen.is("POST", "/blobs/uploads/"),
            By::ChunkLocation => seen.is("PATCH", "/blobs/uploads/"),
            By::MountLocation => seen.is("POST", "mount="),
            _ => false,
        };
        if points && let Some(location) = reply.header("location").map(str::to_owned) {
            reply.set("Location", &format!("{}{location}", self.other));
        }
        if self.case.by == By::ReferrersLink && seen.path.contains("/referrers/") {
            reply.set("Link", &format!("<{}{}?last=x>; rel=\"next\"", self.other, seen.path));
        }
    }
}

/// A registry behind a front, both for one case.
struct World {
    case: Case,
    _double: Double,
    front: Front,
    home: String,
    other: String,
}

impl World {
    fn new(case: Case) -> Self {
        let front = Front::bind(TLS.as_ref().map(|tls| Arc::clone(&tls.server)));
        let (own, next, port) = (front.address(0), front.address(1), front.address(2));
        let scheme = |is_secure: bool| if is_secure { "https" } else { "http" };
        let same = scheme(case.is_secure);
        let home = format!("{same}://{own}");
        let other = match case.other {
            Other::Host => format!("{same}://{next}"),
            Other::Name => format!("{same}://localhost:{}", own.port()),
            Other::Port => format!("{same}://{port}"),
            Other::Scheme => format!("{}://{own}", scheme(!case.is_secure)),
        };
        let limited = move |asked: &Asked| match asked.path().contains("/blobs/uploads/") {
            true if case.by == By::ChunkLocation => vec![Fault::BodyLimit(LIMIT)],
            _ => Vec::new(),
        };
        let realm = if case.by == By::TokenRealm { &other } else { &home };
        let access = match case.has_tokens {
            true => {
                let mut tokens = Tokens::default();
                tokens.credentials = Some((NAME.to_owned(), PASSWORD.to_owned()));
                tokens.realm = Some(format!("{realm}/token"));
                Access::Tokens(tokens)
            }
            false => Access::Basic { username: NAME.to_owned(), password: PASSWORD.to_owned() },
        };
        let double = Double::with(limited, |options| options.access = Some(access));
        let rules = Pointing { case, home: home.clone(), other: other.clone(), own: Mutex::new(basic()) };
        if case.has_tokens {
            *rules.own.lock().unwrap() = token_of(&double);
        }
        front.run(double.server.address(), Arc::new(rules));
        Self { case, _double: double, front, home, other }
    }

    fn repository(&self) -> RemoteRepository {
        let mut options: RegistryOptions = options();
        options.credentials = Arc::new(Login);
        options.attempts = 2;
        let host = self.front.address(0).to_string();
        if let Some(tls) = &*TLS {
            options.ca = vec![tls.authority.clone()];
        }
        if self.case.is_secure {
            options.secure = vec![host.clone()];
        }
        let reference: Reference = format!("{host}/{REPOSITORY}").parse().unwrap();
        Registry::new(options).repository(reference.repository())
    }

    /// An image goes there and comes back, and what refers to it is asked for.
    fn there_and_back(&self) -> Result<(), String> {
        let told =
            |step: &'static str| move |error: &dyn std::error::Error| format!("{step}: {}", chain(error));
        let size = if self.case.by == By::ChunkLocation { 5 << 20 } else { 200_000 };
        let image = Image::new(&[layer(size, 1), layer(3000, 2)], "origins");
        let to = self.repository();
        if self.case.by == By::MountLocation {
            let (descriptor, bytes) = &image.blobs[0];
            let content = Claimed(BytesContent::new(bytes.clone()), [sibling(&to)]);
            to.push(descriptor, &content).map_err(|error| told("mount")(&error))?;
        }
        let roots = std::slice::from_ref(&image.root);
        copy(roots, &image.memory(), &to, &CopyOptions::new()).map_err(|error| told("push")(&error))?;
        to.tag(&image.root, "1").map_err(|error| told("tag")(&error))?;
        let (from, memory) = (self.repository(), Memory::new());
        let root = from.resolve("1").map_err(|error| told("resolve")(&error))?;
        assert_eq!(root, image.root);
        copy(roots, &from, &memory, &CopyOptions::new()).map_err(|error| told("pull")(&error))?;
        from.referrers(&root).map(drop).map_err(|error| told("referrers")(&error))
    }

    fn judge(&self) -> Result<usize, String> {
        let result = self.there_and_back();
        let seen = self.front.seen();
        let (own, others): (Vec<Seen>, Vec<Seen>) =
            seen.into_iter().partition(|seen| seen.origin == self.home);
        if let Some(stray) = others.iter().find(|seen| seen.origin != self.other) {
            return Err(format!("{} was asked", stray.origin));
        }
        let shown: Vec<String> =
            own.iter().filter_map(|seen| seen.header("authorization").map(str::to_owned)).collect();
        if shown.is_empty() && self.case.expected() != Expected::Refused {
            return Err("the registry itself was shown nothing".to_owned());
        }
        let mut secrets: Vec<&str> = shown.iter().filter_map(|shown| shown.split(' ').nth(1)).collect();
        secrets.push(PASSWORD);
        let told = basic();
        secrets.extend(told.split(' ').nth(1));
        for seen in &others {
            let text = seen.text();
            let has = |secret: &&&str| text.contains(**secret);
            if seen.header("authorization").is_some() || secrets.iter().find(has).is_some() {
                return Err(format!("a secret at {}: {} {}", seen.origin, seen.method, seen.path));
            }
        }
        if own.iter().any(|seen| seen.path.contains("back=1") && seen.header("authorization").is_some()) {
            return Err("a secret came back by a redirect of somebody else's".to_owned());
        }
        let count = others.len();
        match (self.case.expected(), result) {
            (Expected::Followed, Ok(())) | (Expected::Stopped, Err(_)) if count > 0 => Ok(count),
            (Expected::Refused, Err(_)) | (Expected::Ignored, _) if count == 0 => Ok(count),
            (Expected::Open, _) => Ok(count),
            (_, result) => Err(format!("{result:?}, and {count} requests to the other")),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn sibling(repository: &RemoteRepository) -> Repository {
    let name = format!("{}/team/none", repository.repository().registry());
    name.parse::<Reference>().unwrap().repository().clone()
}

/// A token as the other origin has it: of the registry's own.
fn token_of(double: &Double) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(double.server.address()).unwrap();
    let scope = format!("repository:{REPOSITORY}:pull,push");
    let head = format!("GET /token?scope={scope} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    stream.write_all(format!("{head}Authorization: {}\r\n\r\n", basic()).as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let body: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    format!("Bearer {}", body["token"].as_str().unwrap())
}

/// Bytes of which it is said that another repository has them.
struct Claimed(BytesContent, [Repository; 1]);

impl Content for Claimed {
    fn open(&self, offset: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        self.0.open(offset)
    }

    fn origins(&self) -> &[Repository] {
        &self.1
    }
}

#[test]
fn secrets_stay_at_the_registrys_own_origin() {
    if TLS.is_none() {
        ocibuild_testkit::skip("the cases by https", "they need the program `openssl`");
    }
    let cases = Case::all(TLS.is_some());
    let (next, faults) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(case) = { next.lock().unwrap().next() } {
                    match World::new(*case).judge() {
                        Ok(count) => println!("{case}: {count} requests there"),
                        Err(fault) => faults.lock().unwrap().push(format!("{case}: {fault}")),
                    }
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

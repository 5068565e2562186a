//! The server: a thread that takes connections, and a thread for each of them.
//!
//! A connection's thread reads and writes files as it goes, so a slow disk or a long hash keeps
//! nobody waiting but who asked for it, and no pool of threads is needed between network and disk.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ocibuild_core::layout::Layout;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use crate::access::Gate;
use crate::body::before;
use crate::error::ServeError;
use crate::handler::Handler;
use crate::names::repository_of;
use crate::options::ServeOptions;
use crate::socket::{Socket, Wire};
use crate::storage::Storage;
use crate::uploads::Uploads;

/// Where the server keeps what isn't the layout's, below it.
const OWN: &str = ".ocibuild-serve";
const LOCK: &str = "lock";

/// How long a client may take for the head of a request, and for taking the next bytes of an answer.
const STALL: Duration = Duration::from_secs(60);

/// Serves layouts.
#[derive(Debug)]
pub struct Server(());

impl Server {
    /// Starts to serve the layout in a directory, on threads of its own, and returns at once. A
    /// directory that is empty or missing becomes a layout, unless it is to be read only.
    ///
    /// # Errors
    /// [`ServeError`] if the directory can't be used, is served already, or the address is taken.
    pub fn start(directory: impl AsRef<Path>, options: ServeOptions) -> Result<Running, ServeError> {
        let directory = directory.as_ref();
        let (layout, lock) = open(directory, options.read_only)?;
        let listen = |source| ServeError::Listen { address: options.listen, source };
        let listener = std::net::TcpListener::bind(options.listen).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let plain = options.name.clone().unwrap_or_else(|| {
            // `.` and the like have no name of their own.
            repository_of(&fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned()))
        });
        let own = directory.join(OWN);
        let uploads = Uploads::new(&own, options.upload_lifetime);
        if !options.read_only {
            uploads.sweep();
        }
        let grace = options.grace;
        let handler = Arc::new(Handler {
            storage: Storage::new(layout, &own, plain.clone()),
            uploads,
            gate: Gate::new(options.access.clone()),
            options,
            address,
            hidden: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let (alive, ended) = channel();
        let accepting = Accepting { handler: Arc::clone(&handler), stopped, alive };
        let runtime = runtime().map_err(ServeError::Thread)?;
        thread::Builder::new()
            .name("ocibuild-serve".to_owned())
            .spawn(move || runtime.block_on(accepting.run(listener)))
            .map_err(ServeError::Thread)?;
        Ok(Running { address, plain, stop, ended: Mutex::new(ended), grace, handler, _lock: lock })
    }
}

fn open(directory: &Path, read_only: bool) -> Result<(Layout, Option<File>), ServeError> {
    if read_only {
        return Ok((Layout::open(directory)?, None));
    }
    let layout = Layout::open_or_create(directory)?;
    layout.keep()?;
    let own = directory.join(OWN);
    let fault = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ServeError::File { action, path, source }
    };
    fs::create_dir_all(own.join("repositories")).map_err(fault("create", &own))?;
    let path: PathBuf = own.join(LOCK);
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.map_err(fault("open", &path))?;
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => Err(ServeError::Busy(directory.to_owned())),
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
            Err(fault("lock", &path)(error))
        }
        _ => Ok((layout, Some(lock))),
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().build()
}

/// A server at work. Dropped, it stops: requests under way have a moment to end.
pub struct Running {
    address: SocketAddr,
    plain: String,
    stop: watch::Sender<bool>,
    /// Says that nobody is at work any more.
    ended: Mutex<Receiver<()>>,
    grace: Duration,
    handler: Arc<Handler>,
    _lock: Option<File>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Running {
    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the repository of what the layout has under plain names.
    #[must_use]
    pub fn plain_repository(&self) -> &str {
        &self.plain
    }

    /// Makes all tokens worthless; for tests.
    pub fn revoke_tokens(&self) {
        self.handler.gate.revoke();
    }

    /// Forgets all uploads under way; for tests.
    pub fn forget_uploads(&self) {
        self.handler.uploads.forget();
    }

    /// Stops, and returns once no request is under way any more, or their time is up.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It fails if nobody listens, who then has stopped already.
        let _ = self.stop.send(true);
        let ended = self.ended.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Nobody sends: it ends when the last thread does.
        let _ = ended.recv_timeout(self.grace + Duration::from_millis(500));
    }
}

/// What takes connections.
struct Accepting {
    handler: Arc<Handler>,
    stopped: watch::Receiver<bool>,
    alive: Sender<()>,
}

impl Accepting {
    async fn run(self, listener: std::net::TcpListener) {
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        let places = Arc::new(Semaphore::new(self.handler.options.max_connections as usize));
        let (crowded, _) = watch::channel(0_u64);
        loop {
            let next = async {
                let accepted = listener.accept().await;
                if places.available_permits() == 0 {
                    crowded.send_modify(|times| *times += 1);
                }
                (Arc::clone(&places).acquire_owned().await, accepted)
            };
            let Some((Ok(place), accepted)) = before(next, is_stopped(self.stopped.clone())).await else {
                return;
            };
            let Ok((stream, _)) = accepted else {
                // Out of file descriptors, or a connection that is gone already.
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            let connection = Connection {
                handler: Arc::clone(&self.handler),
                stopped: self.stopped.clone(),
                crowded: crowded.subscribe(),
                alive: self.alive.clone(),
            };
            // What can't be had a thread for is closed.
            let _ = thread::Builder::new().name("ocibuild-serve".to_owned()).spawn(move || {
                connection.run(stream);
                drop(place);
            });
        }
    }
}

async fn is_stopped(mut stopped: watch::Receiver<bool>) {
    // An error means that whoever could stop it is gone.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

struct Connection {
    handler: Arc<Handler>,
    stopped: watch::Receiver<bool>,
    crowded: watch::Receiver<u64>,
    alive: Sender<()>,
}

impl Connection {
    fn run(self, stream: TcpStream) {
        let (Ok(runtime), Ok(stream)) = (runtime(), stream.into_std()) else { return };
        runtime.block_on(self.serve(stream));
        drop(self.alive);
    }

    async fn serve(&self, stream: std::net::TcpStream) {
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        // Answers are small, and each is waited for.
        let _ = stream.set_nodelay(true);
        let wire = Arc::new(Wire::default());
        let options = &self.handler.options;
        let socket = Socket::new(stream, Arc::clone(&wire), options.idle_timeout, STALL);
        let service = service_fn(move |request| Arc::clone(&self.handler).handle(request, Arc::clone(&wire)));
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(STALL);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), service));
        let mut crowded = self.crowded.clone();
        let is_enough = async {
            let is_crowded = async { crowded.changed().await.unwrap_or_default() };
            let _ = before(is_stopped(self.stopped.clone()), is_crowded).await;
        };
        // How a connection ends is nobody's business but the client's, who knows.
        if before(connection.as_mut(), is_enough).await.is_some() {
            return;
        }
        connection.as_mut().graceful_shutdown();
        if before(connection.as_mut(), is_stopped(self.stopped.clone())).await.is_none() {
            let _ = before(connection.as_mut(), sleep(options.grace)).await;
        }
    }
}

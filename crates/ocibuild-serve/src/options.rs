//! What a server is started with.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::access::Access;
use crate::faults::Faults;
use crate::record::{Listener, Recorder};

/// How a layout is served. The defaults are those of the command line: any free port of the
/// loopback address, for reading and writing.
#[derive(Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Where to listen; with port 0 the system chooses one.
    pub listen: SocketAddr,
    /// Whether anything that would change the layout is refused, with 405.
    pub read_only: bool,
    /// The repository of what the layout has under plain names; otherwise it is called like the
    /// directory, without `.oci`.
    pub name: Option<String>,
    /// How long a connection stays open between requests.
    pub idle_timeout: Duration,
    /// How long an upload is kept that nobody goes on with.
    pub upload_lifetime: Duration,
    /// What clients are asked to send at least in a chunk, in bytes.
    pub chunk_min_length: Option<u64>,
    /// How many connections are served at once, each with a thread and a handful of file descriptors.
    /// Where there are more, all end after the request under way, so that everybody's turn comes.
    pub max_connections: u32,
    /// How long requests under way have to end once the server is stopped.
    pub grace: Duration,
    /// Hears of each exchange when it is over.
    pub listener: Option<Listener>,
    /// Writes down all exchanges; for tests.
    pub recorder: Option<Recorder>,
    /// What clients have to show; for tests.
    pub access: Option<Access>,
    /// What goes wrong; for tests.
    pub faults: Option<Arc<dyn Faults>>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            read_only: false,
            name: None,
            idle_timeout: Duration::from_secs(60),
            upload_lifetime: Duration::from_secs(24 * 60 * 60),
            chunk_min_length: None,
            max_connections: 128,
            grace: Duration::from_secs(1),
            listener: None,
            recorder: None,
            access: None,
            faults: None,
        }
    }
}

impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("listen", &self.listen)
            .field("read_only", &self.read_only)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

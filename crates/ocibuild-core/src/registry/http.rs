//! HTTP as registries want it: requests and answers, connections, time-outs, bounds and retries;
//! nothing here knows what is asked for.

pub(crate) mod certificates;
pub(crate) mod date;
pub(crate) mod feed;
pub(crate) mod field;
pub(crate) mod host;
pub(crate) mod proxy;
pub(crate) mod redirect;
pub(crate) mod retry;
pub(crate) mod runtime;
pub(crate) mod tally;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod url;
pub(crate) mod warning;
pub(crate) mod watch;

//! `ocibuild serve`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use clap::Args;
use ocibuild_core::Cancel;
use ocibuild_serve::{Exchange, ServeOptions, Server};
use serde::Serialize;

use crate::failure::Failure;
use crate::options::Options;
use crate::progress::{Reporter, json};
use crate::signals::Stop;
use crate::text;

/// Serve an OCI layout as a registry
///
/// Any client can pull from the directory and push to it, over http; the layout stays one that other
/// programs read, and what they change shows at once. A directory that is missing or empty becomes a
/// layout. Repository and tag are the name in the layout: `team/api:1`. What has a plain name there,
/// such as `1`, is in the repository called like the directory, without `.oci`.
///
/// Standard output gets one line, the address. Ctrl-C ends it; requests under way have a second. Standard error tells which requests failed for a
/// reason of its own, such as a full disk.
///
/// There is neither TLS nor a login: whoever reaches the address can read, and without `--read-only`
/// push and delete. So it is only reached from this machine, unless `--listen` says otherwise.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// The layout
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Where to listen: an address with a port, or a port of this machine; 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0", value_parser = address)]
    listen: SocketAddr,

    /// Refuse what would change the layout
    #[arg(long)]
    read_only: bool,
}

const EXAMPLES: &str = "\
Examples:
  ocibuild serve api.oci
  ocibuild serve --listen 5000 images.oci      # docker push localhost:5000/team/api:1
  ocibuild serve --listen 0.0.0.0:5000 --read-only images.oci

Exit codes: 0 stopped; 1 the address is taken; others as in `ocibuild --help`.";

/// How often is looked whether it shall end.
const LOOK: Duration = Duration::from_millis(50);

/// Serves until a signal comes.
///
/// # Errors
/// [`Failure`] if the layout can't be served.
pub(crate) fn run(args: &ServeArgs, options: &Options, reporter: &Reporter) -> Result<(), Failure> {
    let stop = Stop::on_signals()?;
    let (sender, exchanges) = channel();
    let mut serve = ServeOptions::default();
    (serve.listen, serve.read_only) = (args.listen, args.read_only);
    let is_verbose = options.verbose > 0;
    serve.listener = Some(Arc::new(move |exchange: &Exchange| {
        // What went wrong here, such as a full disk, is for who runs this to mend.
        if is_verbose || exchange.status.is_some_and(|status| status >= 500) {
            // Who isn't listening any more is about to end.
            drop(sender.send(exchange.clone()));
        }
    }));
    let server = Server::start(&args.directory, serve).map_err(Failure::Serve)?;
    let address = server.address();
    if !args.listen.ip().is_loopback() {
        let able = if args.read_only { "pull from it" } else { "pull, push and delete" };
        reporter.warn_text(&format!(
            "`{}` is no loopback address: whoever reaches it can {able}, without a login",
            args.listen.ip()
        ));
    }
    let url = format!("http://{address}");
    let directory = args.directory.display().to_string();
    let begun = Begun { directory: &directory, url: &url, repository: server.plain_repository() };
    reporter.tell(&format!("serving {directory} at {url}"), "serving", &begun);
    text::print(&format!("{address}\n"))?;
    log(&exchanges, &stop.cancel(), reporter);
    server.stop();
    // What came to an end meanwhile.
    exchanges.try_iter().for_each(|exchange| tell(&exchange, reporter));
    Ok(())
}

#[derive(Serialize)]
struct Begun<'a> {
    directory: &'a str,
    url: &'a str,
    repository: &'a str,
}

/// Tells of exchanges until it shall end.
fn log(exchanges: &Receiver<Exchange>, stop: &Cancel, reporter: &Reporter) {
    while !stop.is_cancelled() {
        match exchanges.recv_timeout(LOOK) {
            Ok(exchange) => tell(&exchange, reporter),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
    }
}

#[derive(Serialize)]
struct Served<'a> {
    method: &'a str,
    path: &'a str,
    status: Option<u16>,
    received: u64,
    sent: u64,
    seconds: f64,
}

fn tell(exchange: &Exchange, reporter: &Reporter) {
    let Exchange { method, path, status, received, sent, time, .. } = exchange;
    let (received, sent) = (*received, *sent);
    let code = status.map_or_else(|| "broke off".to_owned(), |status| status.to_string());
    let mut line = format!("{method} {path}: {code}");
    for (bytes, what) in [(received, "received"), (sent, "sent")] {
        if bytes > 0 {
            line.push_str(&format!(", {} {what}", text::bytes(bytes)));
        }
    }
    line.push_str(&format!(", {}", text::time(*time)));
    let fields = Served { method, path, status: *status, received, sent, seconds: json::seconds(*time) };
    reporter.tell(&line, "served", &fields);
}

/// Parses an address: `127.0.0.1:5000`, `localhost:5000`, `5000`.
fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost:").or(text.strip_prefix(':')).unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| {
        format!(
            "`{}` is no address to listen on\n  hint: write `127.0.0.1:5000`, `[::1]:5000`, or a port alone",
            text.escape_debug()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_this_machine_unless_they_say_otherwise() {
        for text in ["5000", ":5000", "localhost:5000", "127.0.0.1:5000"] {
            assert_eq!(address(text).unwrap().to_string(), "127.0.0.1:5000", "{text}");
        }
        assert!(!address("0.0.0.0:1").unwrap().ip().is_loopback());
        assert!(address("[::1]:1").unwrap().ip().is_loopback());
        for text in ["", "localhost", "127.0.0.1", "x:1", "70000"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}

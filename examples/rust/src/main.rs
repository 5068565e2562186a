//! A service that greets: `greeter` serves, `greeter --health` asks the one that runs.

mod config;
mod http;

use config::Config;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::env;
use std::error::Error;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let path = env::var("GREETER_CONFIG").unwrap_or_else(|_| "/app/greeter.conf".to_owned());
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let config: Config = text.parse().map_err(|error| format!("{path}: {error}"))?;
    match env::args().nth(1).as_deref() {
        Some("--health") => Ok(http::check_health(config.port)?),
        Some(other) => Err(format!("`{other}` isn't understood").into()),
        None => Ok(serve(&config)?),
    }
}

/// Answers until it's told to stop, and then finishes what it's at: the scope waits for that.
fn serve(config: &Config) -> std::io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", config.port))?;
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let is_stopped = AtomicBool::new(false);
    println!("listening on port {}", config.port);
    thread::scope(|scope| {
        scope.spawn(|| {
            signals.forever().next();
            is_stopped.store(true, Ordering::SeqCst);
            // Wakes the one who waits for connections.
            let _ = TcpStream::connect(("127.0.0.1", config.port));
        });
        for connection in listener.incoming() {
            if is_stopped.load(Ordering::SeqCst) {
                break;
            }
            if let Ok(connection) = connection {
                scope.spawn(|| http::answer(connection, config));
            }
        }
    });
    println!("stopped");
    Ok(())
}

//! Chromium without a window, driven as a user drives it: it opens a page, clicks, presses keys.
//!
//! It is spoken to through `chromedriver`, in the [WebDriver](https://www.w3.org/TR/webdriver2/)
//! protocol: JSON over http on the loopback address. What is new on a page takes a while, so
//! [`Browser::wait`] asks until it is there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::skip::{Missing, root, tool};

/// As long as anything may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(90);

/// A browser with a profile of its own; it ends with this value.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    address: String,
    session: String,
    _home: TempDir,
}

impl Browser {
    /// Starts one, with a window of 1280 by 800.
    #[track_caller]
    pub fn new() -> Result<Self, Missing> {
        let (chromium, driver) = (tool("chromium")?, tool("chromedriver")?);
        let home = TempDir::with_prefix("browser-").expect("a temporary directory can be made");
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let address = format!("127.0.0.1:{}", port(&mut driver));
        let mut browser = Self { driver, address, session: String::new(), _home: home };
        let answer = browser.post("/session", &browser.capabilities(&chromium));
        browser.session = answer["sessionId"].as_str().expect("a session has a name").to_owned();
        Ok(browser)
    }

    fn capabilities(&self, chromium: &Path) -> Value {
        let profile = format!("--user-data-dir={}", self._home.path().join("profile").display());
        let mut arguments = vec![
            "--headless=new",
            "--window-size=1280,800",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            &profile,
        ];
        if root().is_ok() {
            arguments.push("--no-sandbox"); // it refuses to be root's with one
        }
        json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": chromium, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } })
    }

    /// Opens a file as a page.
    #[track_caller]
    pub fn open(&self, file: &Path) {
        let path = file.to_str().expect("temporary files have plain names");
        self.ask("/url", &json!({ "url": format!("file://{path}") }));
    }

    /// Evaluates a script's `return` in the page.
    #[track_caller]
    pub fn evaluate(&self, script: &str) -> Value {
        self.ask("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Evaluates an expression until it is true.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        let start = Instant::now();
        while self.evaluate(&format!("return Boolean({expression})")) != Value::Bool(true) {
            assert!(start.elapsed() < PATIENCE, "`{expression}` doesn't become true");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Clicks on the first element that a CSS selector finds: in the middle, near its upper edge.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let quoted = json!(selector);
        let place = self.evaluate(&format!(
            "const element = document.querySelector({quoted});
             element.scrollIntoView({{ block: 'center', behavior: 'instant' }});
             const {{ left, top, width, height }} = element.getBoundingClientRect();
             return [Math.round(left + width / 2), Math.round(top + Math.min(height / 2, 9))]"
        ));
        let go = json!({ "type": "pointerMove", "duration": 0, "x": place[0], "y": place[1] });
        let press = |kind: &str| json!({ "type": kind, "button": 0 });
        let mouse = json!({
            "type": "pointer",
            "id": "mouse",
            "actions": [go, press("pointerDown"), press("pointerUp")],
        });
        self.ask("/actions", &json!({ "actions": [mouse] }));
    }

    /// Presses a key, by the code that WebDriver has for it or as the letter that it is.
    #[track_caller]
    pub fn press(&self, key: char) {
        let press = |kind: &str| json!({ "type": kind, "value": key.to_string() });
        let keyboard = json!({ "type": "key", "id": "keys", "actions": [press("keyDown"), press("keyUp")] });
        self.ask("/actions", &json!({ "actions": [keyboard] }));
    }

    /// Sees the page in a viewport of this size, with light or dark colours.
    #[track_caller]
    pub fn view(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    /// Asks Chromium itself.
    #[track_caller]
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.ask("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Takes a picture of the viewport, as PNG.
    #[track_caller]
    pub fn screenshot(&self) -> Vec<u8> {
        let answer = self.devtools("Page.captureScreenshot", &json!({ "format": "png" }));
        let text = answer["data"].as_str().expect("a picture is text");
        base64::engine::general_purpose::STANDARD.decode(text).expect("a picture is in base64")
    }

    /// Gives what the console was told since the last time: errors of scripts, what a policy forbade.
    #[track_caller]
    pub fn console(&self) -> Vec<String> {
        let entries = self.ask("/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().expect("a log is a list");
        entries.iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// Gives the addresses that pages asked for since the last time, whether they answered or not;
    /// the browser's own pages, such as that of a new tab, don't count.
    #[track_caller]
    pub fn requests(&self) -> Vec<String> {
        let entries = self.ask("/se/log", &json!({ "type": "performance" }));
        let entries = entries.as_array().expect("a log is a list").iter();
        let address = |entry: &Value| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let (method, parameters) = (&event["message"]["method"], &event["message"]["params"]);
            let is_own = parameters["documentURL"].as_str()?.starts_with("chrome:");
            let is_request = method == "Network.requestWillBeSent" && !is_own;
            is_request.then(|| parameters["request"]["url"].as_str().unwrap_or_default().to_owned())
        };
        entries.filter_map(address).collect()
    }

    #[track_caller]
    fn ask(&self, verb: &str, body: &Value) -> Value {
        self.post(&format!("/session/{}{verb}", self.session), body)
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.exchange("POST", path, &body.to_string());
        let answer = answer.unwrap_or_else(|error| panic!("chromedriver: {path}: {error}"));
        assert!(answer["value"].get("error").is_none(), "chromedriver: {path}: {body}: {answer:#}");
        answer["value"].clone()
    }

    /// One request in a connection of its own.
    fn exchange(&self, method: &str, path: &str, body: &str) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (address, length) = (&self.address, body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                if line.trim().is_empty() { break } else { continue }
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or_default();
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        Ok(serde_json::from_slice(&answer)?)
    }
}

/// Reads from its greeting where the driver listens, and lets it talk on to nobody.
fn port(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().expect("it was asked for")).lines();
    let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    thread::spawn(move || lines.for_each(drop));
    port.expect("chromedriver tells its port")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends Chromium with the session.
        let _ = self.exchange("DELETE", &format!("/session/{}", self.session), "");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

//! Proxies: which requests go through one, and how a connection is made through it.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::registry::http::url::is_loopback;

/// A proxy's address, as `http://user:password@proxy.example.com:3128`.
///
/// Requests by https go through a tunnel (`CONNECT`), those by http are handed over. A proxy of the
/// scheme `socks5` (or `socks5h`: names are always looked up by the proxy) carries both.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    address: Uri,
    is_socks: bool,
    login: Option<(String, String)>,
}

/// A text is not the address of a proxy that can be used. The text isn't told: it may hold a
/// password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a proxy's address: {reason}")]
#[non_exhaustive]
pub struct ProxyError {
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for Proxy {
    type Err = ProxyError;

    fn from_str(text: &str) -> Result<Self, ProxyError> {
        parse(text.trim()).map_err(|reason| ProxyError { reason })
    }
}

fn parse(text: &str) -> Result<Proxy, &'static str> {
    // Without a scheme, http is what everybody means.
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let is_socks = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "socks5" | "socks5h" => true,
        "https" => return Err("a proxy that is itself reached by https is not supported; try `http://`"),
        _ => return Err("it should begin with `http://` or `socks5://`"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A password may have an `@` in it, though it shouldn't.
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    let login = login.map(|login| login.split_once(':').unwrap_or((login, "")));
    let login = match login {
        Some((user, password)) => Some((decode(user)?, decode(password)?)),
        None => None,
    };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let port = match (has_port, is_socks) {
        (true, _) => "",
        (false, true) => ":1080",
        (false, false) => ":80",
    };
    let address: Uri = format!("http://{host}{port}/").parse().map_err(|_| "its host cannot be read")?;
    match address.host() {
        None | Some("") => Err("it names no host"),
        Some(_) if address.port_u16().is_none() => Err("its port cannot be read"),
        Some(_) => Ok(Proxy { address, is_socks, login }),
    }
}

/// Takes percent-encoding away.
fn decode(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit(), digit());
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                value
                    .and_then(|value| u8::try_from(value).ok())
                    .ok_or("a `%` in it isn't followed by two digits")?
            }
            byte => byte,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).map_err(|_| "its user name or password is not UTF-8")
}

impl Proxy {
    /// What a proxy for http is shown.
    fn authorization(&self) -> Option<HeaderValue> {
        let (user, password) = self.login.as_ref()?;
        let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        let mut header = HeaderValue::from_str(&text).expect("base64 is fit for a header");
        header.set_sensitive(true);
        Some(header)
    }
}

/// Host and port alone.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.address.authority().map_or("", |authority| authority.as_str()))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Which requests go through which proxy. Those to this machine never do.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exempt: Vec<Exempt>,
}

impl Proxies {
    /// No proxies.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends requests by http through a proxy.
    #[must_use]
    pub fn http(mut self, proxy: Proxy) -> Self {
        self.http = Some(proxy);
        self
    }

    /// Sends requests by https through a proxy.
    #[must_use]
    pub fn https(mut self, proxy: Proxy) -> Self {
        self.https = Some(proxy);
        self
    }

    /// Sends requests to some hosts without a proxy: names (and all below them), addresses, networks
    /// (`10.0.0.0/8`), each with or without a port, or `*` for all, with commas between them. This is
    /// what `NO_PROXY` holds.
    #[must_use]
    pub fn except(mut self, hosts: &str) -> Self {
        self.exempt.extend(hosts.split([',', ' ']).filter_map(Exempt::parse));
        self
    }

    fn find(&self, address: &Uri) -> Option<&Proxy> {
        let is_secure = address.scheme_str() == Some("https");
        let proxy = if is_secure { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = address.host()?;
        let port = address.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let is_exempt = is_loopback(host) || self.exempt.iter().any(|exempt| exempt.holds_for(host, port));
        (!is_exempt).then_some(proxy)
    }

    /// What is to be shown to the proxy with each request, where requests are handed over to one.
    pub(crate) fn authorization(&self, address: &Uri) -> Option<HeaderValue> {
        let proxy = self.find(address).filter(|proxy| !proxy.is_socks)?;
        if address.scheme_str() == Some("https") { None } else { proxy.authorization() }
    }
}

/// What is reached without a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exempt {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    /// A domain, and what is below it.
    Domain(String),
    /// A network, and how many bits of it count.
    Network(IpAddr, u32),
}

impl Exempt {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(hosts) = network(text) {
            return Some(Self { hosts, port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        let hosts = match host.trim_start_matches("*.").trim_start_matches('.') {
            "" => return None,
            "*" => Hosts::All,
            host => network(host).unwrap_or_else(|| Hosts::Domain(host.to_ascii_lowercase())),
        };
        Some(Self { hosts, port })
    }

    fn holds_for(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        let host = host.trim_matches(['[', ']']);
        match (&self.hosts, host.parse::<IpAddr>()) {
            (Hosts::All, _) => true,
            (Hosts::Network(network, bits), Ok(address)) => same_network(*network, address, *bits),
            (Hosts::Domain(domain), Err(_)) => {
                let host = host.to_ascii_lowercase();
                host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            _ => false,
        }
    }
}

fn network(text: &str) -> Option<Hosts> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some(Hosts::Network(address, bits))
}

fn same_network(one: IpAddr, other: IpAddr, bits: u32) -> bool {
    match (one.to_canonical(), other.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let differ = one.to_bits() ^ other.to_bits();
            differ.leading_zeros() >= bits.min(32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits,
        _ => false,
    }
}

/// A proxy could not be used.
#[derive(Debug)]
struct Failed {
    proxy: Proxy,
    source: Cause,
}

type Cause = Box<dyn Error + Send + Sync>;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy `{}` makes no connection", self.proxy)
    }
}

impl Error for Failed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// Tells whether it was a proxy that failed.
pub(crate) fn is_proxy_fault(error: &(dyn Error + 'static)) -> bool {
    error.is::<Failed>() || error.source().is_some_and(is_proxy_fault)
}

/// Makes connections, through a proxy where there is one for them.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) direct: HttpConnector,
    pub(crate) proxies: Arc<Proxies>,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Cause;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Cause>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let mut direct = self.direct.clone();
        let Some(proxy) = self.proxies.find(&address).cloned() else {
            return Box::pin(async move {
                Ok(Stream { inner: direct.call(address).await?, is_handed_over: false })
            });
        };
        Box::pin(async move {
            let is_handed_over = !proxy.is_socks && address.scheme_str() != Some("https");
            let result = connect(direct, &proxy, address).await;
            match result {
                Ok(inner) => Ok(Stream { inner, is_handed_over }),
                Err(source) => Err(Failed { proxy, source }.into()),
            }
        })
    }
}

async fn connect(
    mut direct: HttpConnector,
    proxy: &Proxy,
    address: Uri,
) -> Result<TokioIo<TcpStream>, Cause> {
    let through = proxy.address.clone();
    if proxy.is_socks {
        let socks = SocksV5::new(through, direct);
        let mut socks = match proxy.login.clone() {
            Some((user, password)) => socks.with_auth(user, password),
            None => socks,
        };
        return Ok(socks.call(address).await?);
    }
    if address.scheme_str() != Some("https") {
        return Ok(direct.call(through).await?);
    }
    let tunnel = Tunnel::new(through, direct);
    let mut tunnel = match proxy.authorization() {
        Some(header) => tunnel.with_auth(header),
        None => tunnel,
    };
    Ok(tunnel.call(address).await?)
}

/// A connection to a host or to a proxy.
pub(crate) struct Stream {
    inner: TokioIo<TcpStream>,
    /// Requests are for the proxy to make: it has to be told the whole address.
    is_handed_over: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.inner.connected().proxy(self.is_handed_over)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let shown = |text: &str| {
            let proxy: Proxy = text.parse().unwrap();
            (proxy.to_string(), proxy.is_socks, proxy.login)
        };
        let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(shown("http://p.io:3128"), ("p.io:3128".to_owned(), false, None));
        assert_eq!(shown("p.io"), ("p.io:80".to_owned(), false, None));
        assert_eq!(shown(" http://me:a%40b%3a@p.io:1/ "), ("p.io:1".to_owned(), false, login("me", "a@b:")));
        assert_eq!(shown("http://me:a@b@p.io:1"), ("p.io:1".to_owned(), false, login("me", "a@b")));
        assert_eq!(shown("socks5h://me@[::1]"), ("[::1]:1080".to_owned(), true, login("me", "")));
        for text in [
            "",
            "ftp://p.io",
            "https://p.io",
            "http://",
            "http://me:hidden@:1",
            "p.io:99999",
            "http://%zz@p.io",
            "http://hidden@a b:1",
        ] {
            let error = text.parse::<Proxy>().unwrap_err();
            assert!(!format!("{error}{error:?}").contains("hidden"), "{error}");
        }
        let proxy: Proxy = "http://me:hidden@p.io:1".parse().unwrap();
        assert!(!format!("{proxy}{proxy:?}").contains("hidden"));
    }

    fn proxies(except: &str) -> Proxies {
        let proxy = |text: &str| text.parse().unwrap();
        Proxies::new().http(proxy("plain:1")).https(proxy("secure:1")).except(except)
    }

    fn through(proxies: &Proxies, address: &str) -> Option<String> {
        proxies.find(&address.parse().unwrap()).map(ToString::to_string)
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let both = proxies("");
        assert_eq!(through(&both, "https://r.io/").as_deref(), Some("secure:1"));
        assert_eq!(through(&both, "http://r.io/").as_deref(), Some("plain:1"));
        let secure = Proxies::new().https("secure:1".parse().unwrap());
        assert_eq!(through(&secure, "http://r.io/"), None);
    }

    #[test]
    fn this_machine_is_reached_without_a_proxy() {
        for address in ["http://127.0.0.1:5000/", "https://localhost/", "http://[::1]:5000/"] {
            assert_eq!(through(&proxies(""), address), None, "{address}");
        }
    }

    #[test]
    fn hosts_are_exempt_by_name_address_network_and_port() {
        let some = proxies(
            "a.io, .b.io,*.c.io 10.0.0.0/9,192.168.1.1,fd00::/8,[::2],d.io:5000,,:,e.io:x,1.2.3.4/99",
        );
        for (address, is_exempt) in [
            ("https://a.io/", true),
            ("https://A.io:444/", true),
            ("https://x.a.io/", true),
            ("https://xa.io/", false),
            ("https://b.io/", true),
            ("https://x.b.io/", true),
            ("https://x.c.io/", true),
            ("https://10.127.1.1/", true),
            ("https://10.128.1.1/", false),
            ("https://192.168.1.1:5000/", true),
            ("https://192.168.1.2/", false),
            ("https://[fd12::1]/", true),
            ("https://[fe80::1]/", false),
            ("https://[::2]/", true),
            ("https://d.io:5000/", true),
            ("https://d.io/", false),
            ("https://e.io/", false),
            ("https://1.2.3.4/", false),
        ] {
            assert_eq!(through(&some, address).is_none(), is_exempt, "{address}");
        }
        assert_eq!(through(&proxies("*"), "https://8.8.8.8/"), None);
        assert_eq!(through(&proxies("d.io:443"), "https://d.io/"), None);
    }
}

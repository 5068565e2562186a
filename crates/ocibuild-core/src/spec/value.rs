//! Small values with a grammar of their own: modes, owners, ports.

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// The permission bits of a file or directory, at most `0o7777`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode(u32);

impl Mode {
    /// A mode of these bits; an error if there are others than the lower twelve.
    pub fn new(bits: u32) -> Result<Self, ValueError> {
        if bits > 0o7777 {
            return Err(bad_mode(&format!("{bits:#o}")));
        }
        Ok(Self(bits))
    }

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Mode {
    /// Writes it as in the spec: four octal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl FromStr for Mode {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let octal = (3..=5).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let bits = if octal { u32::from_str_radix(text, 8).ok() } else { None };
        bits.filter(|bits| *bits <= 0o7777).map(Self).ok_or_else(|| bad_mode(text))
    }
}

fn bad_mode(text: &str) -> ValueError {
    ValueError::new(format!("`{text}` is not a mode")).hint("write octal digits, such as \"0755\"")
}

/// The owner of a file: user and group, by number or by name.
///
/// Names are those of the image the layer is written for: of its base's `/etc/passwd` and
/// `/etc/group`, never of the host's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The user.
    pub user: Account,
    /// The group; `None` is the user's own, and only goes with a name.
    pub group: Option<Account>,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

impl Owner {
    /// An owner by numbers.
    pub fn numeric(uid: u32, gid: u32) -> Self {
        Self { user: Account::Id(uid), group: Some(Account::Id(gid)) }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some(group) => write!(f, "{}:{group}", self.user),
            None => write!(f, "{}", self.user),
        }
    }
}

impl FromStr for Account {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if let Some(id) = id(text) {
            return Ok(Self::Id(id));
        }
        // What useradd takes, and the dots and capitals that others do.
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if begins && text.strip_suffix('$').unwrap_or(text).chars().all(fits) && text.len() <= 256 {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(ValueError::new(format!("`{}` is neither a number nor a name", text.escape_debug())))
    }
}

impl FromStr for Owner {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let bad = || {
            ValueError::new(format!("`{}` is not an owner", text.escape_debug()))
                .hint("write \"UID:GID\" or \"USER:GROUP\", such as \"65532:65532\" or \"nonroot:nonroot\"")
        };
        let user: Account = user.parse().map_err(|_| bad())?;
        match (&user, group) {
            (Account::Name(_), None) => Ok(Self { user, group: None }),
            (Account::Id(uid), None | Some("")) => {
                Err(ValueError::new(format!("the owner `{text}` has no group"))
                    .hint(format!("write \"{uid}:{uid}\"")))
            }
            (_, Some(group)) => Ok(Self { group: Some(group.parse().map_err(|_| bad())?), user }),
        }
    }
}

/// A user's or group's number. The highest means "no change" to the kernel and owns nothing.
pub(super) fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok().filter(|id| *id != u32::MAX) } else { None }
}

/// A port a container listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    number: u16,
    protocol: Protocol,
}

/// The protocol of a [`Port`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Port {
    /// A port; an error if the number is 0.
    pub fn new(number: u16, protocol: Protocol) -> Result<Self, ValueError> {
        if number == 0 { Err(bad_port("0")) } else { Ok(Self { number, protocol }) }
    }

    /// The number, from 1.
    pub fn number(self) -> u16 {
        self.number
    }

    /// The protocol.
    pub fn protocol(self) -> Protocol {
        self.protocol
    }
}

impl fmt::Display for Port {
    /// Writes it as in an image's config: `3000/tcp`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        write!(f, "{}/{protocol}", self.number)
    }
}

impl FromStr for Port {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => {
                return Err(ValueError::new(format!("`{protocol}` is not a protocol"))
                    .hint("write `tcp`, `udp` or `sctp` after the port, such as \"53/udp\""));
            }
        };
        let digits = number.bytes().all(|b| b.is_ascii_digit());
        let number = if digits { number.parse().ok() } else { None };
        number.ok_or_else(|| bad_port(text)).and_then(|number| Self::new(number, protocol))
    }
}

/// What a layer may be known by without a look at its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Trust {
    /// The lockfiles that vouch for it.
    #[default]
    Manifests,
    /// Nothing: its files are looked at each time, and nothing but what they hold is its key.
    Content,
}

impl fmt::Display for Trust {
    /// Writes it as in the spec.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifests => "manifests",
            Self::Content => "content",
        })
    }
}

impl FromStr for Trust {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "manifests" => Ok(Self::Manifests),
            "content" => Ok(Self::Content),
            _ => Err(ValueError::new(format!("`{}` is nothing to know a layer by", text.escape_debug()))
                .hint("write \"manifests\" or \"content\"")),
        }
    }
}

/// Into how many blobs a layer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Split {
    /// As many as its size asks for.
    Auto,
    /// Into so many, beside those of single large files.
    Into(u8),
}

impl Split {
    /// The numbers of blobs that can be asked for.
    pub const RANGE: std::ops::RangeInclusive<u8> = 2..=64;

    /// A split into so many blobs; an error if there can't be so many.
    pub fn new(parts: i64) -> Result<Self, ValueError> {
        let parts = u8::try_from(parts).ok().filter(|parts| Self::RANGE.contains(parts));
        parts.map(Self::Into).ok_or_else(|| {
            let (least, most) = (Self::RANGE.start(), Self::RANGE.end());
            ValueError::new(format!("a layer can be split into {least} to {most} parts"))
                .hint("`split = \"auto\"` chooses the number by the layer's size")
        })
    }
}

impl fmt::Display for Split {
    /// Writes it as in the spec.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Into(parts) => write!(f, "{parts}"),
        }
    }
}

impl FromStr for Split {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => Err(ValueError::new(format!("`{}` is no way to split a layer", text.escape_debug()))
                .hint("write \"auto\", or a number of parts without quotes")),
        }
    }
}

pub(super) fn bad_port(text: &str) -> ValueError {
    ValueError::new(format!("`{text}` is not a port"))
        .hint("write a number from 1 to 65535, with `/udp` if it isn't TCP: \"3000/tcp\", \"53/udp\"")
}

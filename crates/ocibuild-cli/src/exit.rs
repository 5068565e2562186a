//! The exit codes, which are a promise to scripts.

/// All went well.
pub(crate) const SUCCESS: u8 = 0;
/// Something that no other code stands for; from `validate`, that the image breaks a rule; from `diff`,
/// that the images differ; from `rebase`, that the new base has something otherwise.
pub(crate) const FAILURE: u8 = 1;
/// The command line or the spec is faulty.
pub(crate) const USAGE: u8 = 2;
/// A file can't be read or written, or isn't what it should be.
pub(crate) const FILES: u8 = 3;
/// A registry can't be reached, or refuses.
pub(crate) const REGISTRY: u8 = 4;
/// A registry wants other credentials, or those there are can't be had.
pub(crate) const AUTH: u8 = 5;
/// The cache directory can't be used; from `cache verify`, that something in it is damaged; from
/// `build --verify-cache`, that a layer isn't what was recorded.
pub(crate) const CACHE: u8 = 6;
/// A step failed: its command, or what was to be had of it.
pub(crate) const STEP: u8 = 7;
/// The checks found something in an image that keeps it from being published.
pub(crate) const CHECKS: u8 = 8;
/// Stopped by Ctrl-C or SIGTERM.
pub(crate) const INTERRUPTED: u8 = 130;

/// What the help says of them.
pub(crate) const HELP: &str = "\
Exit codes:
    0  done
    1  something else went wrong; from `validate`: the image breaks a rule;
       from `diff`: the images differ; from `rebase`: the new base has something
       otherwise
    2  the command line or the spec is faulty
    3  a file can't be read or written, or isn't what it should be
    4  the registry can't be reached, or refuses
    5  the registry wants other credentials
    6  the cache directory can't be used; from `cache verify`: it has damage;
       from `build --verify-cache`: the files make another layer than it has
    7  a step failed
    8  the checks found something in an image that keeps it from being published
  130  interrupted";

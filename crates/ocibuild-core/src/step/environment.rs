//! What commands find in their environment, beside what the spec gives them.

use std::ffi::OsString;

/// Where programs are looked for if nobody says where.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The time that commands are told it is: 1980-01-01T00:00:00Z. zip knows nothing earlier.
pub const SOURCE_DATE_EPOCH: &str = "315532800";

/// Returns where commands look for programs.
pub(super) fn path_of(variables: &(dyn Fn(&str) -> Option<OsString> + Sync)) -> OsString {
    variables("PATH").filter(|path| !path.is_empty()).unwrap_or_else(|| PATH.into())
}

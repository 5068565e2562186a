//! Users and groups of a base, by name
//! ([passwd(5)](https://man7.org/linux/man-pages/man5/passwd.5.html),
//! [group(5)](https://man7.org/linux/man-pages/man5/group.5.html)).

/// The contents of `/etc/passwd` and `/etc/group`, where they are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Users {
    pub(super) passwd: Option<Vec<u8>>,
    pub(super) group: Option<Vec<u8>>,
}

impl Users {
    pub(super) fn user(&self, name: &str) -> Option<(u32, u32)> {
        let fields = line(self.passwd.as_deref()?, name)?;
        Some((number(&fields, 2)?, number(&fields, 3)?))
    }

    pub(super) fn group(&self, name: &str) -> Option<u32> {
        number(&line(self.group.as_deref()?, name)?, 2)
    }

    /// The names that the methods above find something for.
    pub(super) fn names(&self, groups: bool) -> Vec<String> {
        let file = if groups { &self.group } else { &self.passwd };
        let lines = file.as_deref().unwrap_or_default().split(|byte| *byte == b'\n');
        let first = |line: &[u8]| line.split(|byte| *byte == b':').next().map(<[u8]>::to_vec);
        let names = lines.filter_map(first).filter_map(|name| String::from_utf8(name).ok());
        let is_known =
            |name: &String| if groups { self.group(name).is_some() } else { self.user(name).is_some() };
        let known: std::collections::BTreeSet<String> = names.filter(is_known).collect();
        known.into_iter().collect()
    }
}

/// Returns the fields of the first line that begins with this name.
fn line<'a>(file: &'a [u8], name: &str) -> Option<Vec<&'a [u8]>> {
    let fields = |line: &'a [u8]| line.split(|byte| *byte == b':').collect::<Vec<_>>();
    let mut lines = file.split(|byte| *byte == b'\n').map(fields);
    lines.find(|fields| fields[0] == name.as_bytes() && !name.is_empty())
}

fn number(fields: &[&[u8]], index: usize) -> Option<u32> {
    let digits = std::str::from_utf8(fields.get(index)?).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_in_the_first_line_that_has_them() {
        let passwd = b"# no user\nroot:x:0:0:root:/root:/bin/sh\n\nnode:x:1000:1001::/:\nnode:x:7:7::/:\nbad:x\nneg:x:-1:0::/:";
        let users =
            Users { passwd: Some(passwd.to_vec()), group: Some(b"root:x:0:\nstaff:x:50:a,b".to_vec()) };
        assert_eq!(users.user("root"), Some((0, 0)));
        assert_eq!(users.user("node"), Some((1000, 1001)));
        assert_eq!(users.group("staff"), Some(50));
        assert_eq!(users.names(false), ["node", "root"]);
        assert_eq!(users.names(true), ["root", "staff"]);
        assert!(Users::default().names(true).is_empty());
        for name in ["", "bad", "neg", "nobody", "# no user"] {
            assert_eq!(users.user(name), None, "{name}");
        }
        assert_eq!(Users::default().group("root"), None);
    }
}

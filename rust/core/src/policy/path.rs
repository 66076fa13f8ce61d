//! Folders, and the paths that lie in them.
//!
//! Read strictly, a path lies in a folder only if there is no doubt: absolute, without `..`, backslashes, escapes, control
//! and invisible characters. Read widely, it does if some reading of it leads there: escapes undone, `..` walked, either
//! slash, any case, cut at a NUL. Symbolic links are not known here.

use super::readings;
use crate::percent;

/// A folder, as an absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder(Box<[Box<str>]>);

impl Folder {
    /// Read a folder: an absolute path without `..`.
    pub(super) fn parse(written: &str) -> Result<Self, String> {
        let parts = parts_of(written);
        if !written.starts_with('/') || doubtful(written) || parts.contains(&"..") {
            return Err("must be an absolute path such as `/srv/data`, without `..`, `\\` and escapes".to_owned());
        }
        Ok(Self(parts.into_iter().map(Into::into).collect()))
    }

    /// Whether a path surely lies in the folder, or is it.
    pub(super) fn holds_strictly(&self, path: &str) -> bool {
        let parts = parts_of(path);
        path.starts_with('/') && !doubtful(path) && !parts.contains(&"..") && self.leads(&parts, |a, b| a == b)
    }

    /// Whether some reading of a path lies in the folder.
    pub(super) fn holds_widely(&self, path: &str) -> bool {
        // For what is written in C a path ends at the first NUL.
        let whole_and_cut = |reading: &String| {
            let cut = reading.split_once('\0').is_some_and(|(path, _)| self.may_hold(path));
            cut || self.may_hold(reading)
        };
        readings::of(path).iter().any(whole_and_cut)
    }

    /// Whether every path of another folder is in this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let parts: Vec<&str> = other.0.iter().map(AsRef::as_ref).collect();
        self.leads(&parts, |a, b| a == b)
    }

    fn may_hold(&self, path: &str) -> bool {
        let slashes = path.trim().replace('\\', "/");
        let local = match slashes.get(..5) {
            Some(scheme) if scheme.eq_ignore_ascii_case("file:") => without_host(slashes.get(5..).unwrap_or_default()),
            _ => slashes.as_str(),
        };
        let parts = parts_of(local);
        if !local.starts_with('/') {
            // Relative to a place that is not known: it may climb out of there to anywhere.
            return parts.contains(&"..");
        }
        let mut walked = Vec::with_capacity(parts.len());
        for part in parts {
            if part == ".." {
                walked.pop();
            } else {
                walked.push(part);
            }
        }
        self.leads(&walked, str::eq_ignore_ascii_case)
    }

    fn leads(&self, parts: &[&str], same: impl Fn(&str, &str) -> bool) -> bool {
        parts.len() >= self.0.len() && self.0.iter().zip(parts).all(|(own, part)| same(own, part))
    }
}

fn parts_of(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}

/// Whether others may read a path differently.
fn doubtful(path: &str) -> bool {
    path.contains(|c: char| c == '\\' || readings::is_dropped(c)) || *percent::decoded(path) != *path
}

/// `//host/x` and `/x` -> `/x`.
fn without_host(rest: &str) -> &str {
    let Some(host) = rest.strip_prefix("//") else { return rest };
    host.find('/').and_then(|slash| host.get(slash..)).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Folder;

    #[test]
    fn a_folder_is_read_strictly() {
        for bad in ["", "srv", "./srv", "/srv/../etc", "C:\\data", "/srv/%2e%2e", "\\srv"] {
            assert!(Folder::parse(bad).is_err(), "{bad}");
        }
        assert!(Folder::parse("/").unwrap().holds_strictly("/anything"));
    }

    #[test]
    fn what_is_surely_inside() {
        let folder = Folder::parse("/srv/data/").unwrap();
        for inside in ["/srv/data", "/srv/data/", "/srv/data/a/b", "//srv/./data/a", "/srv/data/50% of it"] {
            assert!(folder.holds_strictly(inside), "{inside}");
        }
        for doubtful in [
            "/srv/database",
            "/srv",
            "/srv/data/../x",
            "/srv/data/a/../b",
            "srv/data/a",
            "/SRV/data/a",
            "/srv/data/..\\x",
            "/srv/data/%2e%2e/x",
            "/srv/data/a\0",
            "/srv/data/a\n",
            "/srv/data/\u{200b}a",
            "/srv/data/%25252e%25252e/x",
            "",
        ] {
            assert!(!folder.holds_strictly(doubtful), "{doubtful}");
        }
    }

    #[test]
    fn what_may_be_inside() {
        let folder = Folder::parse("/etc").unwrap();
        for inside in [
            "/etc/passwd",
            "/srv/../etc/passwd",
            "/srv/../../../../etc/passwd",
            "//etc//passwd",
            "/./etc/passwd",
            "/ETC/passwd",
            "\\etc\\passwd",
            "file:///etc/passwd",
            "FILE://localhost/etc/passwd",
            "file:/etc/passwd",
            "/%65tc/passwd",
            "/srv/%2e%2e/etc/passwd",
            "/srv/%252e%252e/etc/passwd",
            "/srv%2f..%2fetc/passwd",
            " /etc/passwd",
            "../../etc/passwd",
            "a/../../x",
            "/etc/passwd\0.png",
            "/etc\0.png",
            "/etc%00.png",
            "/srv/%25252e%25252e/etc/passwd",
            "/%25252565tc/passwd",
            "/e\u{200b}tc/passwd",
            "／etc／passwd",
        ] {
            assert!(folder.holds_widely(inside), "{inside}");
        }
        for outside in ["/srv/etc", "/etcetera", "etc/passwd", "/etc/../srv/x", "", "/srv/data"] {
            assert!(!folder.holds_widely(outside), "{outside}");
        }
    }
}

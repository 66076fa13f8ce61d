//! IP addresses of both versions. Numbers of versions and sections look the same, so the words before them count.

use std::net::Ipv6Addr;

use super::groups::{Gap, Group};
use super::lexicon::{self, Topic};
use super::{Found, Kind, Read, begins, byte, byte_before, is_word};
use crate::finding::Category;

const IPV4: Kind = Kind::new("pii.ipv4", Category::IpAddress, 8, 6);
const IPV6: Kind = Kind::new("pii.ipv6", Category::IpAddress, 8, 7);
/// The longest way to write an address of version 6.
const LONGEST: usize = 45;

/// The dotted row that begins here: an address of version 4, or something that is none. Loopback addresses and masks
/// belong to nobody.
pub(super) fn v4(text: &str, row: &[Group]) -> Read {
    let first = row.first()?;
    let dotted = 1 + row.iter().skip(1).take_while(|group| group.gap == Gap::Dot).count();
    if dotted < 4 || first.gap == Gap::Dot || row.iter().take(dotted).any(|group| group.len() > 3) {
        return None;
    }
    // Telephone numbers with dots between pairs, or after a country code.
    let paired = dotted > 4
        && row.iter().take(dotted).all(|group| group.len() == 2)
        && byte(text.as_bytes(), first.start) == b'0';
    if paired || byte_before(text.as_bytes(), first.start, 1) == b'+' {
        return None;
    }
    let last = row.get(dotted - 1)?;
    let span = first.start..last.end;
    let prefix = row.get(dotted).is_some_and(|group| group.gap == Gap::Slash && group.len() <= 2);
    let hit = dotted == 4 && is_v4(text, first, last).unwrap_or(false);
    Some((dotted + usize::from(prefix), hit.then_some((span, IPV4))))
}

fn is_v4(text: &str, first: &Group, last: &Group) -> Option<bool> {
    let bytes = text.as_bytes();
    let mut octets = text.get(first.start..last.end)?.split('.');
    let valid = octets.all(|octet| octet.parse::<u8>().is_ok() && (octet.len() == 1 || !octet.starts_with('0')));
    let written = bytes.get(first.start..)?;
    let own = [&b"127.0."[..], b"0.0.0.", b"255.255."].iter().any(|own| written.starts_with(own));
    if !valid || own || !begins(bytes, first.start) {
        return Some(false);
    }
    let (last1, last2) = (byte_before(bytes, first.start, 1), byte_before(bytes, first.start, 2));
    let joined = matches!(last1, b'-' | b'/' | b'.') && is_word(last2) && first.gap != Gap::Start
        || matches!(last1, b'-' | b'/') && last2.is_ascii_alphabetic()
        || last1 == b'.' && is_word(last2)
        || last1 == b'=' && matches!(last2, b'=' | b'<' | b'>' | b'~' | b'!')
        || matches!(last1, b'~' | b'^');
    let (next1, next2) = (byte(bytes, last.end), byte(bytes, last.end + 1));
    let goes_on =
        is_word(next1) || matches!(next1, b'-' | b'.' | b'+') && (next2.is_ascii_lowercase() || next2 == b'_');
    let before = lexicon::before(text, first.start);
    let versioned = before.says(Topic::Version) && !before.crossed && before.distance < 3
        || text.get(..first.start)?.trim_end().ends_with('§');
    Some(!(joined || goes_on || versioned))
}

/// Every address of version 6.
pub(super) fn find_v6(text: &str, found: &mut Vec<Found>) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for colon in memchr::memchr_iter(b':', bytes) {
        let next = byte(bytes, colon + 1);
        if colon < done || !(next == b':' || next.is_ascii_hexdigit()) {
            continue;
        }
        let head = bytes.get(done..colon).unwrap_or_default();
        let start = colon - head.iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let tail = bytes.get(colon..).unwrap_or_default();
        done = colon + tail.iter().take_while(|byte| byte.is_ascii_hexdigit() || **byte == b':').count();
        if let Some((start, end)) = v6_in(text, start, done) {
            found.push((start..end, IPV6));
        }
    }
}

/// The address in a run of hex digits and colons, less the colons of the sentence around it.
fn v6_in(text: &str, mut start: usize, mut end: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    if byte(bytes, start) == b':' && (byte(bytes, start + 1) != b':' || byte(bytes, start + 2) == b':') {
        start += 1;
    } else if is_word(byte_before(bytes, start, 1)) {
        return None;
    }
    if byte_before(bytes, end, 1) == b':' && byte_before(bytes, end, 2) != b':' {
        end -= 1;
    }
    if byte(bytes, end) == b'.' && byte(bytes, end + 1).is_ascii_digit() {
        let rest = bytes.get(end..)?.iter().take(16);
        end += rest.take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
        while byte_before(bytes, end, 1) == b'.' {
            end -= 1;
        }
    }
    let written = text.get(start..end).filter(|written| written.len() <= LONGEST && !is_word(byte(bytes, end)))?;
    let groups = written.split(':').filter(|group| !group.is_empty());
    let telling = groups.clone().next().is_some_and(|group| group.bytes().any(|byte| byte.is_ascii_digit()))
        || groups.clone().count() >= 4
        || written.contains('.');
    let plausible = groups.clone().count() >= 2
        && groups.clone().any(|group| group.len() >= 3)
        && written.bytes().any(|byte| byte.is_ascii_digit())
        && telling;
    (plausible && written.parse::<Ipv6Addr>().is_ok()).then_some((start, end))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::string_slice)]
    use super::super::groups::Groups;
    use super::*;

    fn finds(text: &str) -> Vec<&str> {
        let (mut found, mut groups) = (Vec::new(), Groups::new(text.as_bytes()));
        find_v6(text, &mut found);
        loop {
            let row = groups.window();
            if row.is_empty() {
                return found.into_iter().map(|(span, _)| &text[span]).collect();
            }
            let (count, hit) = v4(text, row).unwrap_or((1, None));
            found.extend(hit);
            groups.advance(count, count > 1);
        }
    }

    #[test]
    fn addresses_of_version_4() {
        assert_eq!(finds("http://203.0.113.7:80/x and 10.1.2.0/24."), ["203.0.113.7", "10.1.2.0"]);
        assert_eq!(finds("10.0.0.1-10.0.0.9, ip=8.8.8.8;\"9.9.9.9\""), ["10.0.0.1", "10.0.0.9", "8.8.8.8", "9.9.9.9"]);
    }

    #[test]
    fn numbers_of_versions_are_no_addresses() {
        for text in [
            "version 1.2.3.4",
            "v1.2.3.4",
            "1.2.3.4.5",
            "300.1.1.1",
            "1.2.3.04",
            "Chrome/120.0.0.1",
            "lib==1.2.3.4",
            "lib-1.2.3.4",
            "1.2.3.4-beta",
            "1.2.3.4.dev",
            "section 3.1.2.4",
            "127.0.0.1",
            "1.2.3",
            "1.2.3.4567",
        ] {
            assert!(finds(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn addresses_of_version_6_in_all_forms() {
        for address in [
            "2001:db8::475d",
            "fe80::1ff:fe23:4567:890a",
            "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
            "::ffff:192.0.2.128",
            "2001:DB8:0:0:8:800:200C:417A",
            "fd12:3456:789a:1::1",
            "64:ff9b::192.0.2.33",
        ] {
            for frame in ["from {} over", "[{}]:443", "{}/64", "{}%eth0", "ip:{}:", "({})."] {
                let text = frame.replace("{}", address);
                assert_eq!(finds(&text).first(), Some(&address), "{text}");
            }
        }
    }

    #[test]
    fn times_paths_and_hardware_addresses_are_none() {
        for text in
            ["12:30:45", "std::vec::Vec", "abc::d1", "00:1a:2b:3c:4d:5e", "::", "a::b", "dead::beef", "x2001:db8::1"]
        {
            assert!(finds(text).is_empty(), "{text}");
        }
    }
}

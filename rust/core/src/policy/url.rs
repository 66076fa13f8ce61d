//! The hosts that a text may name as a URL, and URLs that everybody reads alike.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::readings::is_dropped;

/// Schemes behind which browsers ask for no slashes.
const WEB_SCHEMES: [&str; 5] = ["http", "https", "ws", "wss", "ftp"];

/// The longest IPv6 address, in bytes: eight groups of four digits, or six and an IPv4 address.
const MAX_IPV6_BYTES: usize = 45;

/// What a text may name as a host: a URL with any number of slashes of either kind, or an authority alone.
///
/// What stands behind each `@` may be the host, and each colon may begin the port. Together they are at most some
/// times as long as the text.
pub(super) fn hosts(text: &str) -> Vec<&str> {
    let trimmed = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let web = trimmed.split_once(':').filter(|(scheme, _)| WEB_SCHEMES.iter().any(|s| s.eq_ignore_ascii_case(scheme)));
    let other = trimmed.split_once("://");
    let mut found = vec![trimmed];
    for rest in [Some(trimmed), web.map(|(_, rest)| rest), other.map(|(_, rest)| rest)].into_iter().flatten() {
        let authority = rest.trim_start_matches(['/', '\\']).split('/').next().unwrap_or_default();
        authority.split('@').for_each(|piece| hosts_of_piece(piece, &mut found));
    }
    found
}

/// The hosts that may stand at the beginning of an authority, or behind one of its `@`.
fn hosts_of_piece<'a>(piece: &'a str, found: &mut Vec<&'a str>) {
    let ends = |c: char| matches!(c, '\\' | '?' | '#' | ']' | '%') || c.is_whitespace() || c.is_control();
    let host = piece.trim_start().trim_start_matches('[').split(ends).next().unwrap_or_default();
    found.push(host);
    let mut colons = host.match_indices(':').map(|(at, _)| at);
    found.extend(colons.next().and_then(|at| host.get(..at)));
    found.extend(colons.take_while(|at| *at <= MAX_IPV6_BYTES).filter_map(|at| host.get(..at)));
}

/// Whether a text is a URL that everybody reads alike: `scheme://host`, then a port, a path, a query as they come.
///
/// The host is a name in ASCII, or an address as everybody writes it. There are no white space, control or invisible
/// characters and no backslashes anywhere, and, unless `may_name_user`, there is no `@` before the host.
pub(super) fn is_plain(text: &str, may_name_user: bool) -> bool {
    if text.contains(|c: char| c == '\\' || c.is_whitespace() || is_dropped(c)) {
        return false;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.split_once('@') {
        Some((_, host)) if may_name_user => host,
        _ => authority,
    };
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(is_scheme) && is_plain_host(host)
}

fn is_plain_host(host: &str) -> bool {
    if let Some((inside, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // A name whose last part begins with a digit is an address to many readers.
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_number = last.starts_with(|c: char| c.is_ascii_digit());
    !last.is_empty()
        && name.chars().all(is_name)
        && port.is_none_or(is_port)
        && (!is_number || name.parse::<Ipv4Addr>().is_ok())
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::{hosts, is_plain};

    #[test]
    fn plain_urls() {
        for plain in [
            "https://example.com",
            "https://example.com:8443/a?b=x@y#c",
            "http://10.0.0.1/",
            "http://[fd00::1]:80/",
            "https://xn--bcher-kva.example/é",
            "https://example.com./",
        ] {
            assert!(is_plain(plain, false), "{plain}");
        }
        assert!(is_plain("ssh://git@example.com/x", true) && !is_plain("ssh://git@example.com/x", false));
        assert!(!is_plain("ssh://a@b@example.com/x", true));
    }

    #[test]
    fn urls_that_somebody_reads_otherwise() {
        for odd in [
            "https://example.com\\@127.0.0.1/",
            "https://127.0.\t0.1/",
            "https://127.0.0.1\u{ad}/",
            "https://x@127.0.0.1:80:1/",
            "https://127.0.0.1:80:1/",
            "https://0/",
            "https://0x7f.1/",
            "https://127.0.0.1./",
            "https://%31/",
            "https:///127.0.0.1/",
            "https:127.0.0.1",
            "https://exämple.com/",
            "https://[::1/",
            "https://[fd00::1%25eth0]/",
            "https://a:99999/",
            " https://example.com",
            "https://",
            "example.com",
            "1://example.com",
        ] {
            assert!(!is_plain(odd, false), "{odd}");
        }
    }

    #[test]
    fn hosts_are_no_longer_than_some_texts() {
        for text in [":".repeat(50_000), "a:@".repeat(50_000), "[@".repeat(50_000), "https://a:".repeat(20_000)] {
            assert!(hosts(&text).iter().map(|host| host.len()).sum::<usize>() < 20 * text.len(), "{}", text.len());
        }
    }
}

//! IP networks, and the addresses that a text may mean.
//!
//! Read strictly, a text is an address only as everybody writes it. Read widely, it is every address that some library
//! would connect to: the host of a URL, hexadecimal and shortened IPv4, IPv4 inside IPv6. Names of hosts are never an
//! address: what they lead to is not known here, and may be something else by the time of the call.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use unicode_normalization::UnicodeNormalization;

use crate::percent;

/// An IP network, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    length: u8,
}

impl Network {
    /// Read a network. One address without a length is a network of its own.
    pub(super) fn parse(written: &str) -> Result<Self, String> {
        let (address, length) = written.split_once('/').map_or((written, None), |(a, l)| (a, Some(l)));
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err("must be a network such as `10.0.0.0/8` or `fd00::/8`".to_owned());
        };
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => longest,
            Some(length) => match length.parse() {
                Ok(bits) if bits <= longest && !length.starts_with('+') => bits,
                _ => return Err(format!("must have a length from 0 to {longest} behind the `/`")),
            },
        };
        let network = Self { address, length };
        if bits_of(address) != network.base_of_own() {
            return Err(format!("has bits behind the first {length}: they would not count"));
        }
        Ok(network)
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && self.base(address) == self.base_of_own()
    }

    /// Whether every address of another network is in this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }

    fn base_of_own(&self) -> u128 {
        self.base(self.address)
    }

    /// The bits of an address that count.
    fn base(&self, address: IpAddr) -> u128 {
        let bits = bits_of(address);
        if self.length == 0 { 0 } else { bits & (u128::MAX << (128 - u32::from(self.length))) }
    }
}

/// The bits of an address, the first one first.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address that a text surely is. An IPv4 address written as IPv6 is the IPv4 address.
pub(super) fn strictly(text: &str) -> Option<IpAddr> {
    Some(text.parse::<IpAddr>().ok()?.to_canonical())
}

/// The addresses that a text may be, or lead to as a URL.
pub(super) fn widely(text: &str) -> Vec<IpAddr> {
    let level: String = text.trim().nfkc().map(|c| if c == '\u{3002}' { '.' } else { c }).collect();
    let decoded = percent::decoded(&level);
    let mut found = Vec::new();
    for host in [Cow::Borrowed(&*level), decoded].iter().flat_map(|text| [text.trim(), host_of(text)]) {
        let bare = host.trim_matches(['[', ']']).trim_end_matches('.');
        let bare = bare.split_once('%').map_or(bare, |(address, _)| address);
        if let Some(address) = strictly(bare).or_else(|| loose_ipv4(bare).map(IpAddr::V4)) {
            found.push(address);
            found.extend(embedded_ipv4(address));
        }
    }
    found
}

/// The host of a URL, or of `host:port`.
fn host_of(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest).trim_start_matches(['/', '\\']);
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((inside, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside;
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

/// IPv4 as `inet_aton` reads it: one to four numbers, decimal, octal or hexadecimal, the last one filling what is left.
fn loose_ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut numbers = Vec::with_capacity(4);
    for part in text.split('.') {
        let (digits, radix) = match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
            Some(digits) => (digits, 16),
            None if part.len() > 1 && part.starts_with('0') => (part, 8),
            None => (part, 10),
        };
        let plain = !digits.starts_with('+') && numbers.len() < 4;
        let number = if digits.is_empty() && radix == 16 { Some(0) } else { u64::from_str_radix(digits, radix).ok() };
        numbers.push(number.filter(|_| plain)?);
    }
    let (last, leading) = numbers.split_last()?;
    let mut bits: u64 = 0;
    for (position, number) in leading.iter().enumerate() {
        bits |= Some(*number).filter(|number| *number < 256)? << (24 - 8 * position);
    }
    let room = 32 - 8 * leading.len();
    let bits = bits | Some(*last).filter(|last| *last < 1 << room)?;
    u32::try_from(bits).ok().map(Ipv4Addr::from_bits)
}

/// IPv4 that an IPv6 address carries, where packets to it may end up there.
fn embedded_ipv4(address: IpAddr) -> Option<IpAddr> {
    const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
    let IpAddr::V6(address) = address else { return None };
    let [a, b, c, d, e, f, g, h] = address.segments();
    let last = || Ipv4Addr::from_bits(u32::from(g) << 16 | u32::from(h));
    match [a, b, c, d, e, f] {
        NAT64 => Some(last()),
        [0, 0, 0, 0, 0, 0] if address != Ipv6Addr::LOCALHOST && !address.is_unspecified() => Some(last()),
        [0x2002, b, c, ..] => Some(Ipv4Addr::from_bits(u32::from(b) << 16 | u32::from(c))),
        _ => None,
    }
    .map(IpAddr::V4)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Network, strictly, widely};

    fn network(written: &str) -> Network {
        Network::parse(written).unwrap()
    }

    #[test]
    fn a_network_is_read_strictly() {
        for bad in ["", "10", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.1/8", "::1/64", "a/8", "10.0.0.0/"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
        for good in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "10.1.2.3", "fd00::/8", "::1"] {
            assert!(Network::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn an_address_is_in_the_networks_that_hold_it() {
        let holds = |net: &str, address: &str| strictly(address).is_some_and(|ip| network(net).contains(ip));
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.0.0.1") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        for no_address in ["localhost", "10.1", "0x0a000001", "10.0.0.1:80", "[::1]", "010.0.0.1", " 10.0.0.1"] {
            assert_eq!(strictly(no_address), None, "{no_address}");
        }
        assert!(network("10.0.0.0/8").covers(&network("10.1.0.0/16")));
        assert!(!network("10.1.0.0/16").covers(&network("10.0.0.0/8")));
    }

    #[test]
    fn every_spelling_of_an_address_is_seen_when_read_widely() {
        let local = network("127.0.0.0/8");
        for spelling in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "0177.0.0.01",
            "http://127.0.0.1/x",
            "http://user:pw@127.0.0.1:8080/x?y",
            "http://example.com@127.1",
            "127.0.0.1:80",
            "http://[::ffff:127.0.0.1]/",
            "[::ffff:7f00:1]:80",
            "//127.0.0.1\\x",
            "http://%31%32%37.0.0.1/",
            "http://１２７.0.0.1/",
            "http://127。0。0。1/",
            "127.0.0.1.",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            " 127.0.0.1\n",
            "HTTP://127.0.0.1",
        ] {
            assert!(widely(spelling).into_iter().any(|address| local.contains(address)), "{spelling}");
        }
        for other in
            ["example.com", "127.0.0.1.example.com", "http://example.com/127.0.0.1", "", "256.0.0.1", "1.2.3.4.5"]
        {
            assert!(!widely(other).into_iter().any(|address| local.contains(address)), "{other}");
        }
    }
}

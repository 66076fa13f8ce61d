//! IP networks, and the addresses that a text may mean.
//!
//! Read strictly, a text is an address only as everybody writes it. Read widely, it is every address that some library
//! would connect to: the host of a URL, hexadecimal and shortened IPv4, IPv4 inside IPv6. Names of hosts are never an
//! address: what they lead to is not known here, and may be something else by the time of the call.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{readings, url};

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

    /// Whether it holds an address and nothing else that packets may be for: an IPv6 address that carries an IPv4 one is
    /// only in a network that begins where such addresses do.
    pub(super) fn surely_contains(&self, address: IpAddr) -> bool {
        let carries = |address| !embedded_ipv4(address).is_empty();
        self.contains(address) && (!carries(address) || carries(self.address))
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
    let readings = readings::of(text);
    let hosts = readings.iter().flat_map(|reading| url::hosts(reading));
    let mut found = Vec::new();
    for host in hosts.map(|host| host.trim_end_matches('.')) {
        if let Some(address) = strictly(host).or_else(|| loose_ipv4(host).map(IpAddr::V4)) {
            found.push(address);
            found.extend(embedded_ipv4(address));
            if address.is_unspecified() {
                // To connect to no address in particular is to connect to the machine itself.
                found.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
            }
        }
    }
    found
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
fn embedded_ipv4(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(address) = address else { return Vec::new() };
    let [_, b, c, .., g, h] = address.segments();
    let last = (g, h);
    let carried = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => vec![last],
        [0x64, 0xff9b, 1, d, e, f, ..] => local_nat64([d, e, f, g], last),
        [0, 0, 0, 0, 0, 0, ..] if address != Ipv6Addr::LOCALHOST && !address.is_unspecified() => vec![last],
        [0x2002, ..] => vec![(b, c)],
        _ => Vec::new(),
    };
    let bits = |(high, low): (u16, u16)| u32::from(high) << 16 | u32::from(low);
    carried.into_iter().map(|pair| IpAddr::V4(Ipv4Addr::from_bits(bits(pair)))).collect()
}

/// IPv4 behind a prefix of 96, 64, 56 or 48 bits of the operator's own choice (RFC 6052, section 2.2). Behind one of the
/// shorter ones, eight bits that are zero stand in between, and zeros alone are none: they are behind the longest.
fn local_nat64([d, e, f, g]: [u16; 4], last: (u16, u16)) -> Vec<(u16, u16)> {
    let across = |high: u16, low: u16| high << 8 | low >> 8;
    let shorter = [(across(e, f), across(f, g)), (across(d, 0) | e & 0xff, f), (d, across(e, f))];
    let mut carried = vec![last];
    carried.extend(shorter.into_iter().filter(|pair| *pair != (0, 0)));
    carried
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
        let surely = |net: &str, address: &str| network(net).surely_contains(strictly(address).unwrap());
        assert!(!surely("::/0", "64:ff9b:1::7f00:1") && surely("::/0", "2606:4700::1111"));
        assert!(surely("64:ff9b::/96", "64:ff9b::808:808") && surely("2002:808::/32", "2002:808:808::"));
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
            "https://example.com\\@127.0.0.1/",
            "https://example.com?@127.0.0.1/",
            "https://127.0.\t0.1/",
            "ht\ntps://127.0.0.1\r/",
            "https://127.0.0.1\0.example.com/",
            "https://127.0.0.1%00.example.com/",
            "https://127.0.0.1 example.com/",
            "https://12\u{ad}7.0.0.1/",
            "https://127\u{200b}.0.0.1/",
            "https://127.0.0.1\u{2060}/",
            "https://127.0.0.1\u{180e}/",
            "https://127.%C2%AD0.0.1/",
            "https://a\u{2100}@127.0.0.1/",
            "https://x@127.0.0.1:80:1/",
            "https://127.0.0.1:80:1/",
            "https://a@127.0.0.1@b/",
            "https://[::ffff:127.0.0.1]:80:1/",
            "::ffff:7f00:1:80:1:2:3",
            "https://0/",
            "https://0.0.0.0:80/",
            "http://[::]/",
            "[64:ff9b:1::7f00:1]",
            "64:ff9b:1:0:7f:0:100:0",
            "64:ff9b:1:7f:0:1::",
            "64:ff9b:1:7f00:0:100::",
            "::ffff:0:7f00:1",
            "https://%2531%2532%2537.0.0.1/",
            "https://%25252531%25252532%25252537.0.0.1/",
            "https://%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1/",
            "http:127.0.0.1/",
            "http:/127.0.0.1/",
            "http:\\\\127.0.0.1/",
            "http:////127.0.0.1/",
            "HTTPS:2130706433",
            "url:http://127.0.0.1/",
        ] {
            assert!(widely(spelling).into_iter().any(|address| local.contains(address)), "{spelling}");
        }
        for other in [
            "example.com",
            "127.0.0.1.example.com",
            "http://example.com/127.0.0.1",
            "http://example.com/@127.0.0.1",
            "",
            "256.0.0.1",
            "1.2.3.4.5",
            "example.com:80",
            "64:ff9b:1::808:808",
            "2606:4700::1111",
            "\u{200b}",
        ] {
            assert!(!widely(other).into_iter().any(|address| local.contains(address)), "{other}");
        }
    }
}

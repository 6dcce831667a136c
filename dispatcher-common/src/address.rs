//! One 128-bit form for the addresses of both families, as it lies in a packet: network byte order, IPv4 mapped into
//! `::ffff:0:0/96`.

/// An IPv4 or IPv6 address in network byte order, as two halves: programs load, hash and store nothing smaller.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address([u64; 2]);

const _: () = assert!(size_of::<Address>() == 16);

/// Third word of an IPv4-mapped address.
const MAPPED_PREFIX: u32 = 0xffff_u32.to_be();

// Words are joined as a load would join them.
const _: () = assert!(cfg!(target_endian = "little"));

impl Address {
    /// The address whose halves are these, as loaded from a packet.
    #[inline(always)]
    pub const fn from_halves(halves: [u64; 2]) -> Self {
        Self(halves)
    }

    /// The address whose words are these, as loaded from a packet.
    #[inline(always)]
    pub const fn from_words([a, b, c, d]: [u32; 4]) -> Self {
        Self([a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32])
    }

    /// Maps an IPv4 address, given as loaded from a packet.
    #[inline(always)]
    pub const fn from_ipv4_be(address_be: u32) -> Self {
        Self::from_words([0, 0, MAPPED_PREFIX, address_be])
    }

    /// Whether this is a mapped IPv4 address.
    #[inline(always)]
    pub const fn is_ipv4(&self) -> bool {
        self.0[0] == 0 && self.0[1] as u32 == MAPPED_PREFIX
    }

    #[inline(always)]
    pub const fn halves(&self) -> [u64; 2] {
        self.0
    }

    /// The four words, of which the last is an IPv4 address.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        let [first, second] = self.0;
        [first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32]
    }
}

#[cfg(any(test, feature = "user"))]
impl From<std::net::IpAddr> for Address {
    fn from(address: std::net::IpAddr) -> Self {
        let octets = match address {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(v6) => v6.octets(),
        };
        let word = |i: usize| u32::from_ne_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]]);
        Self::from_words([word(0), word(4), word(8), word(12)])
    }
}

#[cfg(any(test, feature = "user"))]
impl From<Address> for std::net::IpAddr {
    fn from(address: Address) -> Self {
        let mut octets = [0; 16];
        for (chunk, word) in octets.chunks_exact_mut(4).zip(address.words()) {
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        std::net::Ipv6Addr::from(octets).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn both_families_survive_a_round_trip() {
        for text in ["198.18.0.1", "2001:db8::1", "0.0.0.0", "::"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
        }
    }

    #[test]
    fn an_ipv4_packet_word_maps_like_the_standard_library() {
        let address: IpAddr = "198.18.0.1".parse().unwrap();
        let mapped = Address::from_ipv4_be(u32::from_ne_bytes([198, 18, 0, 1]));
        assert_eq!(Address::from(address), mapped);
        assert!(mapped.is_ipv4());
        assert!(!Address::from("2001:db8::1".parse::<IpAddr>().unwrap()).is_ipv4());
    }
}

//! Addresses as 128 bits, IPv4 mapped into `::ffff:0:0/96`, and the way from there to the form of maps. Owns nothing else;
//! that form is [`Address`]'s own.

use std::net::IpAddr;

use dispatcher_common::address::Address;

/// Bits before an IPv4 address.
pub(crate) const MAPPED_BITS: u8 = 96;

/// The bits of an address.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The first `len` bits set.
pub(crate) fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(len.into())).unwrap_or(0)
}

/// The bits as they lie in a packet.
pub(crate) fn in_packet(bits: u128) -> Address {
    let octets = bits.to_be_bytes();
    let word = |i: usize| u32::from_ne_bytes([octets[i], octets[i + 1], octets[i + 2], octets[i + 3]]);
    Address::from_words([word(0), word(4), word(8), word(12)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lie_as_in_a_packet() {
        let ipv4 = in_packet(bits("198.18.0.1".parse().unwrap()));
        assert_eq!(ipv4, Address::from_ipv4_be(u32::from_ne_bytes([198, 18, 0, 1])));
        assert!(ipv4.is_ipv4());
        let ipv6 = in_packet(bits("2001:db8::1".parse().unwrap()));
        assert_eq!(ipv6.words(), [0x2001_0db8_u32.to_be(), 0, 0, 1_u32.to_be()]);
        assert_eq!([mask(0), mask(1), mask(128)], [0, 1 << 127, u128::MAX]);
    }
}

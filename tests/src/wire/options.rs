//! TCP options to and from bytes, unknown and malformed ones included.

/// One TCP option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    Nop,
    Mss(u16),
    WindowScale(u8),
    SackPermitted,
    /// Left and right edges.
    Sack(Vec<(u32, u32)>),
    /// Value and echo.
    Timestamps(u32, u32),
    /// Any bytes, kind and length included.
    Raw(Vec<u8>),
}

/// The options' bytes in the order given, filled up with end-of-list bytes to a multiple of four.
#[must_use]
pub fn encode_options(options: &[TcpOption]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for option in options {
        match option {
            TcpOption::Nop => bytes.push(1),
            TcpOption::Mss(mss) => {
                bytes.extend([2, 4]);
                bytes.extend(mss.to_be_bytes());
            }
            TcpOption::WindowScale(scale) => bytes.extend([3, 3, *scale]),
            TcpOption::SackPermitted => bytes.extend([4, 2]),
            TcpOption::Sack(blocks) => {
                bytes.extend([5, u8::try_from(2 + 8 * blocks.len()).unwrap_or(u8::MAX)]);
                let edges = blocks.iter().flat_map(|(left, right)| [left, right]);
                bytes.extend(edges.flat_map(|edge| edge.to_be_bytes()));
            }
            TcpOption::Timestamps(value, echo) => {
                bytes.extend([8, 10]);
                bytes.extend(value.to_be_bytes());
                bytes.extend(echo.to_be_bytes());
            }
            TcpOption::Raw(raw) => bytes.extend(raw),
        }
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The options in `bytes`, up to the end of the list or the first malformed one.
pub(super) fn decode_options(mut bytes: &[u8]) -> Vec<TcpOption> {
    let mut options = Vec::new();
    loop {
        bytes = match bytes {
            [] | [0, ..] => return options,
            [1, rest @ ..] => {
                options.push(TcpOption::Nop);
                rest
            }
            [_, length, ..] if usize::from(*length) >= 2 && bytes.len() >= usize::from(*length) => {
                let (option, rest) = bytes.split_at(usize::from(*length));
                options.push(decode_one(option));
                rest
            }
            _ => return options,
        };
    }
}

fn decode_one(option: &[u8]) -> TcpOption {
    let word = |at: usize| u32::from_be_bytes([option[at], option[at + 1], option[at + 2], option[at + 3]]);
    match (option[0], option.len()) {
        (2, 4) => TcpOption::Mss(u16::from_be_bytes([option[2], option[3]])),
        (3, 3) => TcpOption::WindowScale(option[2]),
        (4, 2) => TcpOption::SackPermitted,
        (5, length) if length % 8 == 2 => {
            TcpOption::Sack((2..length).step_by(8).map(|at| (word(at), word(at + 4))).collect())
        }
        (8, 10) => TcpOption::Timestamps(word(2), word(6)),
        _ => TcpOption::Raw(option.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_back_as_written() {
        let options = vec![
            TcpOption::Mss(1460),
            TcpOption::Nop,
            TcpOption::WindowScale(9),
            TcpOption::SackPermitted,
            TcpOption::Timestamps(7, 8),
            TcpOption::Sack(vec![(1, 2), (3, 4)]),
            TcpOption::Raw(vec![253, 4, 1, 2]),
        ];
        assert_eq!(decode_options(&encode_options(&options)), options);
    }

    #[test]
    fn a_cut_option_ends_the_list() {
        assert_eq!(decode_options(&[1, 2, 4, 5]), [TcpOption::Nop]);
        assert_eq!(decode_options(&[8, 1, 0, 0]), []);
    }
}

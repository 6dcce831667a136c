//! WebSocket (RFC 6455): the handshake, and an echo of every frame until the client closes.

use std::io::{self, Read, Write};

use super::sha1::{base64, sha1};

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const CLOSE: u8 = 8;

/// Upgrades and echoes.
pub(super) fn serve(from: &mut impl Read, to: &mut impl Write, name: &str, key: &str) -> io::Result<()> {
    let accept = base64(&sha1(format!("{key}{GUID}").as_bytes()));
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nX-Server: {name}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    to.write_all(head.as_bytes())?;
    loop {
        let (first, payload) = frame(from)?;
        to.write_all(&encode(first, &payload))?;
        if first & 0xf == CLOSE {
            return Ok(());
        }
    }
}

/// First byte and unmasked payload.
fn frame(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let [first, second] = array(from)?;
    let length = match second & 0x7f {
        126 => u64::from(u16::from_be_bytes(array(from)?)),
        127 => u64::from_be_bytes(array(from)?),
        short => u64::from(short),
    };
    let mask: [u8; 4] = array(from)?;
    let mut payload = Vec::new();
    from.take(length).read_to_end(&mut payload)?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok((first, payload))
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// As servers send it, without a mask.
fn encode(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut bytes = match length {
        0..126 => vec![first, length as u8],
        126..0x1_0000 => [&[first, 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, 127][..], &(length as u64).to_be_bytes()].concat(),
    };
    bytes.extend_from_slice(payload);
    bytes
}

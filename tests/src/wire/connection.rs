//! One scripted connection: every step of TCP on its own, and a short way through the usual ones.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::{
    frame::{Mac, Received},
    offer::Offer,
    options::{TcpOption, encode_options},
    peer,
    response::{self, Response},
    segment::{Flags, Segment},
    socket::PacketSocket,
};

/// An answer within the rig takes microseconds; a busy machine may take this long.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

const WINDOW: u16 = 65_535;

/// A connection and where it stands.
#[derive(Debug)]
pub struct Connection {
    socket: PacketSocket,
    source: SocketAddr,
    destination: SocketAddr,
    macs: (Mac, Mac),
    offer: Offer,
    isn: u32,
    /// Next sequence number to send.
    next: u32,
    /// Next sequence number to receive.
    expected: u32,
    /// Whether both sides send timestamps.
    timestamps: bool,
    /// Latest timestamp of the other side.
    echo: u32,
    start: Instant,
    /// Bytes received and not yet taken as a response.
    inbox: Vec<u8>,
    closed: bool,
    largest_packet: usize,
}

impl Connection {
    pub(super) fn new(
        socket: PacketSocket,
        source: SocketAddr,
        destination: SocketAddr,
        macs: (Mac, Mac),
        offer: Offer,
    ) -> Self {
        let isn = 0x1000_0000_u32.wrapping_add(u32::from(source.port()).wrapping_mul(0x9e37_79b9));
        let start = Instant::now();
        Self {
            socket,
            source,
            destination,
            macs,
            offer,
            isn,
            next: isn,
            expected: 0,
            timestamps: false,
            echo: 0,
            start,
            inbox: Vec::new(),
            closed: false,
            largest_packet: 0,
        }
    }

    /// The client's address and port.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// The service's address and port.
    #[must_use]
    pub fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// Initial sequence number of the client.
    #[must_use]
    pub fn isn(&self) -> u32 {
        self.isn
    }

    /// Another initial sequence number, before the SYN.
    pub fn set_isn(&mut self, isn: u32) {
        self.isn = isn;
        self.next = isn;
    }

    /// Next sequence number to be received: after the handshake the cookie plus one.
    #[must_use]
    pub fn expected(&self) -> u32 {
        self.expected
    }

    /// Pretends to have received a SYN-ACK with this sequence number.
    pub fn set_cookie(&mut self, cookie: u32) {
        self.expected = cookie.wrapping_add(1);
        self.next = self.isn.wrapping_add(1);
    }

    /// Sends all further frames to another MAC address, as `02:00:…`.
    ///
    /// # Errors
    /// If it is none.
    pub fn aim(&mut self, mac: &str) -> Result<()> {
        self.macs.1 = peer::parse(mac)?;
        Ok(())
    }

    /// MAC addresses of this connection's frames: from and to.
    #[must_use]
    pub fn macs(&self) -> ([u8; 6], [u8; 6]) {
        self.macs
    }

    /// The SYN of this connection, with `payload` behind it.
    #[must_use]
    pub fn syn(&self, payload: &[u8]) -> Segment {
        Segment {
            seq: self.isn,
            ack: 0,
            flags: Flags::SYN,
            options: self.offer.encode(self.now()),
            payload: payload.to_vec(),
            ..self.segment(0, Flags::SYN, b"")
        }
    }

    /// A segment `offset` bytes behind the SYN, with the options that all but a SYN carry.
    #[must_use]
    pub fn segment(&self, offset: u32, flags: Flags, payload: &[u8]) -> Segment {
        let mut options = Vec::new();
        if self.timestamps {
            options = vec![TcpOption::Nop, TcpOption::Nop, TcpOption::Timestamps(self.now(), self.echo)];
        }
        Segment {
            source: self.source,
            destination: self.destination,
            seq: self.isn.wrapping_add(1).wrapping_add(offset),
            ack: self.expected,
            flags,
            window: WINDOW,
            options: encode_options(&options),
            payload: payload.to_vec(),
            hop_limit: 64,
        }
    }

    /// Sends a segment as it is.
    ///
    /// # Errors
    /// If it cannot be encoded or sent.
    pub fn transmit(&mut self, segment: &Segment) -> Result<()> {
        self.transmit_all(std::slice::from_ref(segment))
    }

    /// Sends segments in one go.
    ///
    /// # Errors
    /// As `transmit`.
    pub fn transmit_all(&mut self, segments: &[Segment]) -> Result<()> {
        let frames: Result<Vec<Vec<u8>>> =
            segments.iter().map(|segment| segment.frame(self.macs.0, self.macs.1)).collect();
        for segment in segments {
            let end = segment.seq.wrapping_add(segment.length());
            if end.wrapping_sub(self.next).cast_signed() > 0 {
                self.next = end;
            }
        }
        self.socket.send_all(frames?.iter().map(Vec::as_slice))
    }

    /// Sends any frame.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn transmit_frame(&self, frame: &[u8]) -> Result<()> {
        self.socket.send(frame)
    }

    /// SYN, SYN-ACK and ACK; gives the SYN-ACK.
    ///
    /// # Errors
    /// If no right SYN-ACK comes.
    pub fn handshake(&mut self) -> Result<Segment> {
        self.handshake_with(b"")
    }

    /// As `handshake`, with data on the SYN. What the SYN-ACK does not acknowledge is to be sent again.
    ///
    /// # Errors
    /// As `handshake`.
    pub fn handshake_with(&mut self, payload: &[u8]) -> Result<Segment> {
        let answer = self.greet(payload)?;
        self.acknowledge()?;
        Ok(answer)
    }

    /// SYN and SYN-ACK alone.
    ///
    /// # Errors
    /// As `handshake`.
    pub fn greet(&mut self, payload: &[u8]) -> Result<Segment> {
        let syn = self.syn(payload);
        self.transmit(&syn)?;
        let both = Flags::SYN.and(Flags::ACK);
        let received = self.expect("a SYN-ACK", |segment| segment.flags.has(both), ANSWER_LIMIT)?;
        let answer = received.segment;
        ensure!(received.checksum_right, "the SYN-ACK's checksum is wrong: {answer:?}");
        ensure!(answer.ack == self.isn.wrapping_add(1), "the SYN-ACK acknowledges another SYN: {answer:?}");
        self.expected = answer.seq.wrapping_add(1);
        self.next = answer.ack;
        self.timestamps = self.offer.timestamps && answer.timestamps().is_some();
        self.echo = answer.timestamps().map_or(0, |(value, _)| value);
        Ok(answer)
    }

    /// Sends the next bytes of the stream in one segment.
    ///
    /// # Errors
    /// If they cannot be sent.
    pub fn send(&mut self, payload: &[u8]) -> Result<()> {
        let segment = self.segment(self.offset(), Flags::ACK.and(Flags::PSH), payload);
        self.transmit(&segment)
    }

    /// Sends bytes at an offset of the stream.
    ///
    /// # Errors
    /// If they cannot be sent.
    pub fn send_at(&mut self, offset: u32, payload: &[u8]) -> Result<()> {
        let segment = self.segment(offset, Flags::ACK.and(Flags::PSH), payload);
        self.transmit(&segment)
    }

    /// Sends an ACK for what has been received.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn acknowledge(&mut self) -> Result<()> {
        self.plain(Flags::ACK)
    }

    /// Sends a keep-alive probe: an ACK one byte before the next.
    ///
    /// # Errors
    /// If it cannot be sent.
    pub fn probe(&mut self) -> Result<()> {
        let probe = self.segment(self.offset().wrapping_sub(1), Flags::ACK, b"");
        self.transmit(&probe)
    }

    /// Closes the client's side.
    ///
    /// # Errors
    /// If the FIN cannot be sent.
    pub fn fin(&mut self) -> Result<()> {
        self.plain(Flags::FIN.and(Flags::ACK))
    }

    /// Closes the client's side, and waits for the other side's end and acknowledges it.
    ///
    /// # Errors
    /// If that does not come within the time.
    pub fn close(&mut self, within: Duration) -> Result<()> {
        self.fin()?;
        self.wait_for_end(within)
    }

    /// Receives and acknowledges until the other side has closed.
    ///
    /// # Errors
    /// If it does not within the time.
    pub fn wait_for_end(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while !self.closed {
            let received = self.receive(deadline)?;
            self.take(received.ok_or_else(|| anyhow!("{}: no FIN within {within:?}", self.source))?)?;
        }
        Ok(())
    }

    /// Resets the connection.
    ///
    /// # Errors
    /// If the RST cannot be sent.
    pub fn rst(&mut self) -> Result<()> {
        self.plain(Flags::RST.and(Flags::ACK))
    }

    /// The next segment of this connection that `wanted` accepts; others are passed over.
    ///
    /// # Errors
    /// If none comes within the time; the message holds those passed over.
    pub fn expect(
        &mut self,
        what: &str,
        wanted: impl Fn(&Segment) -> bool,
        within: Duration,
    ) -> Result<Received> {
        let deadline = Instant::now() + within;
        let mut others = Vec::new();
        while let Some(received) = self.receive(deadline)? {
            if wanted(&received.segment) {
                return Ok(received);
            }
            others.push(brief(&received.segment));
        }
        bail!("no {what} for {} within {within:?}, but: {}", self.source, others.join(", "))
    }

    /// Takes a RST and checks that it is exactly at the place where the client must believe it (RFC 5961 section 3.2).
    ///
    /// # Errors
    /// If none comes, or an inexact one.
    pub fn expect_reset(&mut self) -> Result<()> {
        let received = self.expect("a RST", |segment| segment.flags.has(Flags::RST), ANSWER_LIMIT)?;
        ensure!(received.checksum_right, "the RST's checksum is wrong");
        let seq = received.segment.seq;
        ensure!(seq == self.expected, "the RST is at {seq:#x}, not at {:#x}", self.expected);
        Ok(())
    }

    /// Checks that nothing comes for a while.
    ///
    /// # Errors
    /// If something does.
    pub fn expect_silence(&mut self, during: Duration) -> Result<()> {
        match self.receive(Instant::now() + during)? {
            Some(received) => bail!("unexpected for {}: {}", self.source, brief(&received.segment)),
            None => Ok(()),
        }
    }

    /// Receives one response, acknowledging all that comes in order.
    ///
    /// # Errors
    /// If it is not complete within the time, or the connection is reset.
    pub fn response(&mut self, within: Duration) -> Result<Response> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(response) = self.whole()? {
                return Ok(response);
            }
            let received = self.receive(deadline)?.ok_or_else(|| {
                anyhow!(
                    "{}: no whole response within {within:?}, only {} bytes",
                    self.source,
                    self.inbox.len()
                )
            })?;
            self.take(received).with_context(|| format!("while {} waited for a response", self.source))?;
        }
    }

    /// Sends a GET and receives its response.
    ///
    /// # Errors
    /// As `response`.
    pub fn get(&mut self, path: &str) -> Result<Response> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: rig\r\n\r\n").as_bytes())?;
        self.response(Duration::from_secs(10))
    }

    /// The next segment of this connection, as it is.
    ///
    /// # Errors
    /// If the interface has gone.
    pub fn receive(&mut self, deadline: Instant) -> Result<Option<Received>> {
        while let Some(received) = self.socket.receive(deadline)? {
            if (received.segment.source, received.segment.destination) == (self.destination, self.source) {
                return Ok(Some(received));
            }
        }
        Ok(None)
    }

    /// Takes and acknowledges one segment as `response` does; gives the response that it completes.
    ///
    /// # Errors
    /// If it resets the connection or is damaged.
    pub fn accept(&mut self, received: Received) -> Result<Option<Response>> {
        self.take(received)?;
        self.whole()
    }

    fn whole(&mut self) -> Result<Option<Response>> {
        let Some((mut response, length)) = response::parse(&self.inbox, self.closed)? else {
            return Ok(None);
        };
        self.inbox.drain(..length);
        response.largest_packet = self.largest_packet;
        Ok(Some(response))
    }

    fn take(&mut self, received: Received) -> Result<()> {
        let segment = received.segment;
        ensure!(!segment.flags.has(Flags::RST), "the connection was reset: {}", brief(&segment));
        ensure!(received.checksum_right, "wrong checksum: {}", brief(&segment));
        if segment.flags.has(Flags::SYN) || segment.length() == 0 {
            return Ok(());
        }
        let skip = self.expected.wrapping_sub(segment.seq);
        if skip >= segment.length() {
            // Old or beyond a gap: say what is expected.
            return self.acknowledge();
        }
        self.largest_packet = self.largest_packet.max(received.packet_payload);
        if let Some((value, _)) = segment.timestamps() {
            self.echo = value;
        }
        self.inbox.extend(segment.payload.get(skip as usize..).unwrap_or_default());
        self.expected = segment.seq.wrapping_add(segment.length());
        self.closed |= segment.flags.has(Flags::FIN);
        self.acknowledge()
    }

    fn plain(&mut self, flags: Flags) -> Result<()> {
        let segment = self.segment(self.offset(), flags, b"");
        self.transmit(&segment)
    }

    /// Offset of the next byte in the stream.
    fn offset(&self) -> u32 {
        self.next.wrapping_sub(self.isn).wrapping_sub(1)
    }

    fn now(&self) -> u32 {
        u32::try_from(self.start.elapsed().as_millis()).unwrap_or(u32::MAX).wrapping_add(1000)
    }
}

fn brief(segment: &Segment) -> String {
    format!(
        "[flags {:#04x} seq {:#x} ack {:#x}, {} bytes]",
        segment.flags.0,
        segment.seq,
        segment.ack,
        segment.payload.len()
    )
}

//! The answers that the front-end gives itself, without a connection behind them: one small HTTP/1.1 response each, and which
//! counter it moves. When they are given is the engine's decision.

use std::time::Duration;

use dispatcher_common::counter::ControlCounter;

/// An answer of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 400: not a strict request head.
    BadRequest,
    /// 431: the head is over the limit.
    HeadTooLarge,
    /// 505: neither HTTP/1.0 nor HTTP/1.1.
    VersionRefused,
    /// 503: no server can take it.
    NoServer,
    /// 503: the service is overloaded and the client's priority too low.
    Overloaded {
        /// Whole seconds go into the response, at least one.
        retry_after: Duration,
    },
}

macro_rules! response {
    ($status:literal, $text:literal, $length:literal) => {
        (
            concat!(
                "HTTP/1.1 ",
                $status,
                "\r\nContent-Type: text/plain\r\nContent-Length: ",
                $length,
                "\r\nConnection: close\r\n"
            ),
            $text,
        )
    };
}

impl Answer {
    /// The answer for a status that the parser gives a refusal.
    pub(super) fn for_status(status: u16) -> Self {
        match status {
            431 => Self::HeadTooLarge,
            505 => Self::VersionRefused,
            _ => Self::BadRequest,
        }
    }

    pub(super) fn counter(self) -> ControlCounter {
        match self {
            Self::BadRequest => ControlCounter::BadRequest,
            Self::HeadTooLarge => ControlCounter::HeadTooLarge,
            Self::VersionRefused => ControlCounter::VersionRefused,
            Self::NoServer => ControlCounter::NoServer,
            Self::Overloaded { .. } => ControlCounter::RequestRefused,
        }
    }

    /// Head and body of the response.
    fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::BadRequest => response!("400 Bad Request", "bad request\n", "12"),
            Self::HeadTooLarge => {
                response!("431 Request Header Fields Too Large", "request head too large\n", "23")
            }
            Self::VersionRefused => {
                response!("505 HTTP Version Not Supported", "HTTP version not supported\n", "27")
            }
            Self::NoServer => response!("503 Service Unavailable", "no server available\n", "20"),
            Self::Overloaded { .. } => response!("503 Service Unavailable", "try again later\n", "16"),
        }
    }

    /// Appends the response to a request that begins with these bytes; one to HEAD has no body (RFC 9110 section 9.3.2).
    pub(super) fn write(self, request: &[u8], out: &mut Vec<u8>) {
        let (head, body) = self.parts();
        out.extend_from_slice(head.as_bytes());
        if let Self::Overloaded { retry_after } = self {
            // RFC 9110 section 10.2.3.
            let seconds = retry_after.as_secs_f64().ceil().max(1.0);
            out.extend_from_slice(format!("Retry-After: {seconds}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        if !request.starts_with(b"HEAD ") {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Answer; 5] = [
        Answer::BadRequest,
        Answer::HeadTooLarge,
        Answer::VersionRefused,
        Answer::NoServer,
        Answer::Overloaded { retry_after: Duration::from_millis(1500) },
    ];

    #[test]
    fn every_answer_is_one_whole_response_in_one_small_segment() {
        for answer in ALL {
            let mut bytes = Vec::new();
            answer.write(b"GET / HTTP/1.1\r\n", &mut bytes);
            let text = String::from_utf8(bytes).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{text}");
            assert!(head.contains("\r\nConnection: close"));
            let retries = matches!(answer, Answer::Overloaded { .. });
            assert_eq!(head.ends_with("\r\nRetry-After: 2"), retries, "{head}");
            assert!(text.len() <= 536 - 12, "fits the least segment with timestamps");
        }
    }

    #[test]
    fn an_answer_to_head_announces_its_body_but_has_none() {
        for answer in ALL {
            let mut bytes = Vec::new();
            answer.write(b"HEAD / HTTP/1.1\r\n", &mut bytes);
            assert!(bytes.ends_with(b"\r\n\r\n"));
            assert!(String::from_utf8(bytes).unwrap().contains("Content-Length: "));
        }
    }

    #[test]
    fn the_statuses_of_the_parser_have_their_answers() {
        for (status, answer) in
            [(400, Answer::BadRequest), (431, Answer::HeadTooLarge), (505, Answer::VersionRefused)]
        {
            assert_eq!(Answer::for_status(status), answer);
            assert!(answer.parts().0.starts_with(&format!("HTTP/1.1 {status} ")));
        }
    }
}

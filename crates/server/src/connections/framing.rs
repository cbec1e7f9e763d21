//! Follows the framing of HTTP/1.1 requests in the bytes as they arrive.
//!
//! hyper accepts a head with both `Content-Length` and `Transfer-Encoding`: it drops the former before a service
//! sees it. Such a request is an attempt at request smuggling (RFC 9112 §6.1 and §6.3), so it must be refused.
//! [`Framing`] finds it in the raw bytes and spoils the head, to which hyper then answers 400. It also tells
//! whether a client is between two requests or within a head, which decides which time limit counts.

use memchr::memchr;

/// How many bytes of a line are looked at: enough for every header name that matters and a length.
const LINE: usize = 48;

/// The framing of the requests of one connection.
pub(super) struct Framing {
    state: State,
    line: Line,
    length: Option<u64>,
    chunked: bool,
    heads: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the request line; empty lines are skipped, as hyper skips them.
    Start,
    Head,
    /// This many bytes of a body, or of a chunk with its line end, are still to come.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    Trailers,
    /// What follows cannot be framed: hyper refuses it too and closes the connection.
    Lost,
}

/// The beginning of the current line.
struct Line {
    bytes: [u8; LINE],
    length: usize,
}

impl Line {
    fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(LINE - self.length.min(LINE));
        let at = self.length.min(LINE);
        self.bytes[at..at + kept].copy_from_slice(&bytes[..kept]);
        self.length = self.length.saturating_add(bytes.len());
    }

    /// The line without its end, as far as it was kept.
    fn text(&self) -> &[u8] {
        let kept = &self.bytes[..self.length.min(LINE)];
        if self.is_cut() { kept } else { kept.trim_ascii_end() }
    }

    fn is_cut(&self) -> bool {
        self.length > LINE
    }

    /// The value, if the line is this header field.
    fn value(&self, name: &str) -> Option<&[u8]> {
        let (found, value) = self.text().split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    }
}

impl Framing {
    pub(super) fn new() -> Self {
        let line = Line { bytes: [0; LINE], length: 0 };
        Self { state: State::Start, line, length: None, chunked: false, heads: 0 }
    }

    /// Whether the last request is complete and nothing of the next has arrived.
    pub(super) fn is_between_requests(&self) -> bool {
        self.state == State::Start && self.line.length == 0
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn is_in_head(&self) -> bool {
        self.state == State::Head || self.state == State::Start && self.line.length > 0
    }

    /// How many heads are complete.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Follows bytes that have arrived. A request that must be refused is made unreadable for hyper.
    pub(super) fn follow(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at += match self.state {
                State::Lost => return,
                State::Body(left) => self.skip(left, bytes.len() - at, State::Body, State::Start),
                State::Chunk(left) => self.skip(left, bytes.len() - at, State::Chunk, State::ChunkSize),
                _ => self.follow_line(&mut bytes[at..]),
            };
        }
    }

    fn skip(&mut self, left: u64, here: usize, within: fn(u64) -> State, after: State) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(here);
        let left = left - taken as u64;
        self.state = if left == 0 { after } else { within(left) };
        taken
    }

    /// Takes the rest of a line, or all bytes when its end is not among them.
    fn follow_line(&mut self, bytes: &mut [u8]) -> usize {
        let Some(end) = memchr(b'\n', bytes) else {
            self.line.push(bytes);
            return bytes.len();
        };
        self.line.push(&bytes[..=end]);
        if !self.end_line() {
            bytes[end] = 0;
            self.state = State::Lost;
        }
        self.line.length = 0;
        end + 1
    }

    /// A line is complete. Says whether the request may go on.
    fn end_line(&mut self) -> bool {
        let empty = self.line.text().is_empty();
        match self.state {
            State::Start if empty => true,
            State::Start => {
                (self.state, self.length, self.chunked) = (State::Head, None, false);
                true
            }
            State::Head if empty => self.end_head(),
            State::Head => self.note_field(),
            State::ChunkSize => self.begin_chunk(),
            State::Trailers if empty => {
                self.state = State::Start;
                true
            }
            _ => true,
        }
    }

    fn note_field(&mut self) -> bool {
        if self.line.value("transfer-encoding").is_some() {
            self.chunked = true;
        } else if let Some(value) = self.line.value("content-length") {
            // A length that cannot be read is refused here, because what follows it could not be framed.
            let length = digits(value, 10).filter(|_| !self.line.is_cut());
            self.length = length;
            return length.is_some();
        }
        true
    }

    fn end_head(&mut self) -> bool {
        self.heads += 1;
        self.state = match (self.chunked, self.length) {
            (true, Some(_)) => return false,
            (true, None) => State::ChunkSize,
            (false, Some(length)) if length > 0 => State::Body(length),
            (false, _) => State::Start,
        };
        true
    }

    fn begin_chunk(&mut self) -> bool {
        let line = self.line.text();
        let end = line.iter().position(|byte| !byte.is_ascii_hexdigit());
        if end.is_none() && self.line.is_cut() {
            return false;
        }
        let Some(size) = digits(&line[..end.unwrap_or(line.len())], 16) else { return false };
        // The chunk's own line end follows its bytes.
        self.state = if size == 0 { State::Trailers } else { State::Chunk(size.saturating_add(2)) };
        true
    }
}

/// The number that these digits write, and nothing else.
fn digits(text: &[u8], radix: u32) -> Option<u64> {
    let text = str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
    u64::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows the bytes in pieces of `size`; returns what hyper would read.
    fn followed(text: &str, size: usize) -> (Framing, Vec<u8>) {
        let mut framing = Framing::new();
        let mut bytes = text.as_bytes().to_vec();
        bytes.chunks_mut(size).for_each(|piece| framing.follow(piece));
        (framing, bytes)
    }

    #[test]
    fn good_requests_pass_untouched_however_they_are_cut() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n\
                    POST / HTTP/1.1\r\nhost: a\r\nContent-LENGTH: 5\r\n\r\nGET /\
                    POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                    5;x=y\r\n\r\n\r\n\r\r\n00A\r\n0123456789\r\n0\r\nContent-Length: 5\r\n\r\n\
                    \r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
        for size in 1..text.len() {
            let (framing, bytes) = followed(text, size);
            assert_eq!(bytes, text.as_bytes(), "{size}");
            assert_eq!(framing.heads(), 4, "{size}");
            assert!(framing.is_between_requests(), "{size}");
        }
    }

    #[test]
    fn a_length_next_to_a_transfer_coding_spoils_the_head() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "transfer-encoding: chunked\r\nCONTENT-LENGTH:5\r\n",
            "Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 5\r\nX: z\r\n",
            "Transfer-Encoding: gzip, chunked\nContent-Length: 0\n",
        ] {
            let before = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
            let text = format!("{before}POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\n");
            for size in 1..text.len() {
                let (_, bytes) = followed(&text, size);
                assert_eq!(&bytes[..before.len()], before.as_bytes());
                assert_ne!(bytes, text.as_bytes(), "{fields} in pieces of {size}");
            }
        }
    }

    #[test]
    fn lengths_that_cannot_be_read_spoil_the_head() {
        for length in ["+5", "5, 5", "-1", "0x5", "", "99999999999999999999", &format!("{:>60}", 5)] {
            let text = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\nabcde");
            assert_ne!(followed(&text, 7).1, text.as_bytes(), "{length:?}");
        }
        let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}5\r\n", "0".repeat(60));
        assert_ne!(followed(&text, 7).1, text.as_bytes());
    }

    #[test]
    fn a_head_that_has_begun_is_told_from_a_pause() {
        for (text, between, in_head) in [
            ("", true, false),
            ("G", false, true),
            ("GET / HTTP/1.1\r\n", false, true),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r", false, true),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, false),
            ("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n1", false, false),
        ] {
            let (framing, _) = followed(text, 3);
            assert_eq!((framing.is_between_requests(), framing.is_in_head()), (between, in_head), "{text:?}");
        }
    }
}

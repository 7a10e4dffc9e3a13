//! The first message on a channel between Coordinators, before anything is known of the other end:
//!
//! ```text
//! 0  4  length of what follows the kind, big endian, at most 64 KiB
//! 4  1  kind: 1 evidence, 2 refusal
//! 5  n  evidence, or the reason as UTF-8
//! ```

use crate::Evidence;

/// What is said before a peer is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMessage {
    /// Who I am.
    Evidence(Evidence),
    /// Why you are not who you should be.
    Refusal(String),
}

/// Bytes that are no such message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than any message is.
    #[error("a message of {0} bytes is longer than the {max} that are accepted", max = Evidence::MAX_LEN)]
    TooLong(usize),
    /// Of another kind.
    #[error("a message of unknown kind {0}")]
    Kind(u8),
}

const EVIDENCE: u8 = 1;
const REFUSAL: u8 = 2;

/// A stranger's reason is cut off here.
const LONGEST_REFUSAL: usize = 512;

impl PeerMessage {
    /// Bytes of a [`PeerMessage::parse_head`].
    pub const HEAD: usize = 5;

    /// How many bytes follow a head, which is to be looked at before any of them is read.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn parse_head(head: [u8; Self::HEAD]) -> Result<usize, MessageError> {
        let [a, b, c, d, kind] = head;
        if !matches!(kind, EVIDENCE | REFUSAL) {
            return Err(MessageError::Kind(kind));
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > Evidence::MAX_LEN { Err(MessageError::TooLong(length)) } else { Ok(length) }
    }

    /// The message of a head and what follows it.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn parse(head: [u8; Self::HEAD], body: Vec<u8>) -> Result<Self, MessageError> {
        let [.., kind] = head;
        match kind {
            EVIDENCE => {
                let length = body.len();
                Evidence::from_wire(body).map(Self::Evidence).map_err(|_| MessageError::TooLong(length))
            }
            REFUSAL => {
                let text = String::from_utf8_lossy(&body);
                let shown = text.chars().filter(|c| !c.is_control()).take(LONGEST_REFUSAL);
                Ok(Self::Refusal(shown.collect()))
            }
            kind => Err(MessageError::Kind(kind)),
        }
    }

    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Evidence(evidence) => (EVIDENCE, evidence.as_bytes()),
            Self::Refusal(reason) => (REFUSAL, reason.as_bytes()),
        };
        let body = body.get(..Evidence::MAX_LEN).unwrap_or(body);
        let length = u32::try_from(body.len()).unwrap_or(0);
        [&length.to_be_bytes()[..], &[kind], body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<PeerMessage, MessageError> {
        let (head, rest) = bytes.split_first_chunk().unwrap();
        let length = PeerMessage::parse_head(*head)?;
        PeerMessage::parse(*head, rest[..length].to_vec())
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        for message in [
            PeerMessage::Evidence(Evidence::none()),
            PeerMessage::Evidence(Evidence::from_wire(vec![7; Evidence::MAX_LEN]).unwrap()),
            PeerMessage::Refusal("no".to_owned()),
        ] {
            assert_eq!(read(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn a_long_message_is_refused_by_its_head_alone() {
        let length = u32::try_from(Evidence::MAX_LEN + 1).unwrap().to_be_bytes();
        let head = [length[0], length[1], length[2], length[3], EVIDENCE];
        assert_eq!(PeerMessage::parse_head(head), Err(MessageError::TooLong(Evidence::MAX_LEN + 1)));
        assert_eq!(PeerMessage::parse_head([0, 0, 0, 0, 3]), Err(MessageError::Kind(3)));
    }

    #[test]
    fn a_refusal_cannot_steer_a_terminal_nor_fill_a_log() {
        let message = PeerMessage::Refusal(format!("\x1b[31m\n{}", "x".repeat(4096)));
        let Ok(PeerMessage::Refusal(text)) = read(&message.encode()) else { panic!("no refusal") };
        assert!(text.len() == LONGEST_REFUSAL && !text.contains(['\x1b', '\n']), "{text}");
    }
}

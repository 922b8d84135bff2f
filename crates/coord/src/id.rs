//! Names that cannot be built unchecked: reservation ids, run ids, fencing tokens.
//!
//! Each is parsed once, where it enters the program, and is right from then on: code that holds a
//! [`ReservationId`] may make a file name of it without another look.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The content address of a reservation: the SHA-256 of its canonical record.
///
/// Spelled `sha256:` and 64 lower-case hexadecimal digits, in that one way only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId([u8; 32]);

/// Why a text is no reservation id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a reservation id is `sha256:` and 64 lower-case hexadecimal digits: \
     copy it whole from `muse coord reserve` or `muse coord list`"
)]
pub struct IdError;

impl ReservationId {
    /// What every id begins with.
    pub const PREFIX: &'static str = "sha256:";

    /// The id whose SHA-256 is `digest`.
    pub const fn from_digest(digest: [u8; 32]) -> ReservationId {
        ReservationId(digest)
    }

    /// The SHA-256 itself.
    pub const fn digest(&self) -> [u8; 32] {
        self.0
    }

    /// The 64 hexadecimal digits, without the prefix.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl FromStr for ReservationId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<ReservationId, IdError> {
        let digits = text.strip_prefix(ReservationId::PREFIX).ok_or(IdError)?;
        // The decoder below takes upper case too; an id has one spelling.
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(IdError);
        }
        let mut digest = [0; 32];
        hex::decode_to_slice(digits, &mut digest).map_err(|_| IdError)?;
        Ok(ReservationId(digest))
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ReservationId::PREFIX)?;
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ReservationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReservationId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ReservationId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// One agent's or pipeline's identity: 1 to 256 characters (Unicode scalar values), chosen by the caller.
///
/// Run ids are hierarchical by `/`: `alice/sub-1` descends from `alice`. Any character is taken, control
/// characters included; whoever shows one to a person has to make it harmless.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RunId(String);

/// Why a text is no run id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunIdError {
    /// It has no characters.
    #[error("the run id is empty: give the name that your run goes by, for example `--run-id agent-42`")]
    Empty,
    /// It has more than [`RunId::CHARACTERS_MAX`] characters.
    #[error(
        "the run id is too long ({characters} characters; at most {max}): shorten it",
        max = RunId::CHARACTERS_MAX
    )]
    TooLong {
        /// How many Unicode scalar values it has.
        characters: usize,
    },
}

impl RunId {
    /// The source document's limit, so that audit records stay bounded. Characters, not bytes.
    pub const CHARACTERS_MAX: usize = 256;

    /// Checks the length.
    ///
    /// # Errors
    ///
    /// When `text` is empty or has more than [`RunId::CHARACTERS_MAX`] characters.
    pub fn new(text: impl Into<String>) -> Result<RunId, RunIdError> {
        let text = text.into();
        match text.chars().count() {
            0 => Err(RunIdError::Empty),
            characters if characters > RunId::CHARACTERS_MAX => Err(RunIdError::TooLong { characters }),
            _ => Ok(RunId(text)),
        }
    }

    /// The id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `self` is `other` or lies below it: `alice/sub-1` descends from `alice`, `alicent` does not.
    pub fn descends_from(&self, other: &RunId) -> bool {
        self.0.strip_prefix(other.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RunId, D::Error> {
        RunId::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A fencing token: of two grants the later one has the larger token.
///
/// 1 to 2^53 - 1, so that every JSON reader (jq, JavaScript) holds it exactly as a number. Tokens follow
/// the clock in milliseconds, which leaves 285,000 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Token(u64);

impl Token {
    /// 2^53 - 1, the largest integer that JSON readers with binary64 numbers keep exact (RFC 8259, section 6).
    pub const MAX: u64 = (1 << 53) - 1;

    /// The smallest token.
    pub const FIRST: Token = Token(1);

    /// The token of this number; `None` outside 1 to [`Token::MAX`].
    pub const fn new(number: u64) -> Option<Token> {
        if number >= 1 && number <= Token::MAX { Some(Token(number)) } else { None }
    }

    /// The token as a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The token of a grant now: larger than `last`, and at least the milliseconds since 1970, so that a
    /// store that was deleted and made again goes on above what it granted before. `None` when they are
    /// used up.
    pub fn next(last: Option<Token>, milliseconds_since_1970: u64) -> Option<Token> {
        let after_last = last.map_or(1, |token| token.0 + 1);
        Token::new(after_last.max(milliseconds_since_1970.min(Token::MAX)))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Token, D::Error> {
        Token::new(u64::deserialize(deserializer)?)
            .ok_or_else(|| D::Error::custom("a token is a number from 1 to 2^53 - 1"))
    }
}

/// A place in the queue of those who wait: of two tickets the earlier one has the smaller number.
///
/// 1 to 2^53 - 1, as for [`Token`]. Spelled in decimal digits without leading zeros, in that one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TicketNumber(u64);

/// Why a text is no number of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number of a ticket is from 1 to 2^53 - 1, in digits without leading zeros")]
pub struct TicketNumberError;

impl TicketNumber {
    /// The ticket of this number; `None` outside 1 to [`Token::MAX`].
    pub const fn new(number: u64) -> Option<TicketNumber> {
        if number >= 1 && number <= Token::MAX { Some(TicketNumber(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of a ticket that is drawn now: above every ticket that is there and above the last token, and
    /// at least the milliseconds since 1970. `None` when they are used up.
    pub fn next(
        last_token: Option<Token>,
        greatest: Option<TicketNumber>,
        milliseconds_since_1970: u64,
    ) -> Option<TicketNumber> {
        let after_token = last_token.map_or(1, |token| token.0 + 1);
        let after_ticket = greatest.map_or(1, |ticket| ticket.0 + 1);
        TicketNumber::new(after_token.max(after_ticket).max(milliseconds_since_1970.min(Token::MAX)))
    }
}

impl FromStr for TicketNumber {
    type Err = TicketNumberError;

    fn from_str(text: &str) -> Result<TicketNumber, TicketNumberError> {
        let number = text.parse().ok().and_then(TicketNumber::new).ok_or(TicketNumberError)?;
        if number.to_string() == text { Ok(number) } else { Err(TicketNumberError) }
    }
}

impl fmt::Display for TicketNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for TicketNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TicketNumber, D::Error> {
        TicketNumber::new(u64::deserialize(deserializer)?).ok_or_else(|| D::Error::custom(TicketNumberError))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let text = format!("sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(text.parse::<ReservationId>().unwrap().to_string(), text);
        let digits = "a".repeat(64);
        for wrong in [
            String::new(),
            "sha256:".into(),
            digits.clone(),
            format!("sha256:{}", "A".repeat(64)),
            format!("SHA256:{digits}"),
            format!("sha256:{}", "a".repeat(63)),
            format!("sha256:{digits}a"),
            format!("sha256:{digits}\n"),
            format!(" sha256:{digits}"),
            format!("sha256:{}g", "a".repeat(63)),
            format!("sha256:{}", "é".repeat(32)),
            "sha256:../../../etc/passwd".into(),
        ] {
            assert_eq!(wrong.parse::<ReservationId>(), Err(IdError), "{wrong:?}");
        }
    }

    #[test]
    fn a_run_id_is_counted_in_characters() {
        assert_eq!(RunId::new(""), Err(RunIdError::Empty));
        assert!(RunId::new("é".repeat(256)).is_ok());
        assert_eq!(RunId::new("é".repeat(257)), Err(RunIdError::TooLong { characters: 257 }));
        assert!(RunId::new("\u{1b}[31m\n").is_ok());
    }

    #[test]
    fn descent_goes_by_whole_parts() {
        let run = |text: &str| RunId::new(text).unwrap();
        assert!(run("alice/sub-1").descends_from(&run("alice")));
        assert!(run("alice").descends_from(&run("alice")));
        assert!(!run("alicent").descends_from(&run("alice")));
        assert!(!run("alice").descends_from(&run("alice/sub-1")));
        assert!(!run("alice/sub-1").descends_from(&run("alice/sub-2")));
    }

    #[test]
    fn tokens_rise_whatever_the_clock_does() {
        let last = Token::new(1000);
        assert_eq!(Token::next(last, 5).map(Token::get), Some(1001));
        assert_eq!(Token::next(last, 5000).map(Token::get), Some(5000));
        assert_eq!(Token::next(None, 0).map(Token::get), Some(1));
        assert_eq!(Token::next(None, u64::MAX).map(Token::get), Some(Token::MAX));
        assert_eq!(Token::next(Token::new(Token::MAX), 0), None);
    }

    #[test]
    fn tickets_are_drawn_above_tokens_tickets_and_the_clock() {
        let ticket = TicketNumber::new;
        let next = |token, greatest, clock| TicketNumber::next(token, greatest, clock).map(TicketNumber::get);
        assert_eq!(next(None, None, 0), Some(1));
        assert_eq!(next(Token::new(7), ticket(5), 3), Some(8));
        assert_eq!(next(Token::new(5), ticket(7), 3), Some(8));
        assert_eq!(next(Token::new(5), ticket(7), 30), Some(30));
        assert_eq!(next(None, ticket(Token::MAX), 0), None);
        assert_eq!(next(None, None, u64::MAX), Some(Token::MAX));
    }

    #[test]
    fn a_ticket_has_one_spelling() {
        assert_eq!("42".parse(), Ok(TicketNumber(42)));
        for wrong in ["", "0", "-1", "+1", "01", "1 ", "1.0", "9007199254740992", "٤", "99999999999999999999"]
        {
            assert_eq!(wrong.parse::<TicketNumber>(), Err(TicketNumberError), "{wrong:?}");
        }
    }
}

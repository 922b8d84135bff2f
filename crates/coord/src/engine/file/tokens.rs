//! The token file: the last token that was granted, as decimal digits and a newline.

use super::layout::{Store, TOKEN_NAME};
use super::publish::{Durability, Staged};
use crate::clock::Timestamp;
use crate::engine::EngineError;
use crate::id::Token;

/// Reads the last token. A file that is missing or holds anything else fails: to grant without it could
/// grant an old token again.
pub(super) fn last(store: &Store) -> Result<Token, EngineError> {
    let incomplete = |detail| EngineError::Incomplete { path: store.root.path_of(TOKEN_NAME), detail };
    let bytes = store
        .root
        .read(TOKEN_NAME)?
        .ok_or_else(|| incomplete("is missing, the file with the last token: `muse init` makes it again"))?;
    parse(&bytes).ok_or_else(|| {
        incomplete("is damaged, it does not hold the last token: `muse coord fsck --repair` writes another")
    })
}

/// The bytes of a token file, read strictly.
fn parse(bytes: &[u8]) -> Option<Token> {
    let digits = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok().and_then(Token::new)).flatten()
}

/// The token of a grant at `now`, above `last`.
pub(super) fn next(store: &Store, last: Token, now: Timestamp) -> Result<Token, EngineError> {
    Token::next(Some(last), now.milliseconds_since_1970())
        .ok_or_else(|| EngineError::TokensExhausted { path: store.root.path_of(TOKEN_NAME) })
}

/// Writes `token` to a temporary file.
pub(super) fn stage(store: &Store, token: Token) -> Result<Staged<'_>, EngineError> {
    Staged::write(store, TOKEN_NAME.to_owned(), format!("{token}\n").as_bytes(), Durability::PowerLoss)
}

/// Makes the staged token the last one, for good.
pub(super) fn publish(store: &Store, staged: Staged<'_>) -> Result<(), EngineError> {
    staged.publish_over(&store.root, TOKEN_NAME)?;
    store.root.sync()
}

/// Writes the token that a new store goes on from.
pub(super) fn start(store: &Store, token: Token) -> Result<(), EngineError> {
    publish(store, stage(store, token)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_and_a_newline_are_a_token() {
        assert_eq!(parse(b"42\n").map(Token::get), Some(42));
        for junk in [
            &b""[..],
            b"\n",
            b"42",
            b"0\n",
            b"-1\n",
            b"+1\n",
            b" 1\n",
            b"1\n\n",
            b"\xff\n",
            b"9007199254740992\n",
        ] {
            assert_eq!(parse(junk), None, "{junk:?}");
        }
    }
}

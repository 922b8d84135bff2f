//! The part of an address after its `::`: names separated by dots, such as `Invoice.total`.
//!
//! A name is any run of characters other than `.`, `:`, white space and control characters, so that
//! `operator==`, `save!`, `r#type`, `~Foo` and `<init>` are names. Between names `::` is read as `.`.

use std::borrow::Cow;

use super::{SymbolFault, nfc};

/// The reserved symbol for what lies outside every symbol of a file. It stands alone or not at all.
pub const TOP_SYMBOL: &str = "@top";

/// Brings a symbol to its canonical spelling: dots between names, NFC.
pub(super) fn canonical(text: &str) -> Result<Cow<'_, str>, SymbolFault> {
    if text.is_empty() {
        return Err(SymbolFault::Empty);
    }
    let mut dotted = nfc(text);
    if dotted.contains(':') {
        dotted = Cow::Owned(dotted.replace("::", "."));
    }
    let mut names = 0_usize;
    let mut top = false;
    for name in dotted.split('.') {
        if name.is_empty() {
            return Err(SymbolFault::EmptyName);
        }
        for character in name.chars() {
            if character == ':' {
                return Err(SymbolFault::SingleColon);
            }
            if character.is_whitespace() || character.is_control() {
                return Err(SymbolFault::Space);
            }
        }
        names += 1;
        top |= name == TOP_SYMBOL;
    }
    if top && names > 1 {
        return Err(SymbolFault::TopNotAlone);
    }
    Ok(dotted)
}

/// Whether one of two canonical symbols is the other, or holds it.
pub(crate) fn symbols_overlap(one: &str, other: &str) -> bool {
    let (outer, inner) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

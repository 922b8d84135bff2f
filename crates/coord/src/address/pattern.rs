//! Globs: text to segments, and segments back to the one canonical spelling.
//!
//! `*`, `?`, `[...]`, `[!...]` and `{a,b}` match inside one segment, leading dots included; `**` alone in a
//! segment matches any number of segments, none included. Braces nest and hold other metacharacters; `\`
//! takes the next character literally, in a class too.
//!
//! The canonical spelling drops empty and `.` segments, collapses runs of `*` inside a segment and runs of
//! `**` segments, writes a final slash as `/**`, and quotes what needs it and nothing else: outside a class
//! the metacharacters, and `,` inside braces; inside a class `\`, `]`, `-`, and a leading `!` or `^`. `***`
//! is a run inside a segment, so it is `*`.

use std::iter::Peekable;
use std::str::Chars;

use super::automaton::{Automaton, Builder, CharSet};
use super::{PatternFault, is_private, nfc, quote_colons, quote_name};

/// A compiled glob. Never empty.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) segments: Box<[Segment]>,
    /// Whether any path at all matches. `{}` alone in a segment, for one, matches none.
    pub(crate) is_matchable: bool,
}

/// One segment of a glob.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    /// `**`: any number of segments. Two of them never follow one another.
    Rest,
    /// One name, unquoted.
    Literal(Box<str>),
    /// Anything with a metacharacter.
    Wild(Wild),
}

/// A segment with a metacharacter.
#[derive(Clone, Debug)]
pub(crate) struct Wild {
    /// What every match starts with: the text before the first metacharacter.
    head: Box<str>,
    /// What every match ends with: the text after the last metacharacter.
    tail: Box<str>,
    /// Whether one `*` is all there is between head and tail.
    is_one_star: bool,
    automaton: Automaton,
}

impl Wild {
    /// Whether it matches one name, which is neither empty nor `.` nor `..`.
    pub(crate) fn matches(&self, name: &str) -> bool {
        name.len() >= self.head.len() + self.tail.len()
            && name.starts_with(&*self.head)
            && name.ends_with(&*self.tail)
            && (self.is_one_star || self.automaton.matches(name))
    }

    /// Whether some name matches both.
    pub(crate) fn meets(&self, other: &Wild) -> bool {
        let heads_agree = self.head.starts_with(&*other.head) || other.head.starts_with(&*self.head);
        let tails_agree = self.tail.ends_with(&*other.tail) || other.tail.ends_with(&*self.tail);
        heads_agree
            && tails_agree
            // With one star on both sides the longer head, any letters and the longer tail match both.
            && ((self.is_one_star && other.is_one_star) || self.automaton.meets(&other.automaton))
    }

    fn is_matchable(&self) -> bool {
        self.is_one_star || self.automaton.meets(&Automaton::star())
    }
}

/// Whether a path holds an unquoted metacharacter, and so is a glob unless it exists as it is written.
pub(super) fn has_metacharacter(path: &str) -> bool {
    unquoted(path).any(|(_, character)| is_metacharacter(character))
}

/// Whether all unquoted metacharacters of a path are brackets or braces, as in `app/[id]/page.tsx`.
pub(super) fn has_only_brackets(path: &str) -> bool {
    !unquoted(path).any(|(_, character)| matches!(character, '*' | '?'))
}

pub(super) fn is_metacharacter(character: char) -> bool {
    matches!(character, '*' | '?' | '[' | ']' | '{' | '}')
}

/// The characters that no `\` stands before, with their offsets in bytes.
pub(super) fn unquoted(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut characters = text.char_indices();
    std::iter::from_fn(move || {
        loop {
            let plain = characters.next()?;
            if plain.1 != '\\' {
                return Some(plain);
            }
            characters.next();
        }
    })
}

/// Takes the quoting out of a path without unquoted metacharacters.
pub(super) fn unquote(path: &str) -> Result<String, PatternFault> {
    let mut plain = String::with_capacity(path.len());
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => characters.next().filter(|&next| next != '/').ok_or(PatternFault::QuotesNothing)?,
            _ => character,
        });
    }
    Ok(plain)
}

/// What was read of a glob: the compiled form, its canonical spelling, and the first literal segment that
/// must not be reserved, if there is one.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) pattern: Pattern,
    pub(super) canonical: String,
    pub(super) private: Option<String>,
}

/// The most characters in those segments of a glob that hold metacharacters. No name is longer than 255 bytes on
/// common file systems, and the time to intersect two globs grows with the product of these lengths: what one run
/// reserves must not keep the others waiting.
pub(super) const WILD_CHARACTERS_MAX: usize = 512;

impl Pattern {
    /// Reads a glob that is relative to the top. `text` is NFC, and its leading literal segments hold no
    /// `..` any more.
    pub(super) fn parse(text: &str) -> Result<Parsed, PatternFault> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut canonical = String::with_capacity(text.len());
        let mut private = None;
        let mut wild_characters = 0;
        let mut add = |segment: Segment, spelled: &str, segments: &mut Vec<Segment>| {
            if matches!((&segment, segments.last()), (Segment::Rest, Some(Segment::Rest))) {
                return;
            }
            if !segments.is_empty() {
                canonical.push('/');
            }
            canonical.push_str(spelled);
            segments.push(segment);
        };
        for raw in text.split('/').filter(|raw| !raw.is_empty()) {
            if raw == "**" {
                add(Segment::Rest, raw, &mut segments);
                continue;
            }
            let (segment, spelled) = parse_segment(raw)?;
            match &segment {
                Segment::Literal(name) if &**name == "." => continue,
                Segment::Literal(name) if &**name == ".." => return Err(PatternFault::DotDot),
                Segment::Literal(name) => {
                    if private.is_none() && is_private(name) {
                        private = Some(name.to_string());
                    }
                }
                Segment::Wild(_) => {
                    // Of the canonical spelling: what is accepted once is accepted when it is read again.
                    wild_characters += spelled.chars().count();
                    if wild_characters > WILD_CHARACTERS_MAX {
                        return Err(PatternFault::TooLong);
                    }
                }
                Segment::Rest => {}
            }
            add(segment, &spelled, &mut segments);
        }
        if text.ends_with('/') {
            add(Segment::Rest, "**", &mut segments);
        }
        quote_colons(&mut canonical);
        let normal = nfc(&canonical);
        if normal != canonical {
            // Removed quotes have let a letter and its accent meet. Now that they have, reading is stable.
            return Pattern::parse(&normal);
        }
        let is_matchable = segments.iter().all(|segment| match segment {
            Segment::Rest | Segment::Literal(_) => true,
            Segment::Wild(wild) => wild.is_matchable(),
        });
        Ok(Parsed { pattern: Pattern { segments: segments.into(), is_matchable }, canonical, private })
    }
}

/// Reads one segment other than `**`; returns its canonical spelling too.
fn parse_segment(raw: &str) -> Result<(Segment, String), PatternFault> {
    if !has_metacharacter(raw) {
        let name = unquote(raw)?;
        let mut spelled = String::with_capacity(raw.len());
        quote_name(&mut spelled, &name);
        return Ok((Segment::Literal(name.into()), spelled));
    }
    let mut reader =
        SegmentReader { builder: Builder::new(), spelled: String::new(), head: None, tail: String::new() };
    let mut pieces = 0_usize;
    let mut is_after_star = false;
    let mut has_other_than_star = false;
    let mut characters = raw.chars().peekable();
    while let Some(character) = characters.next() {
        let was_after_star = std::mem::replace(&mut is_after_star, character == '*');
        match character {
            '*' if was_after_star => continue,
            '\\' => {
                let quoted = characters.next().ok_or(PatternFault::QuotesNothing)?;
                reader.literal(quoted);
                continue;
            }
            ',' if reader.builder.is_inside_braces() => {
                reader.builder.next_alternative();
                reader.spelled.push(',');
                continue;
            }
            _ if !is_metacharacter(character) => {
                reader.literal(character);
                continue;
            }
            _ => {}
        }
        pieces += 1;
        has_other_than_star |= character != '*';
        reader.metacharacter(character, &mut characters)?;
    }
    if reader.builder.is_inside_braces() {
        return Err(PatternFault::Brace);
    }
    let wild = Wild {
        head: reader.head.unwrap_or_default().into(),
        tail: reader.tail.into(),
        is_one_star: pieces == 1 && !has_other_than_star,
        automaton: reader.builder.finish(),
    };
    Ok((Segment::Wild(wild), reader.spelled))
}

/// The state of reading one segment.
struct SegmentReader {
    builder: Builder,
    spelled: String,
    /// The literal text before the first metacharacter, once that was met.
    head: Option<String>,
    /// The literal text since the last metacharacter.
    tail: String,
}

impl SegmentReader {
    fn literal(&mut self, character: char) {
        if is_metacharacter(character)
            || character == '\\'
            || (character == ',' && self.builder.is_inside_braces())
        {
            self.spelled.push('\\');
        }
        self.spelled.push(character);
        self.builder.step(CharSet::one(character));
        self.tail.push(character);
    }

    /// Reads a metacharacter, and for `[` the class that it opens.
    fn metacharacter(
        &mut self,
        character: char,
        characters: &mut Peekable<Chars<'_>>,
    ) -> Result<(), PatternFault> {
        let before = std::mem::take(&mut self.tail);
        self.head.get_or_insert(before);
        self.spelled.push(character);
        match character {
            '*' => self.builder.star(),
            '?' => self.builder.step(CharSet::Any),
            '[' => self.class(characters)?,
            '{' => self.builder.open_braces(),
            '}' => {
                if !self.builder.close_braces() {
                    return Err(PatternFault::Brace);
                }
            }
            _ => return Err(PatternFault::Bracket),
        }
        Ok(())
    }

    /// Reads a class after its `[`.
    fn class(&mut self, characters: &mut Peekable<Chars<'_>>) -> Result<(), PatternFault> {
        if characters.peek() == Some(&'^') {
            return Err(PatternFault::Caret);
        }
        let is_negated = characters.next_if_eq(&'!').is_some();
        if is_negated {
            self.spelled.push('!');
        }
        let mut members: Vec<(char, char)> = Vec::new();
        loop {
            let first = match characters.next().ok_or(PatternFault::Bracket)? {
                ']' if !members.is_empty() => break,
                '\\' => characters.next().ok_or(PatternFault::QuotesNothing)?,
                plain => plain,
            };
            let mut last = first;
            // A `-` before the closing bracket is an ordinary member.
            let mut ahead = characters.clone();
            if ahead.next() == Some('-') && ahead.peek().is_some_and(|&next| next != ']') {
                characters.next();
                last = match characters.next().ok_or(PatternFault::Bracket)? {
                    '\\' => characters.next().ok_or(PatternFault::QuotesNothing)?,
                    plain => plain,
                };
            }
            if last < first {
                return Err(PatternFault::ReversedRange);
            }
            let is_leading = members.is_empty() && !is_negated;
            self.class_member(first, is_leading);
            if last != first {
                self.spelled.push('-');
                self.class_member(last, false);
            }
            members.push((first, last));
        }
        self.spelled.push(']');
        self.builder.step(CharSet::class(&members, is_negated));
        Ok(())
    }

    fn class_member(&mut self, character: char, is_leading: bool) {
        if matches!(character, '\\' | ']' | '-') || (is_leading && matches!(character, '!' | '^')) {
            self.spelled.push('\\');
        }
        self.spelled.push(character);
    }
}

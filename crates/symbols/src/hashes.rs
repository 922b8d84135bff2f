//! What symbols say, as hashes: over the shape of the tree and the text of its leaves, without comments.
//!
//! Each node is hashed once, for the innermost symbol that it is in. To those around it that is a digest at the place of
//! the symbol: a text that nests costs no more than one that does not.

use std::ops::Range;

use sha2::{Digest as _, Sha256};
use tree_sitter::{Node, Tree};

use crate::grammar::{Attachment, Grammar};
use crate::outline::{Symbol, SymbolHashes};

/// A declaration that the walk is in.
struct Open {
    /// What it gives a name.
    symbols: Range<usize>,
    /// How deep its node is in the tree.
    depth: usize,
    whole: Range<usize>,
    extent_end: usize,
    signature: Hash,
    /// In the order of the text. No two share a byte.
    bodies: Vec<Body>,
}

struct Body {
    bytes: Range<usize>,
    hash: Hash,
}

#[derive(Default)]
struct Hash {
    state: Sha256,
    /// How many bytes it has been given.
    bytes: usize,
}

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        self.add_marked(bytes.len() as u64, bytes);
    }

    /// Adds what a symbol says that stands here. No text is as long as its mark says.
    fn add_symbol(&mut self, content: &[u8; 32]) {
        self.add_marked(u64::MAX, content);
    }

    fn add_marked(&mut self, mark: u64, bytes: &[u8]) {
        self.state.update(mark.to_le_bytes());
        self.state.update(bytes);
        self.bytes += size_of_val(&mark) + bytes.len();
    }
}

impl Open {
    /// The declaration that begins with the first of `symbols`, which is the `first` one of all.
    fn new(symbols: &[Symbol], first: usize, depth: usize) -> Option<Open> {
        let symbols = symbols.get(first..)?;
        let its = symbols.first()?;
        let count = symbols.iter().take_while(|symbol| its.is_declared_with(symbol)).count();
        let bodies = symbols.iter().take(count).filter_map(|symbol| symbol.body.as_ref());
        let mut bodies: Vec<Range<usize>> = bodies.map(|body| body.bytes.clone()).collect();
        bodies.sort_by_key(|bytes| bytes.start);
        bodies.dedup();
        Some(Open {
            symbols: first..first + count,
            depth,
            whole: its.whole.bytes.clone(),
            extent_end: its.extent.bytes.end,
            signature: Hash::default(),
            bodies: bodies.into_iter().map(|bytes| Body { bytes, hash: Hash::default() }).collect(),
        })
    }

    /// Whether a node is in it that begins `at` a byte. What encloses the symbol may begin where it begins, and says
    /// nothing of it.
    fn has(&self, at: usize, depth: usize) -> bool {
        self.whole.contains(&at) && depth >= self.depth
    }

    /// What takes in the text from `at` on.
    fn part(&mut self, at: usize) -> &mut Hash {
        let Open { signature, bodies, .. } = self;
        let after = bodies.partition_point(|body| body.bytes.start <= at);
        match after.checked_sub(1).and_then(|last| bodies.get_mut(last)) {
            Some(body) if body.bytes.contains(&at) => &mut body.hash,
            _ => signature,
        }
    }
}

/// The declarations that the walk is in, the innermost last.
struct Opens<'s> {
    open: Vec<Open>,
    symbols: &'s mut [Symbol],
    /// How many bytes were hashed.
    hashed: usize,
}

impl Opens<'_> {
    fn innermost(&mut self, at: usize, depth: usize) -> Option<&mut Hash> {
        let open = self.open.iter_mut().rev().find(|open| open.has(at, depth))?;
        Some(open.part(at))
    }

    fn add(&mut self, node: Node<'_>, depth: usize, bytes: &[u8]) {
        let at = node.start_byte();
        if let Some(hash) = self.innermost(at, depth) {
            hash.add(bytes);
        }
    }

    /// Closes the innermost ones as long as `is_over` says so.
    fn close(&mut self, is_over: impl Fn(&Open) -> bool) {
        while let Some(Open { symbols, depth, whole, signature, bodies, .. }) =
            self.open.pop_if(|open| is_over(open))
        {
            let mut content = Hash::default();
            self.hashed += signature.bytes;
            let signature: [u8; 32] = signature.state.finalize().into();
            content.add(&signature);
            let mut told = Vec::with_capacity(bodies.len());
            for Body { bytes, hash } in bodies {
                self.hashed += hash.bytes;
                let hash: [u8; 32] = hash.state.finalize().into();
                content.add(&hash);
                told.push((bytes, hash));
            }
            self.hashed += content.bytes;
            let content: [u8; 32] = content.state.finalize().into();
            for symbol in self.symbols.get_mut(symbols).unwrap_or_default() {
                let its = |(bytes, _): &&(Range<usize>, _)| {
                    symbol.body.as_ref().is_some_and(|body| body.bytes == *bytes)
                };
                let body = told.iter().find(its).map_or_else(|| Sha256::new().finalize().into(), |its| its.1);
                symbol.hashes = Some(SymbolHashes { content, signature, body });
            }
            if let Some(around) = self.innermost(whole.start, depth) {
                around.add_symbol(&content);
            }
        }
    }
}

/// Gives each of `symbols`, which are at these depths of `tree`, its hashes; tells how many bytes were hashed for that.
pub(crate) fn add(
    symbols: &mut [Symbol],
    depths: &[usize],
    tree: &Tree,
    source: &[u8],
    grammar: &Grammar,
) -> usize {
    let mut opens = Opens { open: Vec::new(), symbols, hashed: 0 };
    let (mut next, mut depth) = (0, 0_usize);
    let mut cursor = tree.walk();
    loop {
        let node = cursor.node();
        let is_comment = (grammar.attachment)(node) == Attachment::Comment;
        // A comment behind a symbol can stand in its node, which has not ended then.
        if !is_comment {
            opens.close(|open| open.extent_end <= node.start_byte());
        }
        while opens.symbols.get(next).is_some_and(|symbol| symbol.whole.bytes.start <= node.start_byte()) {
            let depth = depths.get(next).copied().unwrap_or_default();
            let Some(open) = Open::new(opens.symbols, next, depth) else { break };
            next = open.symbols.end;
            opens.open.push(open);
        }
        if !is_comment {
            opens.add(node, depth, node.kind().as_bytes());
            if node.child_count() == 0 {
                opens.add(node, depth, source.get(node.byte_range()).unwrap_or_default());
            }
        }
        if !is_comment && cursor.goto_first_child() {
            depth += 1;
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                opens.close(|_| true);
                return opens.hashed;
            }
            depth -= 1;
            let node = cursor.node();
            // What stands in the node is told before its end is.
            opens.close(|open| open.depth > depth && open.whole.end <= node.end_byte());
            opens.add(node, depth, b")");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::Language;
    use crate::outline::{self, Detail};

    /// How many functions a text of JavaScript has, and how many bytes are hashed for them for each that it has.
    fn functions_and_hashed(source: &str) -> (usize, usize) {
        let (text, language) = (source.as_bytes(), Language::JavaScript);
        let tree = outline::parse(text, language, None, &mut || false).unwrap();
        let mut symbols = outline::walk(text, language, &tree, Detail::Spans).symbols;
        let (mut depths, mut cursor) = (Vec::new(), tree.walk());
        while let Some(depth) = symbols.get(depths.len()).map(|_| cursor.depth() as usize) {
            if cursor.node().kind() == "function_declaration" {
                depths.push(depth);
            }
            if !cursor.goto_first_child() {
                while !cursor.goto_next_sibling() {
                    assert!(cursor.goto_parent(), "a function is not found");
                }
            }
        }
        let hashed = add(&mut symbols, &depths, &tree, text, language.grammar());
        assert!(symbols.iter().all(|symbol| symbol.hashes.is_some()));
        (symbols.len(), hashed / text.len())
    }

    #[test]
    fn what_nests_is_hashed_once() {
        let text = "a(b + 1);".repeat(1000);
        let nested = |depth: usize| format!("{}{text}{}", "function f(){".repeat(depth), "}".repeat(depth));
        let (_, by_byte) = functions_and_hashed(&nested(1));
        assert_eq!(functions_and_hashed(&nested(100)), (100, by_byte));
    }
}

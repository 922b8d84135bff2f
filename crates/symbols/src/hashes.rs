//! What symbols say, as hashes: over the shape of the tree and the text of its leaves, without comments.

use sha2::{Digest as _, Sha256};
use tree_sitter::{Node, Tree};

use crate::grammar::{Attachment, Grammar};
use crate::outline::{Symbol, SymbolHashes};

/// A symbol that the walk is in.
struct Open {
    symbol: usize,
    content: Sha256,
    signature: Sha256,
    body: Sha256,
}

/// Gives each of `symbols`, which are of `tree`, its hashes.
pub(crate) fn add(symbols: &mut [Symbol], tree: &Tree, source: &[u8], grammar: &Grammar) {
    let mut open: Vec<Open> = Vec::new();
    let mut next = 0;
    let mut cursor = tree.walk();
    // The root is no symbol's, also where a symbol is all that the text has.
    if !cursor.goto_first_child() {
        return;
    }
    let root = tree.root_node().id();
    loop {
        let node = cursor.node();
        while open.last().is_some_and(|last| symbols[last.symbol].whole.bytes.end <= node.start_byte()) {
            close(&mut open, symbols);
        }
        while symbols.get(next).is_some_and(|symbol| symbol.whole.bytes.start <= node.start_byte()) {
            let new = Sha256::new;
            open.push(Open { symbol: next, content: new(), signature: new(), body: new() });
            next += 1;
        }
        let is_comment = (grammar.attachment)(node) == Attachment::Comment;
        if !is_comment {
            feed(&mut open, symbols, node, node.kind().as_bytes());
            if node.child_count() == 0 {
                feed(&mut open, symbols, node, source.get(node.byte_range()).unwrap_or_default());
            }
        }
        if !is_comment && cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                while !open.is_empty() {
                    close(&mut open, symbols);
                }
                return;
            }
            let node = cursor.node();
            if node.id() != root {
                feed(&mut open, symbols, node, b")");
            }
        }
    }
}

fn feed(open: &mut [Open], symbols: &[Symbol], node: Node<'_>, bytes: &[u8]) {
    let at = node.start_byte();
    for Open { symbol, content, signature, body } in open {
        let symbol = &symbols[*symbol];
        // What encloses the symbol may begin where it begins, and says nothing of it.
        let whole = &symbol.whole.bytes;
        if !whole.contains(&at) || node.end_byte() > whole.end {
            continue;
        }
        let part = match &symbol.body {
            Some(its) if its.bytes.contains(&at) => body,
            _ => signature,
        };
        for hash in [content, part] {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
    }
}

fn close(open: &mut Vec<Open>, symbols: &mut [Symbol]) {
    if let Some(Open { symbol, content, signature, body }) = open.pop() {
        symbols[symbol].hashes = Some(SymbolHashes {
            content: content.finalize().into(),
            signature: signature.finalize().into(),
            body: body.finalize().into(),
        });
    }
}

//! What symbols say, as hashes: over the shape of the tree and the text of its leaves, without comments.

use sha2::{Digest as _, Sha256};
use tree_sitter::{Node, Tree};

use crate::grammar::{Attachment, Grammar};
use crate::outline::{Symbol, SymbolHashes};

/// A symbol that the walk is in.
struct Open {
    symbol: usize,
    depth: usize,
    content: Sha256,
    signature: Sha256,
    body: Sha256,
}

/// Gives each of `symbols`, which are at these depths of `tree`, its hashes.
pub(crate) fn add(symbols: &mut [Symbol], depths: &[usize], tree: &Tree, source: &[u8], grammar: &Grammar) {
    let mut open: Vec<Open> = Vec::new();
    let (mut next, mut depth) = (0, 0_usize);
    let mut cursor = tree.walk();
    loop {
        let node = cursor.node();
        let is_comment = (grammar.attachment)(node) == Attachment::Comment;
        // A comment behind a symbol can stand in its node, which has not ended then.
        while !is_comment
            && open.last().is_some_and(|last| symbols[last.symbol].extent.bytes.end <= node.start_byte())
        {
            close(&mut open, symbols);
        }
        while symbols.get(next).is_some_and(|symbol| symbol.whole.bytes.start <= node.start_byte()) {
            let new = Sha256::new;
            let depth = depths.get(next).copied().unwrap_or_default();
            open.push(Open { symbol: next, depth, content: new(), signature: new(), body: new() });
            next += 1;
        }
        if !is_comment {
            feed(&mut open, symbols, (node, depth), node.kind().as_bytes());
            if node.child_count() == 0 {
                feed(&mut open, symbols, (node, depth), source.get(node.byte_range()).unwrap_or_default());
            }
        }
        if !is_comment && cursor.goto_first_child() {
            depth += 1;
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                while !open.is_empty() {
                    close(&mut open, symbols);
                }
                return;
            }
            depth -= 1;
            feed(&mut open, symbols, (cursor.node(), depth), b")");
        }
    }
}

fn feed(open: &mut [Open], symbols: &[Symbol], (node, depth): (Node<'_>, usize), bytes: &[u8]) {
    let at = node.start_byte();
    for Open { symbol, depth: its, content, signature, body } in open {
        let symbol = &symbols[*symbol];
        // What encloses the symbol may begin where it begins, and says nothing of it.
        if !symbol.whole.bytes.contains(&at) || depth < *its {
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
    if let Some(Open { symbol, content, signature, body, .. }) = open.pop() {
        symbols[symbol].hashes = Some(SymbolHashes {
            content: content.finalize().into(),
            signature: signature.finalize().into(),
            body: body.finalize().into(),
        });
    }
}

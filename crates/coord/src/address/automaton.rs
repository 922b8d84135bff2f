//! Nondeterministic automata over the characters of one path segment.
//!
//! An automaton has at most one node for each byte of the pattern it was built from, and one more: braces
//! become forks and are never expanded, so nesting cannot blow it up. Whether two automata accept a common
//! text is a search through the pairs of their nodes. Texts that name no file (the empty one, `.` and `..`)
//! do not count, and no set of characters ever holds `/` or NUL.
//!
//! Worst case of [`Automaton::meets`] is nodes times nodes, each pair entered up to four times: some 17
//! million pairs and 8 MiB of marks for two hostile segments of 4,096 bytes each, which takes a fifth of a
//! second. Everyday globs take well below a microsecond.

/// Code points from the first to the second, both included.
type Range = (u32, u32);

/// Every Unicode scalar value but NUL and `/`.
const UNIVERSE: [Range; 3] = [(1, 0x2E), (0x30, 0xD7FF), (0xE000, 0x10_FFFF)];

/// The code point of `.`.
const DOT: u32 = 0x2E;

/// A set of characters.
#[derive(Clone, Debug)]
pub(crate) enum CharSet {
    /// Every character that a segment can hold.
    Any,
    /// One character, as a range so that it can be read like the others.
    One([Range; 1]),
    /// Sorted ranges that do not touch, inside [`UNIVERSE`].
    Class(Box<[Range]>),
}

/// What two sets have in common, as far as the search needs it.
#[derive(Clone, Copy)]
struct Common {
    dot: bool,
    other: bool,
}

impl CharSet {
    /// The set of one character.
    pub(crate) fn one(character: char) -> CharSet {
        let code = u32::from(character);
        CharSet::One([(code, code)])
    }

    /// The set that `[...]` means, or `[!...]` when `negated`.
    pub(crate) fn class(members: &[(char, char)], negated: bool) -> CharSet {
        let mut sorted: Vec<Range> =
            members.iter().map(|&(first, last)| (u32::from(first), u32::from(last))).collect();
        sorted.sort_unstable();
        let mut merged: Vec<Range> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        if negated {
            let mut gaps = Vec::with_capacity(merged.len() + 1);
            let mut from = 0;
            for (first, last) in merged {
                if from < first {
                    gaps.push((from, first - 1));
                }
                from = last + 1;
            }
            gaps.push((from, u32::MAX));
            merged = gaps;
        }
        CharSet::Class(common_ranges(&merged, &UNIVERSE).collect())
    }

    fn ranges(&self) -> &[Range] {
        match self {
            CharSet::Any => &UNIVERSE,
            CharSet::One(range) => range,
            CharSet::Class(ranges) => ranges,
        }
    }

    fn contains(&self, character: char) -> bool {
        let code = u32::from(character);
        let ranges = self.ranges();
        let index = ranges.partition_point(|&(_, last)| last < code);
        ranges.get(index).is_some_and(|&(first, _)| first <= code)
    }

    fn common(&self, other: &CharSet) -> Common {
        match (self, other) {
            (CharSet::Any, CharSet::Any) => return Common { dot: true, other: true },
            (CharSet::Any, CharSet::One([(code, _)])) | (CharSet::One([(code, _)]), CharSet::Any) => {
                return Common { dot: *code == DOT, other: *code != DOT };
            }
            (CharSet::One([(one, _)]), CharSet::One([(other, _)])) => {
                return Common { dot: one == other && *one == DOT, other: one == other && *one != DOT };
            }
            _ => {}
        }
        let mut found = Common { dot: false, other: false };
        for (first, last) in common_ranges(self.ranges(), other.ranges()) {
            found.dot |= first <= DOT && DOT <= last;
            found.other |= (first, last) != (DOT, DOT);
            if found.other && first > DOT {
                break;
            }
        }
        found
    }
}

/// The intersection of two sorted lists of ranges, sorted.
fn common_ranges(one: &[Range], other: &[Range]) -> impl Iterator<Item = Range> {
    let (mut at_one, mut at_other) = (0, 0);
    std::iter::from_fn(move || {
        while let (Some(&(one_first, one_last)), Some(&(other_first, other_last))) =
            (one.get(at_one), other.get(at_other))
        {
            if one_last < other_last {
                at_one += 1;
            } else {
                at_other += 1;
            }
            let (first, last) = (one_first.max(other_first), one_last.min(other_last));
            if first <= last {
                return Some((first, last));
            }
        }
        None
    })
}

/// One node; numbers are indices of nodes.
#[derive(Clone, Debug)]
enum Node {
    /// Takes one character of the set and goes on.
    Step(CharSet, usize),
    /// Takes any character and stays, or takes none and goes on.
    Star(usize),
    /// Goes on without taking a character.
    Jump(usize),
    /// Goes on to any of the nodes without taking a character.
    Fork(Vec<usize>),
    /// The text may end here.
    Accept,
}

/// An automaton that accepts the segments that a pattern segment matches.
#[derive(Clone, Debug)]
pub(crate) struct Automaton {
    nodes: Vec<Node>,
}

/// Builds an [`Automaton`] from left to right.
#[derive(Debug)]
pub(crate) struct Builder {
    nodes: Vec<Node>,
    /// The node that the next piece grows from. It holds `Accept` until then.
    at: usize,
    /// The braces that are open, the innermost last.
    open: Vec<Alternatives>,
}

#[derive(Debug)]
struct Alternatives {
    fork: usize,
    starts: Vec<usize>,
    ends: Vec<usize>,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder { nodes: vec![Node::Accept], at: 0, open: Vec::new() }
    }

    /// Whether a brace is open.
    pub(crate) fn is_inside_braces(&self) -> bool {
        !self.open.is_empty()
    }

    fn grow(&mut self) -> usize {
        self.nodes.push(Node::Accept);
        self.nodes.len() - 1
    }

    /// Adds one character out of a set.
    pub(crate) fn step(&mut self, set: CharSet) {
        let next = self.grow();
        self.nodes[self.at] = Node::Step(set, next);
        self.at = next;
    }

    /// Adds any number of any characters.
    pub(crate) fn star(&mut self) {
        let next = self.grow();
        self.nodes[self.at] = Node::Star(next);
        self.at = next;
    }

    /// Opens a brace and its first alternative.
    pub(crate) fn open_braces(&mut self) {
        let start = self.grow();
        self.open.push(Alternatives { fork: self.at, starts: vec![start], ends: Vec::new() });
        self.at = start;
    }

    /// Ends an alternative and starts the next. Does nothing outside braces.
    pub(crate) fn next_alternative(&mut self) {
        let start = self.grow();
        if let Some(innermost) = self.open.last_mut() {
            innermost.ends.push(self.at);
            innermost.starts.push(start);
            self.at = start;
        }
    }

    /// Closes the innermost brace; false if none is open.
    #[must_use = "false means that the braces are not balanced"]
    pub(crate) fn close_braces(&mut self) -> bool {
        let Some(Alternatives { fork, starts, ends }) = self.open.pop() else {
            return false;
        };
        let join = self.grow();
        self.nodes[self.at] = Node::Jump(join);
        for end in ends {
            self.nodes[end] = Node::Jump(join);
        }
        self.nodes[fork] = Node::Fork(starts);
        self.at = join;
        true
    }

    /// The automaton, which accepts where the last piece ends.
    pub(crate) fn finish(self) -> Automaton {
        Automaton { nodes: self.nodes }
    }
}

/// What the characters taken so far spell. Only a `Name` can be a path segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Nothing,
    Dot,
    DotDot,
    Name,
}

impl Taken {
    const COUNT: usize = 4;

    fn after_dot(self) -> Taken {
        match self {
            Taken::Nothing => Taken::Dot,
            Taken::Dot => Taken::DotDot,
            Taken::DotDot | Taken::Name => Taken::Name,
        }
    }
}

/// Marks of what a search has seen: on the stack for patterns of everyday size.
struct Marks {
    few: [u64; Marks::WORDS_FEW],
    many: Vec<u64>,
}

impl Marks {
    const WORDS_FEW: usize = 16;

    fn new(count: usize) -> Marks {
        let words = count.div_ceil(64);
        let many = if words > Marks::WORDS_FEW { vec![0; words] } else { Vec::new() };
        Marks { few: [0; Marks::WORDS_FEW], many }
    }

    /// Marks an index; true the first time.
    fn insert(&mut self, index: usize) -> bool {
        let words = if self.many.is_empty() { &mut self.few[..] } else { &mut self.many[..] };
        let (word, bit) = (&mut words[index / 64], 1 << (index % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// Depth-first search through pairs of nodes.
struct PairSearch {
    columns: usize,
    marks: Marks,
    stack: Vec<(usize, usize, Taken)>,
}

impl PairSearch {
    fn push(&mut self, one: usize, other: usize, taken: Taken) {
        if self.marks.insert((one * self.columns + other) * Taken::COUNT + taken as usize) {
            self.stack.push((one, other, taken));
        }
    }
}

impl Automaton {
    /// The automaton of `*`.
    pub(crate) fn star() -> Automaton {
        let mut builder = Builder::new();
        builder.star();
        builder.finish()
    }

    /// Whether it accepts this segment, in at most nodes times bytes steps.
    pub(crate) fn matches(&self, segment: &str) -> bool {
        let columns = segment.len() + 1;
        let mut marks = Marks::new(self.nodes.len() * columns);
        let mut stack = vec![(0, 0)];
        let mut push = |stack: &mut Vec<(usize, usize)>, node: usize, offset: usize| {
            if marks.insert(node * columns + offset) {
                stack.push((node, offset));
            }
        };
        while let Some((at, offset)) = stack.pop() {
            let character = segment[offset..].chars().next();
            match &self.nodes[at] {
                Node::Accept => {
                    if character.is_none() {
                        return true;
                    }
                }
                Node::Step(set, next) => {
                    if let Some(character) = character
                        && set.contains(character)
                    {
                        push(&mut stack, *next, offset + character.len_utf8());
                    }
                }
                Node::Star(next) => {
                    if let Some(character) = character {
                        push(&mut stack, at, offset + character.len_utf8());
                    }
                    push(&mut stack, *next, offset);
                }
                Node::Jump(next) => push(&mut stack, *next, offset),
                Node::Fork(starts) => {
                    for &start in starts {
                        push(&mut stack, start, offset);
                    }
                }
            }
        }
        false
    }

    /// Whether some text other than the empty one, `.` and `..` is accepted by both.
    pub(crate) fn meets(&self, other: &Automaton) -> bool {
        let columns = other.nodes.len();
        let marks = Marks::new(self.nodes.len() * columns * Taken::COUNT);
        let mut search = PairSearch { columns, marks, stack: Vec::with_capacity(32) };
        search.push(0, 0, Taken::Nothing);
        while let Some((one_at, other_at, taken)) = search.stack.pop() {
            let (one_node, other_node) = (&self.nodes[one_at], &other.nodes[other_at]);
            // What takes no character goes first and alone: the order of such moves does not matter.
            match (one_node, other_node) {
                (Node::Jump(next), _) => {
                    search.push(*next, other_at, taken);
                    continue;
                }
                (Node::Fork(starts), _) => {
                    for &start in starts {
                        search.push(start, other_at, taken);
                    }
                    continue;
                }
                (_, Node::Jump(next)) => {
                    search.push(one_at, *next, taken);
                    continue;
                }
                (_, Node::Fork(starts)) => {
                    for &start in starts {
                        search.push(one_at, start, taken);
                    }
                    continue;
                }
                (Node::Accept, Node::Accept) if taken == Taken::Name => return true,
                _ => {}
            }
            if let Node::Star(next) = one_node {
                search.push(*next, other_at, taken);
            }
            if let Node::Star(next) = other_node {
                search.push(one_at, *next, taken);
            }
            if let (Some((one_set, one_next)), Some((other_set, other_next))) =
                (taking(one_node, one_at), taking(other_node, other_at))
            {
                let common = one_set.common(other_set);
                if common.dot {
                    search.push(one_next, other_next, taken.after_dot());
                }
                if common.other {
                    search.push(one_next, other_next, Taken::Name);
                }
            }
        }
        false
    }
}

/// The characters that a node takes and where it goes with them, if it takes any.
fn taking(node: &Node, at: usize) -> Option<(&CharSet, usize)> {
    match node {
        Node::Step(set, next) => Some((set, *next)),
        Node::Star(_) => Some((&CharSet::Any, at)),
        Node::Jump(_) | Node::Fork(_) | Node::Accept => None,
    }
}

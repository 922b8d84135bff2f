//! Unified diffs, as `git diff` and `diff -u` print them: which files they change, and into what.
//!
//! All of a patch is read or none of it: where a hunk would be left out, the patch is refused. What is before, between
//! and behind the files of a patch is skipped, so that `git show` and `git format-patch` are patches too.
//!
//! ```
//! use muse_guard::unified::{Target, parse};
//!
//! let patch = b"--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n";
//! let files = parse(patch)?;
//! let Target::Changed { names, change } = &files[0].target else { return Ok(()) };
//! assert_eq!(names, &[b"m.py"]);
//! assert_eq!(change.apply(b"y = 0\nx = 1\n").as_deref(), Some(&b"y = 0\nx = 2\n"[..]));
//! # Ok::<(), muse_guard::unified::PatchError>(())
//! ```
//!
//! # Limitations
//!
//! Where a patch begins a name with one letter and a slash, as Git does (`a/`, `b/`), they are taken for a prefix: of a
//! patch without prefixes (`git diff --no-prefix`) this is wrong for a file that is made or deleted in a folder so
//! called. Other prefixes are not known.

use std::borrow::Cow;

use diffy::patch_set::{FileOperation, FilePatch as Parsed, ParseOptions, PatchKind, PatchSet};
use diffy::{Patch, apply_bytes};

/// The change of one file.
#[derive(Clone, Debug)]
pub struct FilePatch<'a> {
    /// What it is done to.
    pub target: Target<'a>,
    /// Whether Git printed it: then names are relative to the top of the working tree, otherwise to the folder that
    /// `diff` ran in.
    pub is_git: bool,
}

/// The name of a file as a patch has it, without the prefix: bytes, its parts separated by `/`.
pub type Name = Vec<u8>;

/// What a patch does to a file.
#[derive(Clone, Debug)]
pub enum Target<'a> {
    /// It is made.
    Created(Name),
    /// It is taken away.
    Deleted(Name),
    /// It gets another name.
    Renamed {
        /// What it was called.
        from: Name,
        /// What it will be called.
        to: Name,
    },
    /// Its content is changed.
    Changed {
        /// What it is called: one name, or two where `diff` compared two files, either of which can be meant.
        names: Vec<Name>,
        /// The change.
        change: Change<'a>,
    },
    /// It is changed in a way that cannot be told: it is no text, or not only its content is changed.
    Other(Name),
}

/// The change of a content.
#[derive(Clone, Debug)]
pub struct Change<'a>(Patch<'a, [u8]>);

/// Why a patch cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// It is none, or is damaged.
    #[error("{0}")]
    Malformed(#[from] diffy::patch_set::PatchSetParseError),
    /// Some of it would be left out: it is a combined diff of a merge, or of several forms.
    #[error("{read} of its {hunks} hunks can be read")]
    Incomplete {
        /// How many were read.
        read: usize,
        /// How many there are.
        hunks: usize,
    },
}

/// Reads a patch. What is blank changes nothing.
///
/// # Errors
///
/// It is no patch, or not all of it can be read.
pub fn parse(patch: &[u8]) -> Result<Vec<FilePatch<'_>>, PatchError> {
    if patch.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let lines = || patch.split(|byte| *byte == b'\n');
    let is_git = lines().any(|line| line.starts_with(b"diff --git "));
    let options = if is_git { ParseOptions::gitdiff() } else { ParseOptions::unidiff() };
    let (mut files, mut read) = (Vec::new(), 0);
    for file in PatchSet::parse_bytes(patch, options) {
        let file = file?;
        read += file.patch().as_text().map_or(0, |text| text.hunks().len());
        files.push(FilePatch { target: Target::of(file, is_git), is_git });
    }
    // A line in a hunk begins with a sign or a blank: no line but the head of a hunk begins like this.
    let hunks = lines().filter(|line| line.starts_with(b"@@")).count();
    if hunks != read {
        return Err(PatchError::Incomplete { read, hunks });
    }
    Ok(files)
}

impl<'a> Target<'a> {
    fn of(file: Parsed<'a, [u8]>, is_git: bool) -> Target<'a> {
        let is_other = is_other(&file, is_git);
        match file.operation() {
            FileOperation::Create(name) => Target::Created(without_prefix(name).to_vec()),
            FileOperation::Delete(name) => Target::Deleted(without_prefix(name).to_vec()),
            // Their names have no prefix.
            FileOperation::Rename { from, to } => Target::Renamed { from: from.to_vec(), to: to.to_vec() },
            FileOperation::Copy { to, .. } => Target::Created(to.to_vec()),
            FileOperation::Modify { original, modified } => {
                let (from, to) = without_prefixes(original, modified);
                if is_other {
                    return Target::Other(to.to_vec());
                }
                let mut names = vec![to.to_vec()];
                if from != to {
                    names.push(from.to_vec());
                }
                match file.into_patch() {
                    PatchKind::Text(patch) => Target::Changed { names, change: Change(patch) },
                    PatchKind::Binary(_) => Target::Other(names.swap_remove(0)),
                }
            }
        }
    }
}

/// Whether more than a text is changed. Git prints a mode only where it is not the same before and after.
fn is_other(file: &Parsed<'_, [u8]>, is_git: bool) -> bool {
    file.patch().is_binary() || (is_git && (file.old_mode().is_some() || file.new_mode().is_some()))
}

/// The letter or digit before the first slash, and what follows that.
fn prefix(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        [letter, b'/', rest @ ..] if letter.is_ascii_alphanumeric() && !rest.is_empty() => {
            Some((*letter, rest))
        }
        _ => None,
    }
}

fn without_prefix(name: &[u8]) -> &[u8] {
    prefix(name).map_or(name, |(_, rest)| rest)
}

/// Without the prefixes, which Git makes differ: `a/` and `b/`, `i/` and `w/`.
fn without_prefixes<'n>(from: &'n [u8], to: &'n [u8]) -> (&'n [u8], &'n [u8]) {
    match (prefix(from), prefix(to)) {
        (Some((one, from)), Some((other, to))) if one != other => (from, to),
        _ => (from, to),
    }
}

impl Change<'_> {
    /// How many steps the application may cost: lines of a text by lines of the hunks that are looked for in it. A
    /// file of 20,000 lines and a patch of 10,000; below a second, if no hunk is where it says.
    const STEPS_MAX: usize = 200_000_000;

    /// The text that `old` becomes; `None` where it does not apply, or would take too long. Like GNU `patch`, it finds
    /// what has moved; unlike it, it takes no lines for the same that are not.
    pub fn apply(&self, old: &[u8]) -> Option<Vec<u8>> {
        let in_hunks: usize = self.0.hunks().iter().map(|hunk| hunk.lines().len()).sum();
        let lines = old.split(|byte| *byte == b'\n').count();
        if lines.checked_mul(in_hunks)? > Change::STEPS_MAX {
            return None;
        }
        apply_bytes(old, &self.0).ok()
    }
}

/// A name as text; what is not UTF-8 in it is U+FFFD.
pub fn display(name: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(patch: &str) -> Vec<String> {
        let name = |name: &Name| display(name).into_owned();
        let target = |file: &FilePatch<'_>| match &file.target {
            Target::Created(to) => format!("+{}", name(to)),
            Target::Deleted(from) => format!("-{}", name(from)),
            Target::Renamed { from, to } => format!("{} > {}", name(from), name(to)),
            Target::Changed { names, .. } => names.iter().map(name).collect::<Vec<_>>().join(" or "),
            Target::Other(to) => format!("!{}", name(to)),
        };
        parse(patch.as_bytes()).unwrap().iter().map(target).collect()
    }

    fn applied(patch: &str, old: &str) -> Option<String> {
        let files = parse(patch.as_bytes()).unwrap();
        let [FilePatch { target: Target::Changed { change, .. }, .. }] = &files[..] else {
            panic!("{files:?}")
        };
        change.apply(old.as_bytes()).map(|new| String::from_utf8(new).unwrap())
    }

    #[test]
    fn what_git_says_of_files() {
        let patch = r#"commit 0123
    a message with diff --git a/x b/x
diff --git a/m.py b/m.py
index 1..2 100644
--- a/m.py
+++ b/m.py
@@ -1 +1 @@
-a
+b
diff --git a/new b.py b/new b.py
new file mode 100644
index 0..1
--- /dev/null
+++ b/new b.py	
@@ -0,0 +1 @@
+x
diff --git a/gone.py b/gone.py
deleted file mode 100644
index 1..0
--- a/gone.py
+++ /dev/null
@@ -1 +0,0 @@
-x
diff --git a/one.py b/sub/two.py
similarity index 90%
rename from one.py
rename to sub/two.py
index 1..2 100644
--- a/one.py
+++ b/sub/two.py
@@ -1 +1 @@
-a
+b
diff --git a/c.py b/d.py
similarity index 100%
copy from c.py
copy to d.py
diff --git "a/\303\274 \"q\".py" "b/\303\274 \"q\".py"
index 1..2 100644
--- "a/\303\274 \"q\".py"
+++ "b/\303\274 \"q\".py"
@@ -1 +1 @@
-a
+b
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git a/empty b/empty
new file mode 100644
index 0..1
diff --git a/x.png b/x.png
index 1..2 100644
Binary files a/x.png and b/x.png differ
"#;
        let expected = [
            "m.py",
            "+new b.py",
            "-gone.py",
            "one.py > sub/two.py",
            "+d.py",
            "ü \"q\".py",
            "!run.sh",
            "+empty",
            "!x.png",
        ];
        assert_eq!(told(patch), expected);
        assert_eq!(told(""), [""; 0]);
        assert_eq!(told(" \n\n"), [""; 0]);
    }

    #[test]
    fn prefixes_of_all_kinds() {
        let names = |from: &str, to: &str| told(&format!("--- {from}\n+++ {to}\n@@ -1 +1 @@\n-a\n+b\n"));
        assert_eq!(names("a/x.py", "b/x.py"), ["x.py"]);
        assert_eq!(names("i/s/x.py", "w/s/x.py"), ["s/x.py"]);
        assert_eq!(names("a/x.py", "a/x.py"), ["a/x.py"]);
        assert_eq!(names("src/x.py\t2026-01-01 00:00", "src/x.py\t2026"), ["src/x.py"]);
        assert_eq!(names("x.py.orig", "x.py"), ["x.py or x.py.orig"]);
        assert_eq!(names("/dev/null", "b/x.py"), ["+x.py"]);
        assert_eq!(names("old/x.py", "/dev/null"), ["-old/x.py"]);
    }

    #[test]
    fn a_change_is_applied_where_it_is_found_and_nowhere_else() {
        let patch = "--- a/m\n+++ b/m\n@@ -2,2 +2,2 @@\n two\n-three\n+drei\n";
        assert_eq!(applied(patch, "one\ntwo\nthree\n").as_deref(), Some("one\ntwo\ndrei\n"));
        assert_eq!(applied(patch, "0\n0\n0\ntwo\nthree\n").as_deref(), Some("0\n0\n0\ntwo\ndrei\n"));
        assert_eq!(applied(patch, "one\ntwo\nfour\n"), None);
        assert_eq!(applied(patch, "one\ntwo\nthree"), None, "its last line has no end");
        let patch = "--- a/m\n+++ b/m\n@@ -1 +1 @@\n-one\n\\ No newline at end of file\n+uno\n";
        assert_eq!(applied(patch, "one").as_deref(), Some("uno\n"));
        assert_eq!(applied(patch, "one\n"), None);
    }

    #[test]
    fn what_would_take_too_long_is_not_looked_for() {
        let lines = |count: usize, line: &str| line.repeat(count);
        let hunk = format!("@@ -1,20000 +1,20001 @@\n{}+end\n", lines(20_000, " x\n"));
        let patch = format!("--- a/m\n+++ b/m\n{hunk}");
        assert!(applied(&patch, &lines(90, "x\n")).is_none(), "it does not apply");
        assert!(applied(&patch, &lines(20_000, "x\n")).is_none(), "it would apply");
    }

    #[test]
    fn what_is_read_in_part_is_refused() {
        let git = "diff --git a/m b/m\n--- a/m\n+++ b/m\n@@ -1 +1 @@\n-a\n+b\n";
        let plain = "--- x\n+++ x\n@@ -1 +1 @@\n-a\n+b\n";
        let incomplete = |patch: &str, read: usize, hunks: usize| {
            assert_eq!(
                parse(patch.as_bytes()).unwrap_err(),
                PatchError::Incomplete { read, hunks },
                "{patch}"
            );
        };
        incomplete(&format!("{git}{plain}"), 1, 2);
        incomplete(&format!("{git}junk\n@@ -5 +5 @@\n-a\n+b\n"), 1, 2);
        incomplete(&format!("{git}diff --cc x\n--- a/x\n+++ b/x\n@@@ -1 -1 +1 @@@\n--a\n++b\n"), 1, 2);
        for damaged in ["no patch\n", "--- a\n+++ b\n@@ -1,2 +1 @@\n-a\n", "--- a\n+++ b\n@@ nonsense\n"] {
            assert!(parse(damaged.as_bytes()).is_err(), "{damaged}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let patch = "diff --git a/m b/m\nrename from \"\\303\"\nrename to b\nold mode 100644\n--- \"a/\\q\"\n+++ b/m\n\
                     @@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+\u{fc}\n";
        let bytes = patch.as_bytes();
        for at in 0..bytes.len() {
            for with in [0, b'\n', b' ', b'"', b'\\', b'9', 0xff] {
                let mut changed = bytes.to_vec();
                changed[at] = with;
                for text in [&changed[..], &changed[..at], &changed[at..]] {
                    for file in parse(text).unwrap_or_default() {
                        if let Target::Changed { change, .. } = file.target {
                            let _ = change.apply(b"a\nb\n");
                        }
                    }
                }
            }
        }
        let huge = "--- a\n+++ b\n@@ -18446744073709551615,0 +18446744073709551614,1 @@\n+x\n";
        assert_eq!(applied(huge, "a\n").as_deref(), Some("a\nx\n"));
    }
}

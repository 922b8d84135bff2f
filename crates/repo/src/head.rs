//! What a `HEAD` file says.

/// Name of the file, in a Git folder and in the store.
pub(crate) const HEAD_FILE: &str = "HEAD";

/// How many digits a short commit id has where no repository tells: Git's own least.
pub(crate) const SHORT_ID_DIGITS: usize = 7;

/// How many hexadecimal digits a commit id has, by SHA-1 and by SHA-256.
const ID_DIGITS: [usize; 2] = [40, 64];

/// What Git puts into `HEAD` where a reftable holds the truth, so that programs that do not know it stop.
const REFTABLE_BRANCH: &str = ".invalid";

/// What a `HEAD` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// A branch, its name without `refs/heads/`. There may be no commit on it yet.
    Branch(String),
    /// A commit id, all its digits.
    Detached(String),
    /// The branch is written elsewhere: a reftable.
    Elsewhere,
    /// Something else: its first line.
    Other(String),
}

/// Reads a `HEAD`. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn parse(content: &[u8]) -> Head {
    let line = content.split(|byte| matches!(byte, b'\n' | b'\r' | b'\0')).next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let line = line.trim();
    if let Some(name) = line.strip_prefix("ref:") {
        let name = name.trim_start();
        return match name.strip_prefix("refs/heads/").unwrap_or(name) {
            REFTABLE_BRANCH => Head::Elsewhere,
            "" => Head::Other(line.to_owned()),
            branch => Head::Branch(branch.to_owned()),
        };
    }
    if ID_DIGITS.contains(&line.len()) && line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Head::Detached(line.to_owned());
    }
    Head::Other(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn branch(name: &str) -> Head {
        Head::Branch(name.to_owned())
    }

    #[test]
    fn branches_lose_their_prefix_and_nothing_else() {
        assert_eq!(parse(b"ref: refs/heads/main\n"), branch("main"));
        assert_eq!(parse(b"ref: refs/heads/feature/x\n"), branch("feature/x"));
        assert_eq!(parse(b"ref:\t refs/heads/main"), branch("main"));
        assert_eq!(parse(b"ref: refs/heads/main\r\nmore\n"), branch("main"));
        assert_eq!(parse(b"ref: refs/remotes/origin/main\n"), branch("refs/remotes/origin/main"));
        assert_eq!(parse("ref: refs/heads/größe\n".as_bytes()), branch("größe"));
        assert_eq!(parse(b"ref: refs/heads/gr\xf6\n"), branch("gr\u{fffd}"));
    }

    #[test]
    fn ids_are_whole_ids_only() {
        assert_eq!(parse(format!("{ID}\n").as_bytes()), Head::Detached(ID.to_owned()));
        let longer = format!("{ID}{}", &ID[..24]);
        assert_eq!(parse(longer.as_bytes()), Head::Detached(longer));
        assert_eq!(parse(&ID.as_bytes()[1..]), Head::Other(ID[1..].to_owned()));
    }

    #[test]
    fn everything_else_is_said_as_it_is() {
        assert_eq!(parse(b"ref: refs/heads/.invalid\n"), Head::Elsewhere);
        assert_eq!(parse(b"ref: \n"), Head::Other("ref:".to_owned()));
        assert_eq!(parse(b"trunk\n"), Head::Other("trunk".to_owned()));
        assert_eq!(parse(b""), Head::Other(String::new()));
    }
}

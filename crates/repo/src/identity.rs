//! A name for a repository that every clone of it derives alike, from its first commits and the remote it came from.
//!
//! It is shown to people, who copy it into their settings: a history that another one is merged into later has more first
//! commits, and another name from then on.

use std::path::{Path, PathBuf};

use gix::ObjectId;
use sha2::{Digest as _, Sha256};

use crate::changes::{ChangesError, Source};
use crate::error::GitError;
use crate::find::Repository;
use crate::git::{self, GitFolders};

/// The remote that counts, where there are several.
const ORIGIN: &str = "origin";

/// The longest readable part of a name, in bytes: with the digits behind it, a name has at most 128.
const READABLE_MAX: usize = 100;

/// How many bytes of the digest a name has: twelve digits.
const DIGEST_BYTES: usize = 6;

/// How much of what was read last is kept, in bytes, while a history is walked through.
const CACHE_BYTES: usize = 4 << 20;

/// What a repository is called by its history and its remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: String,
    remote: String,
}

/// Why a repository has no name that its other clones derive too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is no Git repository.
    #[error("{} is not in a Git repository", top.display())]
    NotGit {
        /// Where the search began.
        top: PathBuf,
    },
    /// Nothing is committed on what is checked out.
    #[error("there is no commit yet")]
    NoCommits,
    /// The first commits are not here.
    #[error("this is a shallow clone, whose first commits are not here; `git fetch --unshallow` gets them")]
    Shallow,
    /// There is no remote.
    #[error("there is no remote; `git remote add origin URL` adds one")]
    NoRemote,
    /// There are several remotes, and none of them is `origin`.
    #[error("none of its {count} remotes is called `origin`")]
    NoOrigin {
        /// How many there are.
        count: usize,
    },
    /// The remote's URL leads nowhere.
    #[error("the URL of its remote `{remote}` is {url:?}, which names no repository")]
    BadUrl {
        /// The name of the remote.
        remote: String,
        /// Its URL, without a password; what is not UTF-8 in it is U+FFFD.
        url: String,
    },
    /// Git's files cannot be read, or have a format that is not known here.
    #[error(transparent)]
    Changes(#[from] ChangesError),
}

impl From<GitError> for IdentityError {
    fn from(error: GitError) -> Self {
        Self::Changes(error.into())
    }
}

impl Identity {
    /// The last part of the remote's path, `-`, and twelve hexadecimal digits: of letters, digits, `.`, `_` and `-`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of the remote as it counts: without scheme, user and password.
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// The name of what has these first commits and this remote, whose URL is in its one form.
    fn of(mut roots: Vec<ObjectId>, remote: String) -> Self {
        roots.sort();
        roots.dedup();
        let mut digest = Sha256::new();
        for root in roots {
            digest.update(format!("{root}\n"));
        }
        digest.update(format!("{remote}\n"));
        let digits = digest
            .finalize()
            .iter()
            .take(DIGEST_BYTES)
            .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        Self { name: format!("{}-{digits:0width$x}", readable(&remote), width = 2 * DIGEST_BYTES), remote }
    }
}

impl Repository {
    /// The name that every clone of the repository which [`top`](Self::top) is in derives alike: from the commits without
    /// a parent that `HEAD` leads to, and from the URL of the remote `origin`, or of the only one, as it stands in the
    /// repository's own configuration.
    ///
    /// Walks through all of the history.
    ///
    /// # Errors
    ///
    /// Clones could come to different names: of a shallow clone, of a repository without a commit or a remote. Or Git's
    /// files cannot be read.
    pub fn identity(&self) -> Result<Identity, IdentityError> {
        let folders = self.git()?.ok_or_else(|| IdentityError::NotGit { top: self.top().to_owned() })?;
        if let Some((setting, value)) = git::unsupported_format(folders.common_dir())? {
            let git_dir = folders.git_dir().to_owned();
            return Err(ChangesError::Unsupported { git_dir, setting, value }.into());
        }
        let roots = roots(&folders)?;
        let (name, url) = remote(folders.common_dir())?;
        match normalised(&url) {
            Some(remote) => Ok(Identity::of(roots, remote)),
            None => Err(IdentityError::BadUrl { remote: name, url: without_password(&url) }),
        }
    }
}

/// The commits without a parent that `HEAD` leads to.
fn roots(folders: &GitFolders) -> Result<Vec<ObjectId>, IdentityError> {
    let git_dir = folders.git_dir();
    let unreadable = |source: Source| ChangesError::Unreadable {
        operation: "read the history of",
        path: git_dir.to_owned(),
        source,
    };
    let options = gix::open::Options::isolated().open_path_as_is(true);
    let mut repository = gix::open_opts(git_dir, options).map_err(|error| unreadable(error.into()))?;
    repository.object_cache_size_if_unset(CACHE_BYTES);
    let mut head = repository.head().map_err(|error| unreadable(error.into()))?;
    if head.is_unborn() {
        return Err(IdentityError::NoCommits);
    }
    if repository.is_shallow().map_err(|error| unreadable(error.into()))? {
        return Err(IdentityError::Shallow);
    }
    let head = head.peel_to_commit().map_err(|error| unreadable(error.into()))?.id;
    let walk = repository.rev_walk([head]).all().map_err(|error| unreadable(error.into()))?;
    let mut roots = Vec::new();
    for commit in walk {
        let commit = commit.map_err(|error| unreadable(error.into()))?;
        if commit.parent_ids.is_empty() {
            roots.push(commit.id);
        }
    }
    Ok(roots)
}

/// The remote that counts, and its URL.
fn remote(common_dir: &Path) -> Result<(String, String), IdentityError> {
    let mut remotes: Vec<(String, String)> = Vec::new();
    if let Some(config) = git::read_config(&common_dir.join("config"))? {
        for section in config.sections_by_name("remote").into_iter().flatten() {
            let (Some(name), Some(url)) = (section.header().subsection_name(), section.value("url")) else {
                continue;
            };
            let name = name.to_string();
            // Of several URLs of one remote, Git fetches from the first.
            if !remotes.iter().any(|(known, _)| *known == name) {
                remotes.push((name, url.to_string()));
            }
        }
    }
    let count = remotes.len();
    let origin = remotes.iter().position(|(name, _)| name == ORIGIN);
    match (origin, count) {
        (Some(at), _) => Ok(remotes.swap_remove(at)),
        (None, 1) => Ok(remotes.swap_remove(0)),
        (None, 0) => Err(IdentityError::NoRemote),
        (None, count) => Err(IdentityError::NoOrigin { count }),
    }
}

/// The readable part of a name: the last part of the remote's path.
fn readable(remote: &str) -> String {
    let last = remote.rsplit('/').next().unwrap_or_default();
    let is_kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    last.chars().map(|c| if is_kept(c) { c } else { '-' }).take(READABLE_MAX).collect()
}

/// One form of a remote's URL, whichever way it is written: `HOST[:PORT]/PATH`, or a path of files. Without scheme, user,
/// password, the port that the scheme has anyway, and `/` and `.git` at the end; the host in lower case. `None` where
/// nothing is left.
fn normalised(url: &str) -> Option<String> {
    let url = url.trim();
    let (scheme, place) = match url.split_once("://") {
        Some((scheme, place)) => (scheme.to_ascii_lowercase(), place),
        None => match scp_like(url) {
            Some((host, path)) => return address(host, "ssh", path),
            None => return path_of(url).filter(|path| !path.is_empty()).map(str::to_owned),
        },
    };
    if scheme == "file" {
        return path_of(place).filter(|path| !path.is_empty()).map(str::to_owned);
    }
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    address(host, &scheme, path)
}

/// `[USER@]HOST:PATH`, as `scp` takes it: Git does where no `/` stands before the first `:`.
fn scp_like(url: &str) -> Option<(&str, &str)> {
    let user = url.find('@').filter(|at| !url[..*at].contains(['/', ':', '['])).map_or(0, |at| at + 1);
    let host = &url[user..];
    if let Some(inner) = host.strip_prefix('[') {
        // An address with colons, or a host with its port.
        let (inner, path) = inner.split_once("]:")?;
        let is_ip = inner.matches(':').count() > 1;
        return Some((if is_ip { &host[..inner.len() + 2] } else { inner }, path));
    }
    let (host, path) = host.split_once(':')?;
    (!host.is_empty() && !host.contains('/')).then_some((host, path))
}

/// What is left of a host, which may have a user before it and a port behind it, and of a path on it.
fn address(host: &str, scheme: &str, path: &str) -> Option<String> {
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host).to_ascii_lowercase();
    let default = match scheme.trim_start_matches("git+") {
        "ssh" => ":22",
        "https" => ":443",
        "http" => ":80",
        "git" => ":9418",
        "ftp" => ":21",
        "ftps" => ":990",
        _ => ":",
    };
    let host = host.strip_suffix(default).unwrap_or(&host);
    let host = host.strip_suffix(':').unwrap_or(host);
    let path = path_of(path.trim_start_matches('/'))?;
    match (host, path) {
        ("", _) => None,
        (host, "") => Some(host.to_owned()),
        (host, path) => Some(format!("{host}/{path}")),
    }
}

/// A path without what is added at its end at will; `None` if it is nothing but that.
fn path_of(path: &str) -> Option<&str> {
    let path = path.trim_end_matches('/');
    // A folder `.git` is that of the working tree it lies in.
    let path = path.strip_suffix(".git").map_or(path, |path| path.trim_end_matches('/'));
    (path != ".").then_some(path)
}

/// A URL without the user and the password in it.
fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, place)) => match place.rsplit_once('@') {
            Some((_, place)) => format!("{scheme}://{place}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_remote_has_one_form() {
        let same = [
            "https://github.com/acme/Shop",
            "https://github.com/acme/Shop/",
            "https://github.com/acme/Shop.git",
            "https://github.com/acme/Shop.git/",
            "https://github.com:443/acme/Shop.git",
            "https://GitHub.com/acme/Shop",
            "HTTPS://alice:s3cr%40t@github.com/acme/Shop.git",
            "https://x-access-token:p@ss@github.com/acme/Shop.git",
            "http://github.com:80/acme/Shop",
            "git://github.com:9418/acme/Shop.git",
            "ssh://git@github.com/acme/Shop.git",
            "ssh://git@github.com:22/acme/Shop.git",
            "git+ssh://git@github.com/acme/Shop.git",
            "ssh://github.com//acme/Shop",
            "git@github.com:acme/Shop.git",
            "git@github.com:/acme/Shop.git",
            "git@[github.com:22]:acme/Shop.git",
            "github.com:acme/Shop",
            "  git@GITHUB.com:acme/Shop/  ",
        ];
        for url in same {
            assert_eq!(normalised(url).as_deref(), Some("github.com/acme/Shop"), "{url}");
        }
        for (url, form) in [
            ("https://github.com/acme/shop", "github.com/acme/shop"),
            ("https://github.com/Acme/Shop", "github.com/Acme/Shop"),
            ("https://github.com:8443/acme/Shop", "github.com:8443/acme/Shop"),
            ("http://github.com:443/acme/Shop", "github.com:443/acme/Shop"),
            ("ssh://git@github.com:2222/acme/Shop", "github.com:2222/acme/Shop"),
            ("git@[github.com:2222]:acme/Shop", "github.com:2222/acme/Shop"),
            ("ssh://git@[::1]:22/a/b", "[::1]/a/b"),
            ("ssh://git@[::1]:2222/a/b", "[::1]:2222/a/b"),
            ("git@[::1]:a/b", "[::1]/a/b"),
            ("host:~alice/shop.git", "host/~alice/shop"),
            ("ssh://host/~alice/shop", "host/~alice/shop"),
            ("https://host", "host"),
            ("/srv/git/shop.git", "/srv/git/shop"),
            ("/srv/git/shop/.git/", "/srv/git/shop"),
            ("file:///srv/git/shop.git", "/srv/git/shop"),
            ("../shop.git", "../shop"),
            ("./a:b/shop.git", "./a:b/shop"),
            ("/srv/a@b:c/shop", "/srv/a@b:c/shop"),
        ] {
            assert_eq!(normalised(url).as_deref(), Some(form), "{url}");
        }
        for nothing in ["", "  ", "/", ".git", "https://", "https:///x", "ssh://git@/x", "file:///", "."] {
            assert_eq!(normalised(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn a_name_can_be_copied_into_the_settings() {
        for (remote, name) in [
            ("github.com/acme/Shop", "Shop"),
            ("github.com/acme/my shop+é", "my-shop--"),
            ("host:8080", "host-8080"),
            ("/srv/x_y.z", "x_y.z"),
        ] {
            assert_eq!(readable(remote), name);
        }
        let long = Identity::of(Vec::new(), format!("h/{}", "é".repeat(500)));
        assert_eq!(long.name().len(), READABLE_MAX + 1 + 2 * DIGEST_BYTES);
    }

    #[test]
    fn a_name_depends_on_the_first_commits_and_the_remote_alone() {
        let id = |digit: char| ObjectId::from_hex(digit.to_string().repeat(40).as_bytes()).unwrap();
        let name = |roots: &[char], remote: &str| {
            Identity::of(roots.iter().map(|digit| id(*digit)).collect(), remote.to_owned()).name
        };
        assert_eq!(name(&['a', 'b'], "h/x"), name(&['b', 'a', 'a'], "h/x"));
        assert_ne!(name(&['a'], "h/x"), name(&['a', 'b'], "h/x"));
        assert_ne!(name(&['a'], "h/x"), name(&['a'], "h/y/x"));
        // As `printf '%s\n' aaaa... h/x | sha256sum` has it.
        assert_eq!(name(&['a'], "h/x"), "x-3f9f0fab66a6");
    }

    #[test]
    fn no_password_is_shown() {
        assert_eq!(without_password("https://alice:pw@/x"), "https:///x");
        assert_eq!(without_password("https://a:p@w@"), "https://");
        assert_eq!(without_password("/x"), "/x");
    }
}

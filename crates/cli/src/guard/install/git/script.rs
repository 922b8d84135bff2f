//! The hooks that Git runs: shell scripts that run the hook which was there before, and then `muse`.
//!
//! A script bears the hash of its other lines, so that one which somebody has changed is told from one that another
//! version of this program wrote: only the latter is rewritten or removed.

use crate::guard::install::Options;
pub(super) use crate::guard::install::mark::Kind;
use crate::guard::install::mark::{self, hash};

/// What the name of the hook that was there before ends with.
pub(super) const ASIDE: &str = ".before-muse";

/// How the line begins that says what a script is; the hash follows, and a full stop.
const MARK: &str = "# Written by `muse coord guard install --git`, as ";

/// A hook of Git's that guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    PreCommit,
    PrePush,
}

impl Hook {
    pub(super) const ALL: [Hook; 2] = [Hook::PreCommit, Hook::PrePush];

    /// Its name, which Git gives it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Hook::PreCommit => "pre-commit",
            Hook::PrePush => "pre-push",
        }
    }

    /// The command that checks.
    pub(super) fn command(self, options: Options) -> String {
        let flag = |is_set: bool, flag| if is_set { flag } else { "" };
        let (strict, require) = (flag(options.strict, " --strict"), flag(options.require, " --require"));
        format!("muse coord hook {}{strict}{require}", self.name())
    }

    /// The same for a shell script of somebody else's, as one line without quotes: a machine without muse, and a muse that
    /// fails, is told of and let through, unless it is strict. `arguments` go to `muse`.
    pub(super) fn line(self, options: Options, arguments: &str) -> String {
        let what = self.what();
        let command = self.command(options);
        let (failed, missing) = if options.strict {
            (
                "exit 1".to_owned(),
                format!(
                    "echo warning: muse is not on PATH, so this {what} is stopped: pass by with --no-verify >&2; exit 1"
                ),
            )
        } else {
            let not_checked =
                |why: &str| format!("echo warning: muse {why}, so this {what} is not checked >&2");
            (
                format!("if [ $? -gt 1 ]; then {}; else exit 1; fi", not_checked("failed")),
                not_checked("is not on PATH"),
            )
        };
        format!(
            "if command -v muse >/dev/null 2>&1; then {command}{arguments} || {failed}; else {missing}; fi"
        )
    }

    /// What it stops.
    const fn what(self) -> &'static str {
        match self {
            Hook::PreCommit => "commit",
            Hook::PrePush => "push",
        }
    }
}

/// Tells what a file is to us by its bytes.
pub(super) fn kind(bytes: &[u8]) -> Kind {
    std::str::from_utf8(bytes).map_or(Kind::Foreign, |text| mark::kind(text, MARK))
}

/// The script of a hook.
pub(super) fn script(hook: Hook, options: Options) -> String {
    let (name, command) = (hook.name(), hook.command(options));
    let what = hook.what();
    let (reads, before, to_muse) = match hook {
        Hook::PreCommit => ("", "", ""),
        // Git says what is pushed on standard input, which both read.
        Hook::PrePush => (
            "pushed=$(cat && echo .)\npushed=${pushed%.}\n",
            "printf %s \"$pushed\" 2>/dev/null | ",
            "printf %s \"$pushed\" | ",
        ),
    };
    let unchecked = u8::from(options.strict);
    let then = if options.strict { "stopped: pass by with --no-verify" } else { "not checked" };
    let above = "#!/bin/sh\n";
    let below = format!(
        "\
# Do not change it: what else is to run belongs into {name}{ASIDE}, beside it, which runs first.
{reads}before=$0{ASIDE}
if [ -f \"$before\" ] && [ -x \"$before\" ]; then
  {before}\"$before\" \"$@\" || exit
fi
if ! command -v muse >/dev/null 2>&1; then
  echo \"warning: muse is not on PATH, so this {what} is {then}\" >&2
  exit {unchecked}
fi
{to_muse}{command} \"$@\"
code=$?
if [ $code -gt 1 ]; then
  echo \"warning: muse failed with exit code $code, so this {what} is {then}\" >&2
  exit {unchecked}
fi
exit $code
"
    );
    let hash = hash(&format!("{above}{below}"));
    format!("{above}{MARK}{hash}.\n{below}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_told_from_one_that_was_changed() {
        for hook in Hook::ALL {
            for (strict, require) in [(false, false), (true, false), (false, true), (true, true)] {
                let script = script(hook, Options { strict, require, ..Options::default() });
                assert_eq!(kind(script.as_bytes()), Kind::Ours);
                assert_eq!(kind(script.replace("exit $code", "exit 0").as_bytes()), Kind::Changed);
                assert_eq!(kind(format!("{script}echo mine\n").as_bytes()), Kind::Changed);
                assert_eq!(kind(script.replace('\n', "\r\n").as_bytes()), Kind::Changed);
            }
        }
        assert_eq!(kind(b"#!/bin/sh\necho mine\n"), Kind::Foreign);
        assert_eq!(kind(b"\x7fELF\xff"), Kind::Foreign);
        assert_eq!(kind(b""), Kind::Foreign);
    }
}

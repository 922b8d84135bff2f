//! `muse coord hook`: what guards call, one file for each kind of caller.
//!
//! A caller reads exit codes in its own way, so a hook prints its own answers: [`Reply`](muse_guard::harness::Reply).

mod edits;
mod files;
mod git;
mod harness;
mod log;
mod session;
mod words;

use muse_guard::Harness;
use serde::Serialize;

use self::git::GitHook;
use crate::args::{HarnessArgs, Hook};
use crate::context::Context;
use crate::exit;
use crate::output::{Answer, Report, Screen, print, usage_sentence};

/// Answers the hook, and returns the exit code that its caller reads.
pub(crate) fn run(hook: &Hook, context: &Context) -> u8 {
    let (called_as, args): (Harness, &HarnessArgs) = match hook {
        Hook::ClaudeCode(args) => (Harness::ClaudeCode, args),
        Hook::Codex(args) => (Harness::Codex, args),
        Hook::Cursor(args) => (Harness::Cursor, args),
        Hook::Gemini(args) => (Harness::Gemini, args),
        Hook::Copilot(args) => (Harness::Copilot, args),
        Hook::Opencode(args) => (Harness::Opencode, args),
        Hook::PreCommit(args) => return git::run(GitHook::PreCommit, args, context),
        Hook::PrePush(args) => return git::run(GitHook::PrePush, &args.common, context),
    };
    harness::run(called_as, args, context)
}

/// Says that the hook was called wrongly, and lets through what it guards: the exit code of a usage error would stop every
/// edit and every commit.
pub(crate) fn misused(error: &clap::Error, context: &Context) -> u8 {
    let sentence = usage_sentence(&error.to_string());
    let error = format!("the guard was called wrongly, and does nothing: {sentence}");
    // Nobody is left to tell if this fails, and nothing is stopped by it.
    print(Ok(Answer::new(Misused { status: "usage", stopped: false, error })), context);
    exit::OK
}

/// A call that could not be understood.
#[derive(Debug, Serialize)]
struct Misused {
    status: &'static str,
    stopped: bool,
    error: String,
}

impl Report for Misused {
    fn exit_code(&self) -> u8 {
        exit::OK
    }

    fn text(&self, screen: &mut Screen) {
        screen.error(&self.error);
    }
}

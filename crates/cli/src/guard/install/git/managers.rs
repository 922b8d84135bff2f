//! Programs that own the hooks of a repository: what they want to be told instead of a hook that they would overwrite
//! or never run.

use std::path::Path;

use muse_repo::HooksFolder;

use super::script::Hook;
use crate::error::CommandError;
use crate::guard::install::{Options, Paste, Site};

/// A program that manages hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manager {
    Husky,
    Lefthook,
    PreCommit,
    Overcommit,
}

/// The names under which lefthook looks for its configuration; those without the full stop also in `.config`.
const LEFTHOOK_FILES: [&str; 15] = [
    "lefthook.yml",
    ".lefthook.yml",
    ".config/lefthook.yml",
    "lefthook.yaml",
    ".lefthook.yaml",
    ".config/lefthook.yaml",
    "lefthook.toml",
    ".lefthook.toml",
    ".config/lefthook.toml",
    "lefthook.json",
    ".lefthook.json",
    ".config/lefthook.json",
    "lefthook.jsonc",
    ".lefthook.jsonc",
    ".config/lefthook.jsonc",
];

const PRE_COMMIT_FILE: &str = ".pre-commit-config.yaml";
const OVERCOMMIT_FILE: &str = ".overcommit.yml";
const HUSKY_FOLDER: &str = ".husky";

/// What the hooks of a program have in them, as it writes them.
const STUBS: [(&str, Manager); 4] = [
    ("husky", Manager::Husky),
    ("lefthook", Manager::Lefthook),
    ("https://pre-commit.com", Manager::PreCommit),
    ("overcommit", Manager::Overcommit),
];

impl Manager {
    /// The program that runs the hooks here: the one whose folder Git looks into, else the one that wrote the hooks in
    /// it, else the one whose configuration is there and that may not have been set up yet.
    pub(super) fn find(site: &Site, hooks: &HooksFolder) -> Result<Option<Manager>, CommandError> {
        if hooks.path().ends_with(HUSKY_FOLDER) || hooks.path().ends_with(".husky/_") {
            return Ok(Some(Manager::Husky));
        }
        for hook in Hook::ALL {
            let stub = super::read(site, &hooks.path().join(hook.name()))?;
            let text = String::from_utf8_lossy(stub.as_deref().unwrap_or_default());
            if let Some((_, manager)) = STUBS.iter().find(|(word, _)| text.contains(word)) {
                return Ok(Some(*manager));
            }
        }
        let top = hooks.top().unwrap_or(site.top);
        let all = [Manager::Lefthook, Manager::PreCommit, Manager::Overcommit, Manager::Husky];
        Ok(all.into_iter().find(|manager| manager.configuration(top).is_some()))
    }

    /// Its name, for people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Manager::Husky => "husky",
            Manager::Lefthook => "lefthook",
            Manager::PreCommit => "the pre-commit framework",
            Manager::Overcommit => "overcommit",
        }
    }

    /// Its configuration in a working tree, if that is there.
    fn configuration(self, top: &Path) -> Option<&'static str> {
        let names: &[&'static str] = match self {
            Manager::Husky => &[HUSKY_FOLDER],
            Manager::Lefthook => &LEFTHOOK_FILES,
            Manager::PreCommit => &[PRE_COMMIT_FILE],
            Manager::Overcommit => &[OVERCOMMIT_FILE],
        };
        names.iter().copied().find(|name| top.join(name).exists())
    }

    /// What belongs into its files: from the top of the working tree, with the lines.
    fn wants(self, top: &Path, options: Options) -> Vec<(String, String)> {
        let [commit, push] = Hook::ALL.map(|hook| hook.line(options, ""));
        match self {
            Manager::Husky => Hook::ALL
                .map(|hook| (format!("{HUSKY_FOLDER}/{}", hook.name()), super::line(hook, options)))
                .into(),
            Manager::Lefthook => {
                let file = self.configuration(top).unwrap_or(LEFTHOOK_FILES[0]);
                let text = format!(
                    "\
pre-commit:
  commands:
    muse:
      run: |
        {commit}
pre-push:
  commands:
    muse:
      run: |
        {push}
      use_stdin: true
"
                );
                vec![(file.to_owned(), text)]
            }
            Manager::PreCommit => {
                let text = format!(
                    "\
default_install_hook_types: [pre-commit, pre-push]  # then run: pre-commit install
repos:
  - repo: local
    hooks:
      - id: muse-pre-commit
        name: muse (is somebody in the way of what is staged?)
        entry: >-
          sh -c '{}' muse
        language: system
        pass_filenames: false
        always_run: true
        verbose: true
        stages: [pre-commit]
      - id: muse-pre-push
        name: muse (is somebody in the way of what is pushed?)
        entry: >-
          sh -c '{}' muse
        language: system
        pass_filenames: false
        always_run: true
        verbose: true
        stages: [pre-push]
",
                    // With the `args` that somebody gives them.
                    Hook::PreCommit.line(options, " \"$@\""),
                    Hook::PrePush.line(options, " \"$@\""),
                );
                vec![(PRE_COMMIT_FILE.to_owned(), text)]
            }
            // It goes by the name under which a hook is called, so that one cannot be put aside.
            Manager::Overcommit => {
                let text = format!(
                    "# a hook of PreCommit that runs: {commit}\n# a hook of PrePush that runs: {push}\n"
                );
                vec![(OVERCOMMIT_FILE.to_owned(), text)]
            }
        }
    }

    /// What is to be put into its files by hand: nothing where they call `muse` already.
    pub(super) fn to_paste(
        self,
        site: &Site,
        hooks: &HooksFolder,
        options: Options,
    ) -> Result<Vec<Paste>, CommandError> {
        let top = hooks.top().unwrap_or(site.top);
        let mut to_paste = Vec::new();
        for (path, text) in self.wants(top, options) {
            let content = super::read(site, &top.join(&path))?.unwrap_or_default();
            if !is_called(self, &path, &String::from_utf8_lossy(&content)) {
                let reason = format!("{} runs the hooks here, and would not run one of muse's", self.name());
                to_paste.push(Paste { path, reason, text });
            }
        }
        Ok(to_paste)
    }

    /// The files that it is told in.
    pub(super) fn files(self, hooks: &HooksFolder) -> Vec<String> {
        let wants = hooks.top().map(|top| self.wants(top, Options::default()));
        wants.into_iter().flatten().map(|(path, _)| path).collect()
    }
}

/// Whether a file of a manager's calls `muse` for all the hooks that it is about.
fn is_called(manager: Manager, path: &str, content: &str) -> bool {
    Hook::ALL.iter().all(|hook| {
        let is_elsewhere = manager == Manager::Husky && !path.ends_with(hook.name());
        let is_by_id = manager == Manager::PreCommit && content.contains(&format!("muse-{}", hook.name()));
        is_elsewhere || is_by_id || content.contains(&format!("muse coord hook {}", hook.name()))
    })
}

//! A real terminal, by `tmux`: keys go in, the screen comes out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::process::until;

/// A terminal with a shell in it. Dropped, it is closed, and everything in it hears of that.
#[derive(Debug)]
pub struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    /// A terminal of 120 columns and 40 lines with an interactive bash in `folder`. The server is its own; its
    /// socket lies in the folder.
    pub fn start(folder: &Path) -> Tmux {
        // A server that is just ending leaves its socket's name for a moment.
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let tmux = Tmux { socket: folder.join(format!("tmux-{number}.socket")) };
        // Whoever starts the tests in the background ignores interrupts, and a shell that inherits that never sees any.
        let shell = "env --default-signal=INT,QUIT -u MUSE_RUN_ID -u MUSE_REPO_ROOT PS1='ready> ' \
                     bash --norc --noprofile -i";
        let place = folder.to_str().expect("the paths of these tests are UTF-8");
        tmux.call(&["new-session", "-d", "-x", "120", "-y", "40", "-c", place, shell]);
        tmux.until_shown("ready>");
        tmux
    }

    /// Makes the terminal so many columns wide and so many lines high.
    pub fn resize(&self, columns: u16, lines: u16) {
        self.call(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]);
    }

    /// Types a text.
    pub fn text(&self, text: &str) {
        self.call(&["send-keys", "-l", text]);
    }

    /// What stands in each line of the screen; with the terminal's controls for colours and other styles, if asked for.
    pub fn lines(&self, with_styles: bool) -> Vec<String> {
        let flags: &[&str] =
            if with_styles { &["capture-pane", "-p", "-e"] } else { &["capture-pane", "-p"] };
        let shown = String::from_utf8_lossy(&self.call(flags).stdout).into_owned();
        shown.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Whether a program draws on the screen that is there for it, and whether the cursor is to be seen.
    pub fn is_alternate_with_cursor(&self) -> (bool, bool) {
        let output = self.call(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        (told.starts_with('1'), told.trim_end().ends_with('1'))
    }

    /// Types a line and presses Enter.
    pub fn line(&self, text: &str) {
        self.call(&["send-keys", "-l", text]);
        self.key("Enter");
    }

    /// Presses a key: `Enter`, `C-c`, `C-z`.
    pub fn key(&self, key: &str) {
        self.call(&["send-keys", key]);
    }

    /// What the screen shows, lines that are too long for it put together again.
    pub fn screen(&self) -> String {
        let output = self.call(&["capture-pane", "-p", "-J"]);
        let shown = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<&str> = shown.lines().map(str::trim_end).collect();
        lines.join("\n")
    }

    /// Waits until a line of the screen begins with `text`. What the terminal echoes of a key that sends a
    /// signal does not count. A line that is just as wide as the screen is put together with the next one as if it went on
    /// there, so the lines are looked at as they stand too: how long a typed line is depends on where the program lies.
    pub fn until_shown(&self, text: &str) {
        let mut screen = String::new();
        let is_shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(text, || {
                screen = self.screen();
                let said =
                    |line: &str| line.trim_start_matches("^C").trim_start_matches("^Z").starts_with(text);
                screen.lines().any(said) || self.lines(false).iter().any(|line| said(line))
            });
        }));
        assert!(is_shown.is_ok(), "no line begins with {text:?} on\n{screen}");
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(["-f", "/dev/null"])
            .args(arguments)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("this test drives the program `tmux`: install it (apt-get install tmux)");
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).arg("kill-server");
        // Nothing more can be done, and a test that fails already must not be failed twice.
        command.output().map(drop).unwrap_or_default();
    }
}

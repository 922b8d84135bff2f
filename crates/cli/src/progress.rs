//! How far something is, as a bar on standard error: where that is a terminal and the answer is text. Nothing
//! otherwise, so that no program that reads along has to pass over it.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use muse_coord::{Progress, Silent};

/// How often the bar is drawn in a second: as often as eyes can follow, and no more.
const DRAWN_PER_SECOND: u8 = 10;

/// A bar for what has a known length, and a count for what has not. Taken away when dropped.
#[derive(Debug)]
struct Bar {
    is_seen: fn() -> bool,
    current: Mutex<Option<ProgressBar>>,
}

/// What shows how far something is, if that is `wanted`. Whether a person looks at standard error is asked of `is_seen`
/// when something does take long.
pub(crate) fn progress(wanted: bool, is_seen: fn() -> bool) -> Box<dyn Progress> {
    if wanted { Box::new(Bar { is_seen, current: Mutex::default() }) } else { Box::new(Silent) }
}

impl Bar {
    fn replace(&self, bar: Option<ProgressBar>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(over) = std::mem::replace(&mut *current, bar) {
            over.finish_and_clear();
        }
    }
}

impl Progress for Bar {
    fn begin(&self, total: Option<u64>, what: &'static str) {
        if !(self.is_seen)() {
            return;
        }
        let template = match total {
            Some(_) => "{msg} {wide_bar} {pos}/{len}",
            None => "{msg} {pos}",
        };
        let target = ProgressDrawTarget::stderr_with_hz(DRAWN_PER_SECOND);
        let bar = ProgressBar::with_draw_target(total, target).with_message(what);
        // The templates are ours; one that could not be read would leave the bar's own.
        self.replace(Some(match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }));
    }

    fn advance(&self, steps: u64) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = &*current {
            bar.inc(steps);
        }
    }

    fn end(&self) {
        self.replace(None);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.replace(None);
    }
}

//! The screen of `watch`: who holds what, who waits for it, what happened last.
//!
//! `model.rs` is what is shown and what keys do to it, `draw.rs` how it looks; both are pure. Here is the terminal. One
//! thread looks at the store, one reads keys, and this one draws what they tell; none waits for another. The terminal is
//! given back on every way out: by a value that does so when it is dropped, and before a panic prints anything.

use std::io::{self, Stdout};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use muse_coord::{Address, Engine as _, EngineError, Seen, Watcher};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event as Input, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use self::model::{Key, View};
use crate::commands::watch::{Scope, moved, warnings};
use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::exit;
use crate::output::one_line;
use crate::wait::Interrupts;

mod draw;
mod model;

/// How often the time that is left is drawn anew where nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// What the other threads tell.
enum Happening {
    Seen(Box<Seen>),
    Input(Input),
    /// A signal came.
    Interrupted,
    /// The store is somewhere else.
    Moved(EngineError),
    /// There will be no more keys.
    InputEnded,
}

/// A terminal that is drawn on. Dropped, it is as it was before.
struct Drawn {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Drawn {
    fn begin() -> io::Result<Drawn> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        enable_raw_mode()?;
        let begun = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match begun {
            Ok(terminal) => Ok(Drawn { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }
}

impl Drawn {
    /// Draws everything anew the next time: what the terminal made of the picture while its size changed is not known,
    /// also if the size is as before. Not by `Terminal::clear`, which asks the terminal where its cursor is, and waits
    /// for an answer that the thread of the keys takes.
    fn forget(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        give_back();
    }
}

/// Leaves the screen. Where a step fails, as on a terminal that is gone, the others are taken all the same.
fn give_back() {
    execute!(io::stdout(), LeaveAlternateScreen, Show).unwrap_or_default();
    disable_raw_mode().unwrap_or_default();
}

/// Shows the screen until somebody ends it, and returns the exit code.
pub(crate) fn show(scope: Scope, interrupts: Interrupts, context: &Context) -> Result<u8, CommandError> {
    let failed = |error: io::Error| {
        let message =
            format!("the terminal cannot be drawn on ({error}): have lines with `muse coord watch | cat`");
        CommandError::new(Kind::Internal, message)
    };
    let mut view = View::new(scope.engine.now(), context.colour);
    let mut drawn = Drawn::begin().map_err(failed)?;
    let (sender, happenings) = channel();
    let keys = sender.clone();
    thread::spawn(move || read_keys(&keys));
    let looking = thread::spawn(move || look(&scope, &interrupts, &sender));
    loop {
        drawn.terminal.draw(|frame| view.draw(frame)).map_err(failed)?;
        // Asked first: what it says at its end is heard before it counts as ended.
        let has_ended = looking.is_finished();
        let mut happening = match happenings.recv_timeout(TICK) {
            Ok(happening) => Some(happening),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(exit::INTERNAL),
        };
        // All that is there by now is one picture.
        while let Some(one) = happening {
            match one {
                Happening::Seen(seen) => view.see(*seen),
                Happening::Input(Input::Resize(..)) => drawn.forget().map_err(failed)?,
                Happening::Input(input) => {
                    if let Some(key) = key(&input)
                        && view.press(key)
                    {
                        return Ok(exit::OK);
                    }
                }
                Happening::Interrupted => {
                    let signal = looking.join().ok().flatten();
                    return Ok(signal.map_or(exit::OK, |signal| exit::SIGNALLED.saturating_add(signal)));
                }
                Happening::Moved(error) => return Err(error.into()),
                Happening::InputEnded => return Ok(exit::OK),
            }
            happening = happenings.try_recv().ok();
        }
        if has_ended {
            return Ok(exit::INTERNAL);
        }
        view.pass(context.now());
    }
}

/// Looks at the store until a signal comes or nobody listens, and returns the signal.
fn look(scope: &Scope, interrupts: &Interrupts, sender: &Sender<Happening>) -> Option<u8> {
    let mut watcher = Watcher::new(&scope.engine, scope.since);
    while let Some(mut seen) = watcher.next(Some(interrupts.descriptor())) {
        if let Some(error) = moved(&mut seen) {
            sender.send(Happening::Moved(error)).unwrap_or_default();
            return None;
        }
        seen.events.retain(|event| scope.shows(event));
        seen.leases
            .retain(|lease| scope.filter.shows(&lease.reservation.run_id, &lease.reservation.addresses));
        seen.tickets.retain(|ticket| scope.filter.shows(&ticket.run_id, &ticket.addresses));
        if sender.send(Happening::Seen(Box::new(seen))).is_err() {
            return None;
        }
    }
    sender.send(Happening::Interrupted).unwrap_or_default();
    interrupts.received()
}

fn read_keys(sender: &Sender<Happening>) {
    while let Ok(input) = event::read() {
        if sender.send(Happening::Input(input)).is_err() {
            return;
        }
    }
    sender.send(Happening::InputEnded).unwrap_or_default();
}

/// What was pressed, if it means something here.
fn key(input: &Input) -> Option<Key> {
    let Input::Key(key) = input else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c' | 'd') if control => Key::End,
        KeyCode::Char('h') if control => Key::Erase,
        KeyCode::Char('u') if control => Key::EraseAll,
        KeyCode::Char(_) if control => return None,
        KeyCode::Char(character) => Key::Character(character),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Erase,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Top,
        KeyCode::End => Key::Bottom,
        _ => return None,
    })
}

/// The first so many addresses, and how many more there are.
pub(crate) fn addresses(addresses: &[Address], shown_max: usize) -> String {
    let shown: Vec<&str> = addresses.iter().take(shown_max).map(Address::as_str).collect();
    let text = shown.join(", ");
    match addresses.len().saturating_sub(shown_max) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// A text for cells of a terminal: without what it obeys, and without the marks of no width that terminals do not agree
/// on, so that every column stays in its place.
fn cells(text: &str) -> String {
    let is_disputed = |character: char| {
        matches!(character,
            '\u{AD}' | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}' | '\u{1F3FB}'..='\u{1F3FF}' | '\u{E0000}'..='\u{E0FFF}')
    };
    one_line(text).chars().filter(|&character| !is_disputed(character)).collect()
}

/// The warnings of a look, for one line.
fn damage(seen: &Seen) -> Option<String> {
    warnings(seen).into_iter().next()
}

#[cfg(test)]
mod tests;

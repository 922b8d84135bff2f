//! What the screen shows, and what keys do to it. Pure.

use std::collections::VecDeque;

use muse_coord::watch::waits_for;
use muse_coord::{Event, Lease, ReservationId, Seen, State, Ticket, Timestamp};

use super::damage;

/// How many of the last events are kept to be shown: more than any screen has lines.
const EVENTS_MAX: usize = 500;

/// For how long a reservation is shown after it lapsed: its holder may come back, and others may ask for it.
const LAPSED_SHOWN_SECONDS: u64 = 300;

/// How many lines one page is, whatever the size of the screen.
const PAGE_LINES: usize = 10;

/// The longest filter, in characters: no run id is longer.
const FILTER_MAX: usize = 256;

/// A key, whatever the terminal calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Character(char),
    Enter,
    Escape,
    Erase,
    EraseAll,
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
    /// Ctrl-C.
    End,
}

/// What the holders are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    TimeLeft,
    Run,
    Address,
    Token,
}

impl Sort {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Sort::TimeLeft => "time left",
            Sort::Run => "run",
            Sort::Address => "address",
            Sort::Token => "token",
        }
    }

    const fn next(self) -> Sort {
        match self {
            Sort::TimeLeft => Sort::Run,
            Sort::Run => Sort::Address,
            Sort::Address => Sort::Token,
            Sort::Token => Sort::TimeLeft,
        }
    }
}

/// What lies over the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    List,
    Details,
    Keys,
}

/// A line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A holder, by its position among the leases.
    Holder(usize),
    /// Somebody who waits, by the position among the tickets, and whether it stands under a holder.
    Waiter(usize, bool),
}

/// Everything that the screen shows.
#[derive(Debug)]
pub(super) struct View {
    pub(super) now: Timestamp,
    pub(super) colour: bool,
    pub(super) is_loaded: bool,
    pub(super) leases: Vec<Lease>,
    pub(super) tickets: Vec<Ticket>,
    /// The last one first.
    pub(super) events: VecDeque<Event>,
    /// What cannot be read, while there is something.
    pub(super) damage: Option<String>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) is_typing: bool,
    pub(super) page: Page,
    /// How far the details are scrolled.
    pub(super) scrolled: usize,
    selected: Option<ReservationId>,
    pub(super) lines: Vec<Line>,
    /// The first line of the list that is on the screen.
    pub(super) first: usize,
}

impl View {
    pub(super) const fn new(now: Timestamp, colour: bool) -> View {
        View {
            now,
            colour,
            is_loaded: false,
            leases: Vec::new(),
            tickets: Vec::new(),
            events: VecDeque::new(),
            damage: None,
            sort: Sort::TimeLeft,
            filter: String::new(),
            is_typing: false,
            page: Page::List,
            scrolled: 0,
            selected: None,
            lines: Vec::new(),
            first: 0,
        }
    }

    /// Takes in what a look found.
    pub(super) fn see(&mut self, seen: Seen) {
        self.is_loaded = true;
        self.damage = match damage(&seen) {
            None if seen.damaged_count > 0 => self.damage.take(),
            told => told,
        };
        for event in seen.events {
            self.events.push_front(event);
        }
        self.events.truncate(EVENTS_MAX);
        self.leases = seen.leases;
        self.tickets = seen.tickets;
        self.now = seen.now;
        self.arrange();
    }

    /// Time passes.
    pub(super) fn pass(&mut self, now: Timestamp) {
        self.now = now;
        let is_shown = |lease: &Lease| is_shown(lease, now);
        if !self.leases.iter().all(is_shown) {
            self.leases.retain(is_shown);
            self.arrange();
        }
    }

    /// Puts the lines in order.
    fn arrange(&mut self) {
        let now = self.now;
        self.leases.retain(|lease| is_shown(lease, now));
        match self.sort {
            Sort::TimeLeft => {
                self.leases.sort_by_key(|lease| (lease.effective_expiry(), lease.reservation.token));
            }
            Sort::Run => self.leases.sort_by(|one, other| {
                let key =
                    |lease: &Lease| (lease.reservation.run_id.as_str().to_owned(), lease.reservation.token);
                key(one).cmp(&key(other))
            }),
            Sort::Address => self.leases.sort_by(|one, other| {
                let (one, other) = (&one.reservation, &other.reservation);
                (&one.addresses, one.token).cmp(&(&other.addresses, other.token))
            }),
            Sort::Token => self.leases.sort_by_key(|lease| lease.reservation.token),
        }
        let wanted = self.filter.to_lowercase();
        let is_wanted = |run: &str, addresses: &[muse_coord::Address]| {
            wanted.is_empty()
                || run.to_lowercase().contains(&wanted)
                || addresses.iter().any(|address| address.as_str().to_lowercase().contains(&wanted))
        };
        self.lines.clear();
        let mut is_placed = vec![false; self.tickets.len()];
        for (holder, lease) in self.leases.iter().enumerate() {
            let reservation = &lease.reservation;
            let is_active = lease.state(now) == State::Active;
            let waiters: Vec<usize> = (0..self.tickets.len())
                .filter(|&waiter| is_active && waits_for(&self.tickets[waiter], reservation))
                .collect();
            for &waiter in &waiters {
                is_placed[waiter] = true;
            }
            // A holder is shown with those who wait for it if one of them is asked for.
            let is_asked_for = is_wanted(reservation.run_id.as_str(), &reservation.addresses)
                || waiters.iter().any(|&waiter| {
                    let ticket = &self.tickets[waiter];
                    is_wanted(ticket.run_id.as_str(), &ticket.addresses)
                });
            if is_asked_for {
                self.lines.push(Line::Holder(holder));
                self.lines.extend(waiters.into_iter().map(|waiter| Line::Waiter(waiter, true)));
            }
        }
        // They wait for others who wait.
        for (waiter, ticket) in self.tickets.iter().enumerate() {
            if !is_placed[waiter] && is_wanted(ticket.run_id.as_str(), &ticket.addresses) {
                self.lines.push(Line::Waiter(waiter, false));
            }
        }
        if self.position().is_none() {
            // What was selected is gone: then what stands in its place is.
            self.select(self.first, 0);
        }
    }

    /// The line that is selected.
    pub(super) fn position(&self) -> Option<usize> {
        let selected = self.selected?;
        self.lines.iter().position(|line| self.holder(*line) == Some(selected))
    }

    fn holder(&self, line: Line) -> Option<ReservationId> {
        match line {
            Line::Holder(holder) => Some(self.leases.get(holder)?.reservation.reservation_id),
            Line::Waiter(..) => None,
        }
    }

    /// The reservation that is selected.
    pub(super) fn selected(&self) -> Option<&Lease> {
        match self.lines.get(self.position()?)? {
            Line::Holder(holder) => self.leases.get(*holder),
            Line::Waiter(..) => None,
        }
    }

    /// Selects the holder that stands so many holders after the line `from`, or the last one that there is.
    fn select(&mut self, from: usize, steps: isize) {
        let holders: Vec<usize> =
            (0..self.lines.len()).filter(|&line| matches!(self.lines[line], Line::Holder(_))).collect();
        let current = holders.partition_point(|&line| line < from);
        let wanted = current.saturating_add_signed(steps).min(holders.len().saturating_sub(1));
        self.selected = holders.get(wanted).and_then(|&line| self.holder(self.lines[line]));
        if wanted == 0 {
            self.first = 0;
        }
    }

    /// Does what a key says; `true` when it says to end.
    pub(super) fn press(&mut self, key: Key) -> bool {
        if key == Key::End {
            return true;
        }
        if self.is_typing {
            self.type_filter(key);
            return false;
        }
        match (self.page, key) {
            (_, Key::Character('q')) => return true,
            (Page::Keys, _) | (Page::Details, Key::Escape | Key::Enter) => self.page = Page::List,
            (_, Key::Character('?')) => self.page = Page::Keys,
            (Page::Details, Key::Up | Key::Character('k')) => self.scrolled = self.scrolled.saturating_sub(1),
            (Page::Details, Key::Down | Key::Character('j')) => self.scrolled += 1,
            (Page::Details, Key::PageUp) => self.scrolled = self.scrolled.saturating_sub(PAGE_LINES),
            (Page::Details, Key::PageDown) => self.scrolled += PAGE_LINES,
            (Page::Details, Key::Top) => self.scrolled = 0,
            (Page::List, Key::Enter) if self.selected().is_some() => {
                self.page = Page::Details;
                self.scrolled = 0;
            }
            (Page::List, Key::Escape) => {
                self.filter.clear();
                self.arrange();
            }
            (Page::List, Key::Character('/')) => self.is_typing = true,
            (Page::List, Key::Character('s')) => {
                self.sort = self.sort.next();
                self.arrange();
            }
            (Page::List, Key::Up | Key::Character('k')) => self.step(-1),
            (Page::List, Key::Down | Key::Character('j')) => self.step(1),
            (Page::List, Key::PageUp) => self.step(-PAGE_LINES.cast_signed()),
            (Page::List, Key::PageDown) => self.step(PAGE_LINES.cast_signed()),
            (Page::List, Key::Top | Key::Character('g')) => self.select(0, 0),
            (Page::List, Key::Bottom | Key::Character('G')) => self.select(self.lines.len(), 0),
            (Page::Details | Page::List, _) => {}
        }
        false
    }

    fn step(&mut self, steps: isize) {
        self.select(self.position().unwrap_or(self.first), steps);
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Enter | Key::Up | Key::Down => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            Key::Erase => drop(self.filter.pop()),
            Key::EraseAll => self.filter.clear(),
            Key::Character(character) if self.filter.chars().count() < FILTER_MAX => {
                self.filter.push(character);
            }
            _ => {}
        }
        self.arrange();
    }

    /// Scrolls the list so that the selected line is among `height` lines.
    pub(super) fn scroll_to_selected(&mut self, height: usize) {
        let height = height.max(1);
        let last = self.lines.len().saturating_sub(height);
        if let Some(position) = self.position() {
            // Those who wait for it are shown with it where there is room.
            let waiters =
                self.lines[position + 1..].iter().take_while(|line| matches!(line, Line::Waiter(_, true)));
            let end = position + waiters.count().min(height - 1) + 1;
            self.first = self.first.max(end.saturating_sub(height)).min(position);
        }
        self.first = self.first.min(last);
    }
}

/// Whether a holder is shown: what lapsed long ago holds nothing that anybody waits for.
fn is_shown(lease: &Lease, now: Timestamp) -> bool {
    lease.lapsed_seconds(now).is_none_or(|seconds| seconds <= LAPSED_SHOWN_SECONDS)
}

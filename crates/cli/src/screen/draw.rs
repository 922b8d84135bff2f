//! How the screen looks: every text is cut to the cells of its column, so that none can push another one away.

use muse_coord::{Event, Lease, Operation, State, Ticket, Timestamp};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use super::model::{Line, Page, View};
use super::{addresses, cells};
use crate::commands::watch::details;
use crate::report::duration;

/// How many addresses of one reservation are put into a line: no line has room for more.
const ADDRESSES_SHOWN_MAX: usize = 20;

/// The share of the time below which what is left is little, and very little.
const LITTLE: f64 = 0.5;
const VERY_LITTLE: f64 = 0.2;

/// From this height on there is room for what happened last.
const EVENTS_FROM_HEIGHT: u16 = 12;

/// How wide the names of details are: 80 cells without them hold a reservation's id whole.
const LABEL_WIDTH: u16 = 9;

/// What the keys do, as `?` shows it.
const KEYS: [(&str, &str); 9] = [
    ("up, down, k, j", "the holder before, the next one"),
    ("PgUp, PgDn, g, G", "ten at once, the first, the last"),
    ("Enter", "everything about it; Enter or Esc goes back"),
    ("s", "sort by time left, run, address, token"),
    ("/", "filter by run or address; Enter keeps it, Esc takes it away"),
    ("Esc", "take the filter away"),
    ("?", "these keys; any key goes back"),
    ("q, Ctrl-C", "end"),
    ("", "a bar is the time that is left of what was asked for last"),
];

/// Where the columns of the list begin, and how wide they are; those of no width are not shown.
struct Columns {
    holder: (u16, u16),
    addresses: (u16, u16),
    mode: (u16, u16),
    operation: (u16, u16),
    bar: (u16, u16),
    left: (u16, u16),
}

impl Columns {
    fn of(width: u16) -> Columns {
        // The widest words are `exclusive`, `extract` and `365d 23h`.
        let left = 8;
        let bar = if width >= 120 {
            20
        } else if width >= 50 {
            10
        } else {
            0
        };
        let operation = if width >= 70 { 9 } else { 0 };
        let mode = if width >= 60 { 9 } else { 0 };
        let holder = (width / 5).clamp(6, 40).min(width);
        let taken: u16 = [left, bar, operation, mode, holder]
            .iter()
            .map(|&width| if width > 0 { width + 1 } else { 0 })
            .sum();
        let addresses = width.saturating_sub(taken + 1);
        let mut at = 2;
        let mut place = |wide: u16| {
            let begin = at;
            at += if wide > 0 { wide + 1 } else { 0 };
            (begin.min(width), wide.min(width.saturating_sub(begin)))
        };
        Columns {
            holder: place(holder),
            addresses: place(addresses.saturating_sub(1)),
            mode: place(mode),
            operation: place(operation),
            bar: place(bar),
            left: place(left),
        }
    }
}

/// A text for `width` cells, with an ellipsis where it is cut.
pub(super) fn fit(text: &str, width: usize) -> String {
    let text = cells(text);
    if Span::raw(text.as_str()).width() <= width {
        return text;
    }
    let mut fitting = String::new();
    let mut taken = 1;
    for character in text.chars() {
        taken += Span::raw(character.to_string()).width();
        if taken > width {
            break;
        }
        fitting.push(character);
    }
    if width > 0 {
        fitting.push('…');
    }
    fitting
}

/// Puts a text into a place of a line.
fn put(buffer: &mut Buffer, area: Rect, line: u16, (at, width): (u16, u16), text: &str, style: Style) {
    if line < area.height && at < area.width && width > 0 {
        let width = usize::from(width.min(area.width - at));
        buffer.set_stringn(area.x + at, area.y + line, fit(text, width), width, style);
    }
}

impl View {
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let events = if area.height < EVENTS_FROM_HEIGHT { 0 } else { area.height / 4 };
        // The head, the names of the columns, the list, a rule and the events, the keys.
        let list = area.height.saturating_sub(3 + events);
        self.scroll_to_selected(usize::from(list));
        let buffer = frame.buffer_mut();
        let part = |y: u16, height: u16| Rect { y: area.y + y, height, ..area }.intersection(area);
        self.draw_head(buffer, part(0, 1));
        match self.page {
            Page::List => {
                self.draw_list(buffer, part(1, list.saturating_add(1)));
                self.draw_events(buffer, part(2 + list, events));
            }
            Page::Details => self.draw_details(buffer, part(1, area.height.saturating_sub(2))),
            Page::Keys => draw_keys(buffer, part(1, area.height.saturating_sub(2))),
        }
        if area.height > 1 {
            self.draw_foot(buffer, part(area.height - 1, 1));
        }
    }

    fn style(&self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn draw_head(&self, buffer: &mut Buffer, area: Rect) {
        let active = self.leases.iter().filter(|lease| lease.state(self.now) == State::Active).count();
        let counts = if self.is_loaded {
            format!("{active} held, {} waiting", self.tickets.len())
        } else {
            "reading".to_owned()
        };
        let shown = self.lines.iter().filter(|line| matches!(line, Line::Holder(_))).count();
        let filter = if self.filter.is_empty() && !self.is_typing {
            String::new()
        } else {
            format!("  /{}  {shown} shown", self.filter)
        };
        let text = format!(" muse coord watch  {counts}  by {}{filter}", self.sort.as_str());
        let whole = (0, area.width);
        let style = Style::new().add_modifier(Modifier::REVERSED);
        buffer.set_style(area, style);
        put(buffer, area, 0, whole, &text, style);
    }

    fn draw_foot(&self, buffer: &mut Buffer, area: Rect) {
        let whole = (0, area.width);
        if self.is_typing {
            let text = format!(" run or address: {}_   Enter keep  Esc none", self.filter);
            return put(buffer, area, 0, whole, &text, Style::new().add_modifier(Modifier::BOLD));
        }
        if let Some(damage) = &self.damage {
            let style = self.style(Color::Red).add_modifier(Modifier::BOLD);
            return put(buffer, area, 0, whole, &format!(" warning: {damage}"), style);
        }
        let text = match self.page {
            Page::List => " q end  / filter  s sort  Enter details  up/down move  ? keys",
            Page::Details => " q end  Enter back  up/down scroll",
            Page::Keys => " any key: back  q end",
        };
        put(buffer, area, 0, whole, text, Style::new().add_modifier(Modifier::DIM));
    }

    fn draw_list(&self, buffer: &mut Buffer, area: Rect) {
        let columns = Columns::of(area.width);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        for (place, name) in [
            (columns.holder, "HOLDER"),
            (columns.addresses, "ADDRESSES"),
            (columns.mode, "MODE"),
            (columns.operation, "OPERATION"),
            (columns.bar, "TIME"),
            (columns.left, "    LEFT"),
        ] {
            put(buffer, area, 0, place, name, bold);
        }
        if self.lines.is_empty() && self.is_loaded {
            let text =
                if self.filter.is_empty() { "nothing is reserved" } else { "nothing of that is reserved" };
            put(buffer, area, 1, (2, area.width.saturating_sub(2)), text, Style::new());
        }
        let position = self.position();
        let lines = self.lines.iter().enumerate().skip(self.first);
        for (row, (line, item)) in (1..area.height).zip(lines) {
            match *item {
                Line::Holder(holder) => {
                    let is_selected = position == Some(line);
                    if let Some(lease) = self.leases.get(holder) {
                        self.draw_holder(buffer, area, row, &columns, lease, is_selected);
                    }
                }
                Line::Waiter(waiter, is_placed) => {
                    if let Some(ticket) = self.tickets.get(waiter) {
                        self.draw_waiter(buffer, area, row, ticket, is_placed);
                    }
                }
            }
        }
    }

    fn draw_holder(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        row: u16,
        columns: &Columns,
        lease: &Lease,
        is_selected: bool,
    ) {
        let reservation = &lease.reservation;
        let left = TimeLeft::of(lease, self.now);
        let name = if is_selected { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
        if is_selected {
            put(buffer, area, row, (0, 1), ">", name);
        }
        put(buffer, area, row, columns.holder, reservation.run_id.as_str(), name);
        put(
            buffer,
            area,
            row,
            columns.addresses,
            &addresses(&reservation.addresses, ADDRESSES_SHOWN_MAX),
            name,
        );
        put(buffer, area, row, columns.mode, reservation.mode.as_str(), Style::new());
        put(
            buffer,
            area,
            row,
            columns.operation,
            reservation.operation.map_or("-", Operation::as_str),
            Style::new(),
        );
        let style = self.style(left.colour());
        put(buffer, area, row, columns.bar, &left.bar(columns.bar.1), style);
        put(buffer, area, row, columns.left, &format!("{:>8}", left.text()), style);
    }

    fn draw_waiter(&self, buffer: &mut Buffer, area: Rect, row: u16, ticket: &Ticket, is_placed: bool) {
        let at = if is_placed { 4 } else { 2 };
        let text = format!(
            "{}{} waits for {} since {} ({})",
            if is_placed { "└ " } else { "" },
            ticket.run_id,
            addresses(&ticket.addresses, ADDRESSES_SHOWN_MAX),
            duration(self.now.seconds_since(ticket.created_at)),
            ticket.mode.as_str(),
        );
        put(buffer, area, row, (at, area.width.saturating_sub(at)), &text, self.style(Color::Yellow));
    }

    fn draw_events(&self, buffer: &mut Buffer, area: Rect) {
        let rule = format!("── what happened last {}", "─".repeat(usize::from(area.width)));
        let rule: String = rule.chars().take(usize::from(area.width)).collect();
        put(buffer, area, 0, (0, area.width), &rule, Style::new().add_modifier(Modifier::DIM));
        let wanted = self.filter.to_lowercase();
        let lines = self.events.iter().map(|event| (event, event_line(event)));
        let lines = lines.filter(|(_, line)| line.to_lowercase().contains(&wanted));
        for (row, (event, line)) in (1..area.height).zip(lines) {
            let style = match event.what.as_str() {
                "granted" | "revived" => self.style(Color::Green),
                "lapsed" | "gave_up" => self.style(Color::Red),
                "waiting" => self.style(Color::Yellow),
                _ => Style::new(),
            };
            put(buffer, area, row, (1, area.width.saturating_sub(1)), &line, style);
        }
    }

    fn draw_details(&self, buffer: &mut Buffer, area: Rect) {
        let mut lines = match self.selected() {
            Some(lease) => self.details(lease),
            None => vec![("", "it is over; Enter goes back".to_owned())],
        };
        let first = self.scrolled.min(lines.len().saturating_sub(usize::from(area.height)));
        for (row, (name, value)) in (0..area.height).zip(lines.drain(..).skip(first)) {
            put(buffer, area, row, (0, LABEL_WIDTH - 1), name, Style::new().add_modifier(Modifier::BOLD));
            put(
                buffer,
                area,
                row,
                (LABEL_WIDTH, area.width.saturating_sub(LABEL_WIDTH)),
                &value,
                Style::new(),
            );
        }
    }

    fn details(&self, lease: &Lease) -> Vec<(&'static str, String)> {
        let reservation = &lease.reservation;
        let mut lines = vec![
            ("id", reservation.reservation_id.to_string()),
            ("state", lease.state(self.now).as_str().to_owned()),
            ("run", reservation.run_id.to_string()),
            ("branch", reservation.branch.clone().unwrap_or_else(|| "-".to_owned())),
            ("mode", reservation.mode.as_str().to_owned()),
            ("op", reservation.operation.map_or("-", Operation::as_str).to_owned()),
            ("token", reservation.token.to_string()),
        ];
        let granted = format!(
            "{:#}, {} ago, for {}",
            reservation.created_at,
            duration(self.now.seconds_since(reservation.created_at)),
            duration(reservation.ttl_seconds.get().into())
        );
        lines.push(("granted", granted));
        let left = TimeLeft::of(lease, self.now);
        lines.push(("expires", format!("{:#}  {} {}", lease.effective_expiry(), left.bar(20), left.text())));
        if let Some(heartbeat) = &lease.heartbeat {
            let ago = duration(self.now.seconds_since(heartbeat.last_beat_at));
            lines.push(("beat", format!("{:#}, {ago} ago, by {}", heartbeat.last_beat_at, heartbeat.run_id)));
        }
        if let Some(ticket) = reservation.ticket {
            lines.push(("ticket", ticket.to_string()));
        }
        lines.extend(reservation.addresses.iter().map(|address| ("address", address.to_string())));
        let waiters = self.tickets.iter().filter(|ticket| muse_coord::watch::waits_for(ticket, reservation));
        lines.extend(waiters.map(|ticket| {
            let since = duration(self.now.seconds_since(ticket.created_at));
            (
                "waiter",
                format!(
                    "{} for {} since {since}",
                    ticket.run_id,
                    addresses(&ticket.addresses, ADDRESSES_SHOWN_MAX)
                ),
            )
        }));
        lines
    }
}

fn draw_keys(buffer: &mut Buffer, area: Rect) {
    for (row, (keys, what)) in (0..area.height).zip(KEYS) {
        put(buffer, area, row, (1, 18), keys, Style::new().add_modifier(Modifier::BOLD));
        put(buffer, area, row, (20, area.width.saturating_sub(20)), what, Style::new());
    }
}

/// An event in one line: when, who, what, where.
fn event_line(event: &Event) -> String {
    let time = format!("{:#}", event.time);
    // The time of day; the date is that of the day for all that a screen has room for.
    let clock = time.get(11..19).unwrap_or(&time);
    let mut line = format!(
        "{clock} {:<9} {}  {}",
        event.what.as_str(),
        event.run_id,
        addresses(&event.addresses, ADDRESSES_SHOWN_MAX)
    );
    let details = details(&event.what);
    if !details.is_empty() {
        line.push_str("  ");
        line.push_str(&details);
    }
    line
}

/// What is left of a reservation's time.
struct TimeLeft {
    /// From 0 to 1.
    share: f64,
    seconds: u64,
    lapsed_seconds: Option<u64>,
}

impl TimeLeft {
    fn of(lease: &Lease, now: Timestamp) -> TimeLeft {
        let expiry = lease.effective_expiry();
        let heartbeat = lease.heartbeat.as_ref().filter(|heartbeat| heartbeat.extended_expires_at == expiry);
        let since = heartbeat.map_or(lease.reservation.created_at, |heartbeat| heartbeat.last_beat_at);
        let microseconds = |from: Timestamp| {
            let length = expiry.as_microseconds().saturating_sub(from.as_microseconds()).max(0);
            std::time::Duration::from_micros(length.unsigned_abs()).as_secs_f64()
        };
        let whole = microseconds(since);
        let share = if whole > 0.0 { (microseconds(now) / whole).clamp(0.0, 1.0) } else { 0.0 };
        TimeLeft { share, seconds: expiry.seconds_left(now), lapsed_seconds: lease.lapsed_seconds(now) }
    }

    const fn colour(&self) -> Color {
        if self.share > LITTLE {
            Color::Green
        } else if self.share > VERY_LITTLE {
            Color::Yellow
        } else {
            Color::Red
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share from 0 to 1 of a width that fits"
    )]
    fn bar(&self, width: u16) -> String {
        // What is left at all is seen.
        let full = (self.share * f64::from(width)).ceil() as u16;
        let full = full.min(width);
        "█".repeat(full.into()) + &"░".repeat((width - full).into())
    }

    fn text(&self) -> String {
        match self.lapsed_seconds {
            Some(_) => "lapsed".to_owned(),
            None => duration(self.seconds),
        }
    }
}

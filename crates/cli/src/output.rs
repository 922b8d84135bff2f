//! A report as one JSON line with its envelope, or as text.
//!
//! Text is made of lines; each is stripped of control characters as a whole, whatever it was put together
//! from, and coloured afterwards. So no run id, address or reason can reach the terminal's controls.

use std::io::{self, Write};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use clap::error::ErrorKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::exit;

/// The version of the JSON objects. Keys are only ever added within one.
pub(crate) const SCHEMA: u32 = 1;

/// What a command returns: one value, rendered as JSON or as text.
pub(crate) trait Report: Serialize {
    /// The exit code of the process.
    fn exit_code(&self) -> u8;

    /// Writes the report for people.
    fn text(&self, screen: &mut Screen);

    /// What the answer was about, when it cannot be printed any more: `None` when nothing was changed.
    fn carried_out(&self) -> Option<&'static str> {
        None
    }
}

/// A report and what the caller should know besides.
#[derive(Debug)]
pub(crate) struct Answer<R> {
    pub(crate) report: R,
    pub(crate) warnings: Vec<String>,
}

impl<R> Answer<R> {
    pub(crate) const fn new(report: R) -> Answer<R> {
        Answer { report, warnings: Vec::new() }
    }
}

/// Where a line of text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// Where a line goes, the label before it, and the line.
type Line = (Stream, Option<(Style, &'static str)>, String);

/// Lines of text, not printed yet.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    lines: Vec<Line>,
}

impl Screen {
    /// A line of the result.
    pub(crate) fn result(&mut self, line: &str) {
        self.lines.push((Stream::Out, None, one_line(line)));
    }

    /// Several lines of the result, of our own making: nothing in them came from outside.
    pub(crate) fn page(&mut self, text: &str) {
        for line in text.lines() {
            self.result(line);
        }
    }

    /// Lines of a file, with their tabs.
    pub(crate) fn source(&mut self, text: &str) {
        for line in text.lines() {
            let parts: Vec<String> = line.split('\t').map(one_line).collect();
            self.lines.push((Stream::Out, None, parts.join("\t")));
        }
    }

    /// A script of our own making, as it is: it may need its tabs.
    pub(crate) fn script(&mut self, text: &str) {
        self.lines.extend(text.lines().map(|line| (Stream::Out, None, line.to_owned())));
    }

    /// A line of status, beside the result.
    pub(crate) fn status(&mut self, line: &str) {
        self.lines.push((Stream::Err, None, one_line(line)));
    }

    /// What went wrong.
    pub(crate) fn error(&mut self, line: &str) {
        self.labelled(AnsiColor::Red, "error:", line);
    }

    /// What to do next.
    pub(crate) fn hint(&mut self, line: &str) {
        self.labelled(AnsiColor::Cyan, "hint:", line);
    }

    /// What the caller should know.
    pub(crate) fn warning(&mut self, line: &str) {
        self.labelled(AnsiColor::Yellow, "warning:", line);
    }

    fn labelled(&mut self, color: AnsiColor, label: &'static str, line: &str) {
        self.lines.push((Stream::Err, Some((color.on_default().bold(), label)), one_line(line)));
    }

    fn print(&self, stream: Stream, to: &mut dyn Write) -> io::Result<()> {
        for (_, label, line) in self.lines.iter().filter(|(its, ..)| *its == stream) {
            if let Some((style, label)) = label {
                write!(to, "{style}{label}{style:#} ")?;
            }
            writeln!(to, "{line}")?;
        }
        to.flush()
    }
}

/// Takes out what a terminal would obey instead of show: control characters, newline and tab among them, and
/// the marks that change the direction of text.
pub(crate) fn one_line(text: &str) -> String {
    let is_obeyed = |character: char| {
        character.is_control()
            || matches!(character,
                '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(|&character| !is_obeyed(character)).collect()
}

/// The six fields that every JSON object begins with, and the report behind them.
#[derive(Serialize)]
struct Document<'a, R: Serialize> {
    muse_version: &'static str,
    schema: u32,
    exit_code: u8,
    duration_ms: f64,
    timestamp: String,
    warnings: &'a [String],
    #[serde(flatten)]
    report: &'a R,
}

impl<'a, R: Report> Document<'a, R> {
    fn of(report: &'a R, warnings: &'a [String], context: &Context) -> Document<'a, R> {
        Document {
            muse_version: env!("CARGO_PKG_VERSION"),
            schema: SCHEMA,
            exit_code: report.exit_code(),
            duration_ms: context.duration_ms(),
            timestamp: context.now().to_string(),
            warnings,
            report,
        }
    }
}

/// What a command returned as the object that `--json` prints, and its exit code, for those who are told it otherwise.
pub(crate) fn value<R: Report>(
    outcome: Result<Answer<R>, CommandError>,
    context: &Context,
) -> serde_json::Result<(Value, u8)> {
    match outcome {
        Ok(Answer { report, warnings }) => {
            let document = Document::of(&report, &warnings, context);
            Ok((serde_json::to_value(&document)?, document.exit_code))
        }
        Err(error) => {
            let failure = Failure::of(error);
            let document = Document::of(&failure, &[], context);
            Ok((serde_json::to_value(&document)?, document.exit_code))
        }
    }
}

/// Prints what a command returned, and returns the exit code of the process.
pub(crate) fn print<R: Report>(outcome: Result<Answer<R>, CommandError>, context: &Context) -> u8 {
    match outcome {
        Ok(answer) => print_report(&answer.report, &answer.warnings, context),
        Err(error) => print_error(error, context),
    }
}

/// Prints a failure, and returns the exit code of the process.
pub(crate) fn print_error(error: CommandError, context: &Context) -> u8 {
    print_report(&Failure::of(error), &[], context)
}

/// Prints to stderr alone, whatever stdout is for.
pub(crate) fn print_beside(screen: &Screen, context: &Context) -> io::Result<()> {
    print_to_stderr(screen, context)
}

/// Prints an answer that somebody has to read: if it cannot be printed, `take_back` undoes what it tells of and says
/// how that went.
pub(crate) fn print_or_take_back<R: Report>(
    answer: &Answer<R>,
    context: &Context,
    take_back: impl FnOnce() -> String,
) -> u8 {
    match try_to_print(&answer.report, &answer.warnings, context) {
        Ok(()) => answer.report.exit_code(),
        Err(error) => complain(&error, &take_back(), context),
    }
}

/// Prints one line of a stream: the JSON object, or the text. It is out when this returns.
pub(crate) fn print_event(
    event: &impl Serialize,
    text: impl FnOnce() -> String,
    context: &Context,
) -> io::Result<()> {
    if context.json {
        return print_json(event);
    }
    let mut screen = Screen::default();
    screen.result(&text());
    print_text(&screen, context)
}

/// Whether whoever read standard output has closed it, which writing would show only with the next line.
pub(crate) fn is_reader_gone() -> bool {
    let stdout = io::stdout();
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut watched, Some(&at_once)), Ok(1..))
        && watched[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
}

/// Prints a warning while the command goes on.
pub(crate) fn print_warning(line: &str, context: &Context) -> io::Result<()> {
    let mut screen = Screen::default();
    screen.warning(line);
    print_to_stderr(&screen, context)
}

/// Prints a line of status while the command goes on.
pub(crate) fn print_status(line: &str, context: &Context) -> io::Result<()> {
    let mut screen = Screen::default();
    screen.status(line);
    print_to_stderr(&screen, context)
}

fn print_report<R: Report>(report: &R, warnings: &[String], context: &Context) -> u8 {
    match try_to_print(report, warnings, context) {
        Ok(()) => report.exit_code(),
        // Whoever closed the pipe knows; the outcome stands.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => report.exit_code(),
        Err(error) => complain(&error, report.carried_out().unwrap_or("nothing was changed"), context),
    }
}

/// Says that the answer cannot be printed, and what was done.
fn complain(error: &io::Error, done: &str, context: &Context) -> u8 {
    let mut screen = Screen::default();
    screen.error(&format!("the answer cannot be printed ({error}); {done}"));
    // There is nobody left to tell if this fails too; the exit code does.
    print_to_stderr(&screen, context).unwrap_or_default();
    exit::INTERNAL
}

fn try_to_print<R: Report>(report: &R, warnings: &[String], context: &Context) -> io::Result<()> {
    if context.json {
        print_json(&Document::of(report, warnings, context))
    } else {
        let mut screen = Screen::default();
        for warning in warnings {
            screen.warning(warning);
        }
        report.text(&mut screen);
        print_text(&screen, context)
    }
}

fn print_json(document: &impl Serialize) -> io::Result<()> {
    // One write for the whole line: readers never see half an object unless the pipe is full.
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

fn print_text(screen: &Screen, context: &Context) -> io::Result<()> {
    // What is coloured are labels, and no line of a result has one: the terminal need not be asked.
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    screen.print(Stream::Out, &mut stdout)?;
    print_to_stderr(screen, context)
}

/// The stream, without colours unless it is a terminal that takes them.
pub(crate) fn coloured<S: RawStream>(stream: S, context: &Context) -> AutoStream<S> {
    let choice =
        if context.colour && stream.is_terminal() { ColorChoice::Always } else { ColorChoice::Never };
    AutoStream::new(stream, choice)
}

fn print_to_stderr(screen: &Screen, context: &Context) -> io::Result<()> {
    if !screen.lines.iter().any(|(stream, ..)| *stream == Stream::Err) {
        return Ok(());
    }
    screen.print(Stream::Err, &mut coloured(io::stderr().lock(), context))
}

/// A failure as a report.
#[derive(Debug, Serialize)]
struct Failure {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation_id: Option<muse_coord::ReservationId>,
    error: String,
    #[serde(skip)]
    exit_code: u8,
}

impl Failure {
    fn of(error: CommandError) -> Failure {
        let (status, exit_code) = error.kind.word_and_code();
        Failure { status, reservation_id: error.reservation, error: error.message, exit_code }
    }
}

impl Report for Failure {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }

    fn text(&self, screen: &mut Screen) {
        screen.error(&self.error);
    }
}

/// A text that was asked for, such as help.
#[derive(Debug, Serialize)]
struct Page {
    status: &'static str,
    text: String,
}

impl Report for Page {
    fn exit_code(&self) -> u8 {
        exit::OK
    }

    fn text(&self, screen: &mut Screen) {
        screen.page(&self.text);
    }
}

/// Prints what the argument parser says instead of a command: help, the version, or a usage error.
pub(crate) fn print_parser_message(message: &clap::Error, context: &Context) -> u8 {
    let is_asked_for = matches!(message.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if context.json {
        let text = message.render().to_string();
        return if is_asked_for {
            print_report(&Page { status: "ok", text }, &[], context)
        } else {
            print_report(&Failure::of(CommandError::new(Kind::Usage, usage_sentence(&text))), &[], context)
        };
    }
    // Only a usage error repeats what was typed, which must not reach the terminal's controls.
    let printed = match message.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => print_help(message, context),
        _ => print_text(&usage_screen(&message.render().to_string()), context),
    };
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => exit::INTERNAL,
        _ if is_asked_for => exit::OK,
        _ => exit::USAGE,
    }
}

fn print_help(message: &clap::Error, context: &Context) -> io::Result<()> {
    let help = message.render();
    if message.use_stderr() {
        write!(coloured(io::stderr().lock(), context), "{}", help.ansi())
    } else {
        let mut stdout = coloured(io::stdout().lock(), context);
        write!(stdout, "{}", help.ansi()).and_then(|()| stdout.flush())
    }
}

/// A usage error for people.
fn usage_screen(rendered: &str) -> Screen {
    let mut screen = Screen::default();
    for (position, line) in rendered.lines().enumerate() {
        match line.strip_prefix("error: ") {
            Some(line) if position == 0 => screen.error(line),
            _ => screen.status(line),
        }
    }
    screen
}

/// The parser's message as one sentence: without its label, its usage line, its advice, and its line breaks.
pub(crate) fn usage_sentence(rendered: &str) -> String {
    let end =
        ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|advice| rendered.find(advice)).min();
    let said = end.map_or(rendered, |end| &rendered[..end]);
    let words: Vec<&str> = said.trim_start_matches("error:").split_whitespace().collect();
    format!("{}: see --help", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_taken_out() {
        assert_eq!(one_line("a\u{1b}[31mb\nc\td\u{7f}\u{9b}e\u{202e}f"), "a[31mbcdef");
        assert_eq!(one_line("héllo 💓"), "héllo 💓");
    }

    #[test]
    fn a_usage_error_is_one_sentence() {
        let rendered =
            "error: unexpected argument '--x' found\n\n  tip: try '-- --x'\n\nUsage: muse [OPTIONS]\n";
        assert_eq!(usage_sentence(rendered), "unexpected argument '--x' found tip: try '-- --x': see --help");
        let rendered = "error: invalid value 'x' for '--y'\n\nFor more information, try '--help'.\n";
        assert_eq!(usage_sentence(rendered), "invalid value 'x' for '--y': see --help");
    }
}

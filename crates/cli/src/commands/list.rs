//! `muse coord list`.

use comfy_table::{Cell, CellAlignment, Table};
use muse_coord::{Address, Filter, Listing, Mode, Operation, Queue, RunId, Ticket, TicketNumber, Timestamp};
use serde::Serialize;

use crate::args::ListArgs;
use crate::context::{Context, Purpose};
use crate::error::CommandError;
use crate::exit;
use crate::output::{Answer, Report, Screen, one_line};
use crate::report::{Row, address_cell, duration};

#[derive(Debug, Serialize)]
pub(crate) struct ListReport {
    status: &'static str,
    count: usize,
    reservations: Vec<Row>,
    waiting: Vec<WaitingRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
}

/// Somebody who waits.
#[derive(Debug, Serialize)]
struct WaitingRow {
    ticket: TicketNumber,
    run_id: RunId,
    branch: Option<String>,
    addresses: Vec<Address>,
    mode: Mode,
    operation: Option<Operation>,
    since: Timestamp,
    expires_at: Timestamp,
    #[serde(skip)]
    age_seconds: u64,
}

impl WaitingRow {
    fn of(ticket: Ticket, now: Timestamp) -> WaitingRow {
        WaitingRow {
            ticket: ticket.ticket,
            run_id: ticket.run_id,
            branch: ticket.branch,
            addresses: ticket.addresses,
            mode: ticket.mode,
            operation: ticket.operation,
            since: ticket.created_at,
            expires_at: ticket.expires_at,
            age_seconds: now.seconds_since(ticket.created_at),
        }
    }
}

impl Report for ListReport {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }

    fn text(&self, screen: &mut Screen) {
        if let Some(error) = &self.error {
            screen.error(error);
        }
        if self.reservations.is_empty() {
            screen.status("no reservations to show");
        } else {
            for line in table(&self.reservations).lines() {
                screen.result(line.trim_end());
            }
        }
        if !self.waiting.is_empty() {
            for line in waiting_table(&self.waiting).lines() {
                screen.result(line.trim_end());
            }
        }
    }
}

/// The table of those who wait, whose turn comes from the top down.
fn waiting_table(rows: &[WaitingRow]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["WAITER", "ADDRESSES", "MODE", "OPERATION", "AGE", "TICKET"]);
    for row in rows {
        table.add_row([
            Cell::new(one_line(row.run_id.as_str())),
            Cell::new(address_cell(&row.addresses)),
            Cell::new(row.mode.as_str()),
            Cell::new(row.operation.map_or("-", Operation::as_str)),
            Cell::new(duration(row.age_seconds)).set_alignment(CellAlignment::Right),
            Cell::new(row.ticket),
        ]);
    }
    table
}

/// The table. Its last column is the id, whole: the other commands take no shorter one.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["HOLDER", "ADDRESSES", "MODE", "OPERATION", "STATE", "AGE", "LEFT", "RESERVATION"]);
    for row in rows {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(one_line(row.run_id.as_str())),
            Cell::new(address_cell(&row.addresses)),
            Cell::new(row.mode.as_str()),
            Cell::new(row.operation.map_or("-", Operation::as_str)),
            Cell::new(row.state),
            right(duration(row.age_seconds)),
            right(duration(row.expires_in_seconds)),
            Cell::new(row.reservation_id),
        ]);
    }
    table
}

pub(crate) fn run(args: &ListArgs, context: &Context) -> Result<Answer<ListReport>, CommandError> {
    let run = args.run_id.as_ref().map(|run| context.run_id(Some(run))).transpose()?;
    let branch = args.branch.as_ref().map(|branch| branch.to_string_lossy().into_owned());
    let repository = context.repository()?;
    let mut warnings = Vec::new();
    let address = match &args.address {
        Some(typed) => context.addresses(std::slice::from_ref(typed), &repository, &mut warnings)?.pop(),
        None => None,
    };
    let filter = Filter { run, address, branch, all: args.all };
    // Read before the coordinator reads it: what it finds active is not shown as lapsed.
    let now = context.now();
    let coordinator = context.coordinator(&repository, Purpose::Ask)?;
    let Listing { leases, mut damaged, .. } = coordinator.list(&filter)?;
    let Queue { tickets, damaged: unread } = coordinator.queue(&filter)?;
    damaged.extend(unread);
    let waiting: Vec<WaitingRow> = tickets.into_iter().map(|ticket| WaitingRow::of(ticket, now)).collect();
    let reservations: Vec<Row> = leases.iter().map(|lease| Row::of(lease, now)).collect();

    // What cannot be read could be in the way, so the answer is a failure. What can be read is still shown.
    let mut damaged = damaged.into_iter().map(CommandError::from);
    let (status, exit_code, error) = match damaged.next() {
        Some(CommandError { kind, message, .. }) => {
            let (status, exit_code) = kind.word_and_code();
            (status, exit_code, Some(message))
        }
        None => ("ok", exit::OK, None),
    };
    warnings.extend(damaged.map(|error| error.message));
    let report = ListReport { status, count: reservations.len(), reservations, waiting, error, exit_code };
    Ok(Answer { report, warnings })
}

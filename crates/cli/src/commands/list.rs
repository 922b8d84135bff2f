//! `muse coord list`.

use comfy_table::{Cell, CellAlignment, Table};
use muse_coord::{Filter, Listing, Operation};
use serde::Serialize;

use crate::args::ListArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit;
use crate::output::{Answer, Report, Screen, one_line};
use crate::report::{Row, duration};

#[derive(Debug, Serialize)]
pub(crate) struct ListReport {
    status: &'static str,
    count: usize,
    reservations: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    exit_code: u8,
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
            return;
        }
        for line in table(&self.reservations).lines() {
            screen.result(line.trim_end());
        }
    }
}

/// The table. Its last column is the id, whole: the other commands take no shorter one.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["HOLDER", "ADDRESSES", "MODE", "OPERATION", "STATE", "AGE", "LEFT", "RESERVATION"]);
    for row in rows {
        let addresses: Vec<String> = row.addresses.iter().map(|address| one_line(address.as_str())).collect();
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(one_line(row.run_id.as_str())),
            Cell::new(addresses.join("\n")),
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
    let Listing { leases, damaged, .. } = context.coordinator(&repository).list(&filter)?;
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
    let report = ListReport { status, count: reservations.len(), reservations, error, exit_code };
    Ok(Answer { report, warnings })
}

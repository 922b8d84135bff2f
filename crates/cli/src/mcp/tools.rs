//! The tools: a client's arguments in, the command that has the same name, its report out.
//!
//! What they say of themselves is in `tools.json`, by hand: every session of a model pays for it.

use std::ffi::OsString;

use muse_coord::{Operation, ReservationId, RunId, TtlSeconds};
use rmcp::model::{JsonObject, Tool};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::{Beside, ELEMENTS_DEFAULT, ELEMENTS_MAX, Reply};
use super::connection::Call;
use crate::args::{
    CheckArgs, HeartbeatArgs, Identity, ListArgs, ReleaseArgs, ReserveArgs, Seconds, Subject, Terms,
};
use crate::commands::heartbeat::{run_all, run_one};
use crate::commands::reserve::Served;
use crate::commands::{check, list, release, reservation_id, reserve, ttl};
use crate::context::{Context, Purpose};
use crate::error::{CommandError, Kind};
use crate::output::{Answer, Report, value};
use crate::supervise::Keeping;

/// The TTL of what is reserved here: short, because the server sends the heartbeats for as long as it lives.
const TTL_DEFAULT: i64 = 120;

/// The longest wait. The clients that are known give up sooner.
const WAIT_SECONDS_MAX: i64 = 600;

/// Every tool, as it is told to clients.
///
/// # Errors
///
/// Never: a test reads the file too.
pub(super) fn definitions() -> serde_json::Result<Vec<Tool>> {
    serde_json::from_str(include_str!("tools.json"))
}

/// What a tool does: `None` if nobody waits for an answer any more.
pub(super) type Run = fn(&mut Arguments, &Call, &Context) -> Result<Option<Reply>, CommandError>;

/// The tool of that name.
pub(super) fn named(name: &str) -> Option<Run> {
    match name {
        "reserve" => Some(reserve),
        "heartbeat" => Some(heartbeat),
        "release" => Some(release),
        "list" => Some(list),
        "check" => Some(check),
        _ => None,
    }
}

/// Runs a tool. `Ok(None)` if nobody waits for an answer any more.
///
/// # Errors
///
/// When the report cannot be put into JSON.
pub(super) fn answer(
    run: Run,
    arguments: JsonObject,
    call: &Call,
    context: &Context,
) -> serde_json::Result<Option<(Reply, Beside)>> {
    let mut arguments = Arguments { given: arguments, known: Vec::new(), run: None };
    let reply = match run(&mut arguments, call, context) {
        Ok(Some(reply)) => reply,
        Ok(None) => return Ok(None),
        Err(error) => {
            // There is one argument alone that it can be about.
            let field = if arguments.known.contains(&"address") { "address" } else { "addresses" };
            let error = match error.kind {
                Kind::BadAddress => naming(error, field),
                _ => error,
            };
            reply::<list::ListReport>(Err(error), context)?
        }
    };
    let run = context.run_id(arguments.run.as_ref()).ok();
    // What was lost is told once, and so to somebody who listens.
    let (lost, warnings) = if call.is_wanted() { call.connection().news() } else { <_>::default() };
    Ok(Some((reply, Beside { run: run.as_ref().map(RunId::to_string), lost, warnings })))
}

fn reply<R: Report>(
    outcome: Result<Answer<R>, CommandError>,
    context: &Context,
) -> serde_json::Result<Reply> {
    let (report, exit_code) = value(outcome, context)?;
    Ok(Reply { report, exit_code, elements: ELEMENTS_DEFAULT })
}

/// The reply with this report.
fn told<R: Report>(report: Answer<R>, context: &Context) -> Result<Option<Reply>, CommandError> {
    let reply = reply(Ok(report), context);
    reply.map(Some).map_err(|error| CommandError::new(Kind::Internal, format!("no JSON: {error}")))
}

fn reserve(arguments: &mut Arguments, call: &Call, context: &Context) -> Result<Option<Reply>, CommandError> {
    let ttl = arguments.ttl()?;
    let args = ReserveArgs {
        addresses: arguments.addresses()?,
        identity: arguments.identity()?,
        ttl: seconds(ttl),
        terms: Terms {
            wait: arguments.wait()?,
            op: arguments.operation()?,
            shared: arguments.flag("shared")?,
        },
        advisory: arguments.flag("advisory")?,
        take_over: None,
        reason: None,
    };
    arguments.end("reserve")?;
    if args.terms.shared && args.advisory {
        return Err(bad("`shared` and `advisory` exclude each other: give one of them"));
    }
    let Served { answer, coordinator, run } = reserve::serve(&args, call.interrupt(), context)?;
    let Some(answer) = answer else { return Ok(None) };
    if let Some((reservation, is_renewed)) = answer.report.granted()
        && !call.keep(Keeping { coordinator, reservation, run, ttl }, !is_renewed)
    {
        return Ok(None);
    }
    told(answer, context)
}

fn heartbeat(
    arguments: &mut Arguments,
    call: &Call,
    context: &Context,
) -> Result<Option<Reply>, CommandError> {
    let (all, id) = (arguments.flag("all")?, arguments.text("reservation_id")?);
    let given = arguments.has("ttl_s").then(|| arguments.ttl()).transpose()?;
    let identity = arguments.identity()?;
    arguments.end("heartbeat")?;
    if all == id.is_some() {
        return Err(bad("give either `reservation_id` or `all`: true"));
    }
    let id = id.map(|id| reservation_id(&id).map_err(|error| naming(error, "reservation_id"))).transpose()?;
    let kept = id.and_then(|id| call.connection().ttl_of(id));
    let ttl = match given.or(kept) {
        Some(ttl) => ttl,
        None => default_ttl()?,
    };
    let run = context.run_id(identity.run_id.as_ref())?;
    let args = HeartbeatArgs { reservation_id: None, all, identity, extension: seconds(ttl) };
    let (reply, held) = if let Some(id) = id {
        let answer = run_one(&id.to_string().into(), &args, context)?;
        let held: Vec<(ReservationId, bool)> = answer.report.held().into_iter().collect();
        (told(answer, context)?, held)
    } else {
        let answer = run_all(&args, context)?;
        let held = answer.report.held().collect();
        (told(answer, context)?, held)
    };
    for (reservation, is_held) in held {
        if is_held {
            let ttl = given.or_else(|| call.connection().ttl_of(reservation)).unwrap_or(ttl);
            let coordinator = context.coordinator(&context.repository()?, Purpose::Tend)?;
            call.connection().adopt(Keeping { coordinator, reservation, run: run.clone(), ttl });
        } else {
            call.connection().forget([reservation]);
        }
    }
    Ok(reply)
}

fn release(arguments: &mut Arguments, call: &Call, context: &Context) -> Result<Option<Reply>, CommandError> {
    let all = arguments.flag("all")?;
    let ids: Vec<String> = arguments.take("reservation_ids")?.unwrap_or_default();
    let args = ReleaseArgs {
        reservation_ids: ids.into_iter().map(OsString::from).collect(),
        all,
        reason: arguments.text("reason")?,
        identity: arguments.identity()?,
        force: false,
    };
    arguments.end("release")?;
    if all != args.reservation_ids.is_empty() {
        return Err(bad("give either `reservation_ids` or `all`: true"));
    }
    for id in &args.reservation_ids {
        reservation_id(id).map_err(|error| naming(error, "reservation_ids"))?;
    }
    let answer = release::run(&args, context)?;
    call.connection().forget(answer.report.over());
    told(answer, context)
}

fn list(arguments: &mut Arguments, _: &Call, context: &Context) -> Result<Option<Reply>, CommandError> {
    let args = ListArgs {
        address: arguments.text("address")?,
        run_id: arguments.text("run_id")?,
        branch: None,
        all: arguments.flag("all")?,
    };
    let limit: Option<usize> = arguments.take("limit")?;
    arguments.end("list")?;
    let elements = limit.unwrap_or(ELEMENTS_DEFAULT);
    if !(1..=ELEMENTS_MAX).contains(&elements) {
        return Err(bad(format!("`limit` must be from 1 to {ELEMENTS_MAX}")));
    }
    let reply = told(list::run(&args, context)?, context)?;
    Ok(reply.map(|reply| Reply { elements, ..reply }))
}

fn check(arguments: &mut Arguments, _: &Call, context: &Context) -> Result<Option<Reply>, CommandError> {
    let args = CheckArgs {
        subject: Subject::of_addresses(arguments.addresses()?),
        identity: arguments.identity()?,
        shared: arguments.flag("shared")?,
        require: arguments.flag("require")?,
    };
    arguments.end("check")?;
    told(check::run(&args, context)?, context)
}

/// What a client gave, taken out by name. What is null counts as not given.
pub(super) struct Arguments {
    given: JsonObject,
    known: Vec<&'static str>,
    /// The run that was named.
    run: Option<OsString>,
}

impl Arguments {
    fn has(&self, name: &str) -> bool {
        self.given.get(name).is_some_and(|value| !value.is_null())
    }

    fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Option<T>, CommandError> {
        self.known.push(name);
        match self.given.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(given) => serde_json::from_value(given)
                .map(Some)
                .map_err(|error| bad(format!("`{name}` is not what it has to be: {error}"))),
        }
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, CommandError> {
        Ok(self.take(name)?.unwrap_or(false))
    }

    fn text(&mut self, name: &'static str) -> Result<Option<OsString>, CommandError> {
        Ok(self.take::<String>(name)?.map(OsString::from))
    }

    fn addresses(&mut self) -> Result<Vec<OsString>, CommandError> {
        let addresses: Vec<String> = self.take("addresses")?.unwrap_or_default();
        if addresses.is_empty() {
            return Err(bad("`addresses` is empty: name at least one"));
        }
        Ok(addresses.into_iter().map(OsString::from).collect())
    }

    fn identity(&mut self) -> Result<Identity, CommandError> {
        self.run = self.text("run_id")?;
        Ok(Identity { run_id: self.run.clone() })
    }

    fn ttl(&mut self) -> Result<TtlSeconds, CommandError> {
        match self.take("ttl_s")? {
            Some(given) => ttl(Seconds(given), "`ttl_s`"),
            None => default_ttl(),
        }
    }

    fn wait(&mut self) -> Result<Option<Seconds>, CommandError> {
        let wait: Option<i64> = self.take("wait_s")?;
        if wait.is_some_and(|wait| !(0..=WAIT_SECONDS_MAX).contains(&wait)) {
            return Err(bad(format!(
                "`wait_s` must be from 0 to {WAIT_SECONDS_MAX} seconds; nothing was changed"
            )));
        }
        Ok(wait.map(Seconds))
    }

    fn operation(&mut self) -> Result<Option<String>, CommandError> {
        let given: Option<String> = self.take("op")?;
        let names = Operation::ALL.map(Operation::as_str);
        match given {
            Some(given) if !names.contains(&&*given) => {
                Err(bad(format!("`op` must be one of {}", names.join(", "))))
            }
            given => Ok(given),
        }
    }

    /// Refuses what `tool` does not take: a misspelt name must not count as not given.
    fn end(&self, tool: &str) -> Result<(), CommandError> {
        match self.given.keys().next() {
            Some(unknown) => Err(bad(format!("{tool} takes no `{unknown}`, but {}", self.known.join(", ")))),
            None => Ok(()),
        }
    }
}

fn bad(message: impl Into<String>) -> CommandError {
    CommandError::new(Kind::BadArgs, message)
}

/// The failure, with the argument that it is about.
fn naming(mut error: CommandError, field: &str) -> CommandError {
    error.message.insert_str(0, &format!("`{field}`: "));
    error
}

fn default_ttl() -> Result<TtlSeconds, CommandError> {
    ttl(Seconds(TTL_DEFAULT), "`ttl_s`")
}

fn seconds(ttl: TtlSeconds) -> Seconds {
    Seconds(ttl.get().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What all definitions together may cost.
    const TOKENS_MAX: usize = 1500;
    const BYTES_PER_TOKEN: usize = 4;

    #[test]
    fn the_definitions_are_short() {
        let tools = definitions().unwrap();
        let bytes = serde_json::to_string(&tools).unwrap().len();
        let tokens = bytes.div_ceil(BYTES_PER_TOKEN);
        println!("{} tools, {bytes} bytes, {tokens} tokens of at most {TOKENS_MAX}", tools.len());
        assert!(tokens <= TOKENS_MAX, "{tokens} tokens");
    }

    #[test]
    fn every_definition_is_a_tool_that_takes_what_it_says() {
        for tool in definitions().unwrap() {
            assert!(named(&tool.name).is_some(), "{}", tool.name);
        }
        let tools = serde_json::to_value(definitions().unwrap()).unwrap();
        let operations = &tools[0]["inputSchema"]["properties"]["op"]["enum"];
        assert_eq!(operations, &json!(Operation::ALL.map(Operation::as_str)));
        let limit = |tool: usize, field: &str, end: &str| {
            tools[tool]["inputSchema"]["properties"][field][end].as_i64().unwrap()
        };
        assert_eq!(limit(0, "wait_s", "maximum"), WAIT_SECONDS_MAX);
        assert_eq!(limit(3, "limit", "maximum"), i64::try_from(ELEMENTS_MAX).unwrap());
    }
}

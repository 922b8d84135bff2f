//! `fsck` on etcd: every key of the store, read at one revision, and what fits together with what.
//!
//! A repair is one transaction on the condition that the key is still as it was read. What cannot be read goes to
//! `quarantine/`, under the name that it had.

use std::collections::BTreeMap;

use super::client::Call;
use super::keys::{Folder, Keys};
use super::wire::{Compare, Int, KeyValue, Range, Step, Transaction, end_of};
use super::{EtcdEngine, reading};
use crate::archive::Archived;
use crate::clock::Clock;
use crate::engine::EngineError;
use crate::engine::file::check::{Checked, Counts, Finding, FindingKind, Repair};
use crate::engine::moving::excludes;
use crate::id::{ReservationId, Token};
use crate::progress::Progress;
use crate::queue::Ticket;
use crate::record::{Companion as _, Heartbeat, RecordError, Release, Reservation, Supersession};

/// Where what is taken out of the way goes.
const QUARANTINE: &str = "quarantine";

/// What is wrong with a key.
struct Wrong {
    key: String,
    kind: FindingKind,
    detail: String,
    remedy: Remedy,
}

/// What can be done about it.
enum Remedy {
    /// It is moved to the quarantine.
    Quarantine,
    /// A token above all others is written.
    Token(Token),
    /// Something that a person has to do.
    Advice(String),
    /// Nothing has to be done.
    Nothing,
}

/// All keys of the store.
#[derive(Default)]
struct Survey {
    reservations: BTreeMap<ReservationId, Reservation>,
    /// Under which key each stands, and what that holds.
    standing: BTreeMap<ReservationId, (String, Vec<u8>)>,
    /// Those of whose life a key is there.
    alive: Vec<(ReservationId, String)>,
    /// Heartbeats, releases and supersessions: whose, and the key.
    companions: Vec<(ReservationId, Folder, String)>,
    archive: BTreeMap<u64, ReservationId>,
    archived: BTreeMap<ReservationId, (u64, String)>,
    token: Option<Token>,
    greatest: Option<Token>,
    counts: Counts,
    wrong: Vec<Wrong>,
}

impl<C: Clock> EtcdEngine<C> {
    /// Checks every key of the store, and repairs what can be repaired if `repair` says so.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when etcd cannot be asked, or the store was moved.
    pub fn check(&self, repair: Repair, progress: &dyn Progress) -> Result<Checked, EngineError> {
        progress.begin(None, "reading");
        if let Some(to) = self.moved_to()? {
            return Err(EngineError::Moved { to });
        }
        let mut survey = Survey::default();
        let mut values: BTreeMap<String, KeyValue> = BTreeMap::new();
        let prefix = self.keys.all().to_owned();
        let mut range = Range { limit: Some(Int(reading::KEYS_AT_ONCE)), ..Range::all(&prefix) };
        loop {
            let page = self.range("read the store", &range)?;
            for kv in &page.kvs {
                let key = String::from_utf8_lossy(&kv.key.0).into_owned();
                let name = key.strip_prefix(&prefix).unwrap_or(&key).to_owned();
                survey.take(&name, kv);
                values.insert(name, kv.clone());
            }
            progress.advance(page.kvs.len() as u64);
            let Some(last) = page.kvs.last().filter(|_| page.more) else { break };
            let mut key = last.key.clone();
            key.0.push(0);
            let revision = Some(page.header.revision).filter(|_| range.revision.is_none()).or(range.revision);
            range = Range { key, range_end: Some(end_of(&prefix)), revision, ..range };
        }
        survey.compare(&self.keys);
        progress.end();
        let mut checked = Checked { counts: survey.counts, ..Checked::default() };
        for wrong in survey.wrong {
            let repaired = repair == Repair::Yes && self.repair(&wrong, values.get(&wrong.key))?;
            let action = match (&wrong.remedy, repaired) {
                (Remedy::Quarantine, false) => Some(format!("`--repair` moves it to {QUARANTINE}/")),
                (Remedy::Quarantine, true) => Some(format!("moved to {QUARANTINE}/{}", wrong.key)),
                (Remedy::Token(_), false) => Some("`--repair` writes a token above all on record".to_owned()),
                (Remedy::Token(token), true) => Some(format!("wrote {token}")),
                (Remedy::Advice(advice), _) => Some(advice.clone()),
                (Remedy::Nothing, _) => None,
            };
            let path = format!("etcd:{prefix}{}", wrong.key);
            let finding = Finding { path, kind: wrong.kind, detail: wrong.detail, repaired, action };
            if wrong.kind.is_notice() { &mut checked.notices } else { &mut checked.findings }.push(finding);
        }
        checked.findings.sort();
        checked.notices.sort();
        Ok(checked)
    }

    /// Whether it was put right: not where it has changed since, or only a person can.
    fn repair(&self, wrong: &Wrong, read: Option<&KeyValue>) -> Result<bool, EngineError> {
        let key = self.keys.at(&wrong.key);
        let unchanged = Compare::unchanged(key.as_str(), read.map_or(Int(0), |kv| kv.mod_revision));
        let success = match (&wrong.remedy, read) {
            (Remedy::Quarantine, Some(kv)) => vec![
                Step::put(self.keys.at(&format!("{QUARANTINE}/{}", wrong.key)).as_str(), kv.value.0.clone()),
                Step::delete(key.as_str()),
            ],
            (Remedy::Token(token), _) => vec![Step::put(key.as_str(), format!("{token}\n").into_bytes())],
            _ => return Ok(false),
        };
        let transaction = Transaction { compare: vec![unchanged], success, failure: Vec::new() };
        Ok(self.transact(Call::Change("repair"), &transaction)?.succeeded)
    }
}

impl Survey {
    fn tell(&mut self, key: &str, kind: FindingKind, detail: impl Into<String>, remedy: Remedy) {
        self.wrong.push(Wrong { key: key.to_owned(), kind, detail: detail.into(), remedy });
    }

    fn unreadable(&mut self, key: &str, source: &RecordError) {
        let kind = match source {
            RecordError::SchemaTooNew { .. } => FindingKind::TooNew,
            RecordError::OtherReservation { .. } | RecordError::OtherTicket { .. } => FindingKind::Misnamed,
            RecordError::Edited => FindingKind::Edited,
            RecordError::Addresses => FindingKind::BadAddresses,
            RecordError::Malformed(_) => FindingKind::Malformed,
        };
        let remedy = match kind {
            FindingKind::TooNew => Remedy::Advice("upgrade muse".to_owned()),
            _ => Remedy::Quarantine,
        };
        self.tell(key, kind, source.to_string(), remedy);
    }

    /// Looks at one key by itself.
    fn take(&mut self, name: &str, kv: &KeyValue) {
        let (folder, rest) = name.split_once('/').unwrap_or((name, ""));
        let value = kv.value.0.as_slice();
        match folder {
            "token" if rest.is_empty() => {
                let text = std::str::from_utf8(value).ok().map(str::trim);
                self.token = text.and_then(|text| text.parse().ok()).and_then(Token::new);
            }
            "queue" | "moved" if rest.is_empty() => {}
            "line" | QUARANTINE => {}
            "waiting" => self.take_ticket(name, rest, kv),
            "archive" => self.take_line(name, rest, value),
            "standing" => match rest.rsplit('/').next().and_then(|id| id.parse().ok()) {
                Some(id) if self.standing.contains_key(&id) => {
                    self.tell(name, FindingKind::Orphan, "it stands elsewhere too", Remedy::Quarantine);
                }
                Some(id) => drop(self.standing.insert(id, (name.to_owned(), value.to_vec()))),
                None => self.tell(
                    name,
                    FindingKind::Stray,
                    "its name is not that of a reservation: nobody is granted what is near it",
                    Remedy::Quarantine,
                ),
            },
            "alive" => match rest.split_once('/').and_then(|(id, life)| Some((id.parse().ok()?, life))) {
                Some((id, "grant" | "beat")) => {
                    self.alive.push((id, name.to_owned()));
                    if kv.lease == Int(0) {
                        self.tell(
                            name,
                            FindingKind::Edited,
                            "no lease is bound to it: it never lapses",
                            Remedy::Quarantine,
                        );
                    }
                }
                _ => self.stray(name),
            },
            _ => self.take_record(name, folder, rest, value),
        }
    }

    fn stray(&mut self, name: &str) {
        let detail = "it is no key of this version: of a later one, or it does not belong here";
        self.tell(name, FindingKind::UnknownFile, detail, Remedy::Nothing);
    }

    fn take_ticket(&mut self, name: &str, digits: &str, kv: &KeyValue) {
        self.counts.tickets += 1;
        match digits.trim_start_matches('0').parse() {
            Ok(number) => {
                if let Err(source) = Ticket::from_bytes(number, &kv.value.0) {
                    self.unreadable(name, &source);
                }
            }
            Err(_) => {
                self.tell(name, FindingKind::Stray, "its name is not that of a ticket", Remedy::Quarantine);
            }
        }
    }

    fn take_line(&mut self, name: &str, digits: &str, value: &[u8]) {
        self.counts.archived += 1;
        match (digits.parse(), Archived::from_line(value)) {
            (Ok(number), Ok(line)) => {
                self.archive.insert(number, line.reservation.reservation_id);
                self.greatest = self.greatest.max(Some(line.reservation.token));
            }
            (Err(_), _) => {
                self.tell(name, FindingKind::Stray, "its name is not that of a line", Remedy::Quarantine);
            }
            (_, Err(source)) => {
                self.tell(name, FindingKind::ArchiveLine, source.to_string(), Remedy::Quarantine);
            }
        }
    }

    fn take_record(&mut self, name: &str, folder: &str, id: &str, value: &[u8]) {
        let Ok(id) = id.parse::<ReservationId>() else { return self.stray(name) };
        let companion = |survey: &mut Survey, folder, read: Result<(), RecordError>| {
            survey.counts.companions += 1;
            match read {
                Ok(()) => survey.companions.push((id, folder, name.to_owned())),
                Err(source) => survey.unreadable(name, &source),
            }
        };
        match folder {
            "reservations" => {
                self.counts.records += 1;
                match Reservation::from_bytes(id, value) {
                    Ok(reservation) => {
                        self.greatest = self.greatest.max(Some(reservation.token));
                        self.reservations.insert(id, reservation);
                    }
                    Err(source) => self.unreadable(name, &source),
                }
            }
            "heartbeats" => companion(self, Folder::Heartbeats, Heartbeat::from_bytes(id, value).map(drop)),
            "releases" => companion(self, Folder::Releases, Release::from_bytes(id, value).map(drop)),
            "superseded" => {
                companion(self, Folder::Superseded, Supersession::from_bytes(id, value).map(drop));
            }
            "archived" => match std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()) {
                Some(number) => drop(self.archived.insert(id, (number, name.to_owned()))),
                None => self.tell(
                    name,
                    FindingKind::Malformed,
                    "it holds no number of a line",
                    Remedy::Quarantine,
                ),
            },
            _ => self.stray(name),
        }
    }

    /// Looks at what belongs together.
    fn compare(&mut self, keys: &Keys) {
        let mut wrong = Vec::new();
        let mut tell = |key: String, kind, detail: &str, remedy| {
            wrong.push(Wrong { key, kind, detail: detail.to_owned(), remedy });
        };
        let release = |id: &ReservationId| {
            Remedy::Advice(format!(
                "`muse coord release {id} --force --reason TEXT`, and whoever works there reserves again"
            ))
        };
        let ended: Vec<ReservationId> = self
            .companions
            .iter()
            .filter(|(_, folder, _)| matches!(folder, Folder::Releases | Folder::Superseded))
            .map(|(id, ..)| *id)
            .collect();
        for (id, _, key) in &self.companions {
            if !self.reservations.contains_key(id) {
                tell(key.clone(), FindingKind::Orphan, "there is no such reservation", Remedy::Quarantine);
            }
        }
        for (id, key) in &self.alive {
            if !self.standing.contains_key(id) {
                let detail = "it keeps alive what does not stand";
                tell(key.clone(), FindingKind::Orphan, detail, Remedy::Quarantine);
            }
        }
        for (id, (key, value)) in &self.standing {
            let key = key.clone();
            let Some(reservation) = self.reservations.get(id) else {
                tell(key, FindingKind::Orphan, "there is no such reservation", Remedy::Quarantine);
                continue;
            };
            if ended.contains(id) {
                let detail = "it has ended and still keeps others out";
                tell(key, FindingKind::Orphan, detail, Remedy::Quarantine);
            } else if crate::record::to_file_bytes(reservation).is_ok_and(|record| record != *value) {
                tell(key, FindingKind::Edited, "it differs from the reservation's record", release(id));
            } else if keys.at(&key) != keys.standing(reservation) {
                let detail = "its addresses are of another place: it keeps nobody out";
                tell(key, FindingKind::Misnamed, detail, release(id));
            }
        }
        for id in self.reservations.keys() {
            if !self.standing.contains_key(id) && !ended.contains(id) {
                let detail = "it has not ended, and keeps nobody out";
                tell(format!("reservations/{id}"), FindingKind::Orphan, detail, release(id));
            }
            if self.archived.contains_key(id) {
                let detail = "it is in the archive too";
                tell(format!("reservations/{id}"), FindingKind::HalfArchived, detail, Remedy::Nothing);
            }
        }
        for (id, (number, key)) in &self.archived {
            if self.archive.get(number) != Some(id) {
                let detail = "the line of the archive that it names is not this reservation's";
                tell(key.clone(), FindingKind::Orphan, detail, Remedy::Quarantine);
            }
        }
        let standing: Vec<&Reservation> =
            self.standing.keys().filter_map(|id| self.reservations.get(id)).collect();
        let is_alive = |id: ReservationId| self.alive.iter().any(|(its, _)| *its == id);
        let alive: Vec<&&Reservation> = standing.iter().filter(|its| is_alive(its.reservation_id)).collect();
        for (position, one) in alive.iter().enumerate() {
            for other in &alive[position + 1..] {
                if excludes(one, other) {
                    let newer = if one.token > other.token { one } else { other };
                    let older = if one.token > other.token { other } else { one };
                    let key = self.standing[&newer.reservation_id].0.clone();
                    let detail = format!("it stands beside {}, which it excludes", older.reservation_id);
                    tell(key, FindingKind::Conflict, &detail, release(&newer.reservation_id));
                }
            }
        }
        let mut tokens: Vec<Token> = self.reservations.values().map(|its| its.token).collect();
        tokens.sort_unstable();
        if tokens.windows(2).any(|pair| pair[0] == pair[1]) {
            let advice = Remedy::Advice("release one of the two".to_owned());
            tell("token".to_owned(), FindingKind::TokenTwice, "two reservations have one token", advice);
        }
        match (self.token, self.greatest) {
            (Some(last), Some(greatest)) if last < greatest => {
                let detail = format!("it holds {last}, and {greatest} was granted");
                tell("token".to_owned(), FindingKind::TokenBehind, &detail, Remedy::Token(greatest));
            }
            (None, Some(greatest)) => {
                let detail = "it is missing, or holds no token";
                tell("token".to_owned(), FindingKind::TokenMissing, detail, Remedy::Token(greatest));
            }
            _ => {}
        }
        self.wrong.append(&mut wrong);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use muse_testkit::etcd::Etcd;

    use super::*;
    use crate::clock::ManualClock;
    use crate::decide::Request;
    use crate::engine::{Engine as _, ReleaseRequest, Reserved};
    use crate::id::RunId;
    use crate::progress::Silent;
    use crate::record::TtlSeconds;

    fn engine() -> EtcdEngine<Arc<ManualClock>> {
        let clock = Arc::new(ManualClock::at_seconds(1_800_000_000));
        EtcdEngine::by_manual_clock(Etcd::shared().url(), &Etcd::repository(), clock.clone(), clock)
    }

    fn reserve(engine: &EtcdEngine<Arc<ManualClock>>, run: &str, address: &str) -> ReservationId {
        let addresses = vec![address.parse().unwrap()];
        let request = Request::new(RunId::new(run).unwrap(), addresses, TtlSeconds::new(600).unwrap());
        match engine.grant(&request).unwrap() {
            Reserved::Granted(grant) => grant.lease.reservation.reservation_id,
            denied => panic!("{denied:?}"),
        }
    }

    fn put(engine: &EtcdEngine<Arc<ManualClock>>, name: &str, value: Option<&[u8]>) {
        let key = engine.keys.at(name);
        let step = match value {
            Some(value) => Step::put(key.as_str(), value.to_vec()),
            None => Step::delete(key.as_str()),
        };
        let transaction = Transaction { success: vec![step], ..Transaction::default() };
        engine.transact(Call::Change("break"), &transaction).unwrap();
    }

    fn kinds(checked: &Checked) -> Vec<(FindingKind, bool)> {
        checked.findings.iter().chain(&checked.notices).map(|its| (its.kind, its.repaired)).collect()
    }

    #[test]
    fn a_store_in_use_is_sound() {
        let engine = engine();
        let held = reserve(&engine, "alice", "a.py");
        reserve(&engine, "bob", "b.py");
        let run = RunId::new("alice").unwrap();
        let request = ReleaseRequest { reservations: vec![held], run, reason: None, force: false };
        engine.release(&request).unwrap();
        let checked = engine.check(Repair::No, &Silent).unwrap();
        assert_eq!(kinds(&checked), []);
        assert_eq!((checked.counts.records, checked.counts.companions), (2, 1));
    }

    /// Each kind of damage is found, and found repaired where it can be.
    #[test]
    fn what_is_damaged_is_found_and_put_right() {
        use FindingKind::{
            Conflict, Edited, Malformed, Misnamed, Orphan, TokenBehind, TokenMissing, UnknownFile,
        };
        type Break = fn(&EtcdEngine<Arc<ManualClock>>, ReservationId);
        let cases: [(FindingKind, bool, Break); 12] = [
            (Malformed, true, |engine, id| put(engine, &format!("heartbeats/{id}"), Some(b"{"))),
            (Orphan, true, |engine, id| put(engine, &format!("releases/{id}"), Some(&tombstone(engine, id)))),
            (Edited, true, |engine, id| put(engine, &format!("alive/{id}/beat"), Some(b""))),
            (Edited, false, |engine, id| put(engine, &standing(id), Some(b"{}"))),
            (Misnamed, false, |engine, id| {
                let record = engine.found(id).unwrap().unwrap().0.reservation;
                put(
                    engine,
                    &format!("standing/b.py//{id}"),
                    Some(&crate::record::to_file_bytes(&record).unwrap()),
                );
                put(engine, &standing(id), None);
            }),
            (Orphan, false, |engine, id| {
                put(engine, &standing(id), None);
                put(engine, &format!("alive/{id}/grant"), None);
            }),
            (Orphan, true, |engine, id| put(engine, &format!("archived/{id}"), Some(b"7"))),
            (Malformed, true, |engine, id| put(engine, &format!("archived/{id}"), Some(b"x"))),
            (FindingKind::ArchiveLine, true, |engine, _| {
                put(engine, "archive/00000000000000000001", Some(b"{}"));
            }),
            (TokenBehind, true, |engine, _| put(engine, "token", Some(b"5\n"))),
            (TokenMissing, true, |engine, _| put(engine, "token", None)),
            (UnknownFile, false, |engine, _| put(engine, "other/thing", Some(b""))),
        ];
        for (position, (kind, is_repaired, damage)) in cases.into_iter().enumerate() {
            let engine = engine();
            let id = reserve(&engine, "alice", "a.py");
            damage(&engine, id);
            let found = engine.check(Repair::No, &Silent).unwrap();
            assert!(kinds(&found).contains(&(kind, false)), "{position}: {found:?}");
            let repaired = engine.check(Repair::Yes, &Silent).unwrap();
            assert!(kinds(&repaired).contains(&(kind, is_repaired)), "{position}: {repaired:?}");
            if is_repaired {
                assert!(
                    !kinds(&engine.check(Repair::No, &Silent).unwrap()).contains(&(kind, false)),
                    "{position}"
                );
            }
        }
        // Two that exclude each other, as a fault of etcd could leave them.
        let engine = engine();
        let one = reserve(&engine, "alice", "a.py");
        let lives = |id| engine.keys.life_of(id, super::super::keys::Life::Grant);
        let saved = engine.found(one).unwrap().unwrap().0.reservation;
        let run = RunId::new("alice").unwrap();
        let request = ReleaseRequest { reservations: vec![one], run, reason: None, force: false };
        engine.release(&request).unwrap();
        reserve(&engine, "bob", "a.py");
        put(&engine, &format!("releases/{one}"), None);
        put(&engine, &standing(one), Some(&crate::record::to_file_bytes(&saved).unwrap()));
        let life = lives(one);
        put(&engine, life.strip_prefix(engine.keys.all()).unwrap(), Some(b""));
        let found = engine.check(Repair::Yes, &Silent).unwrap();
        assert!(kinds(&found).contains(&(Conflict, false)), "{found:?}");
    }

    /// Where a reservation of `a.py` stands.
    fn standing(id: ReservationId) -> String {
        format!("standing/a.py//{id}")
    }

    /// A release of a reservation that then is taken away.
    fn tombstone(engine: &EtcdEngine<Arc<ManualClock>>, id: ReservationId) -> Vec<u8> {
        put(engine, &format!("reservations/{id}"), None);
        put(engine, &standing(id), None);
        let run = RunId::new("alice").unwrap();
        let release = Release::new(id, Some(&run), &run, None, engine.clock.now());
        crate::record::to_file_bytes(&release).unwrap()
    }
}

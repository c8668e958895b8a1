//! Reports, and the audit trail: what is done by those who look after a room, and what was reported
//! to them.
//!
//! The ledger (`rights`) has each line that a log was given, and judges it by what it goes along
//! with. What a trail tells are those lines, all of them; and of a report nobody hears but by that.
//!
//! What it does not model, and which test could notice: how much of a trail stays in memory
//! (`room::audit`), and on disk (`side::store`).

use chinwag::auth::level::Level;
use serde_json::{Value, json};

use crate::acts::Mouth;
use crate::client::{Ask, Client, Link, Payload, Pending};
use crate::ears::Ears;
use crate::logs::LogKind;
use crate::rights::{Line, Moment};
use crate::site::User;
use crate::world::ledger_of;

/// What the text of each report has in it, and nothing else.
pub(crate) const REPORTED: &str = "reported:";

/// As many lines as a room in memory has for sure, whatever they say.
const LINES_IN_MEMORY: usize = 60;

const ACTS: [&str; 5] = ["room_set", "room_member", "msg_delete", "msg_pin", "msg_report"];

impl Client {
    /// Reports a message to those who look after its room.
    pub(crate) fn report(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        if !topic.starts_with("room:") {
            return;
        }
        let offset = self.some_message(&topic);
        let mut payload = json!({"offset": offset});
        if !self.draws.one_in(4) {
            self.said += 1;
            payload["text"] = json!(format!("{REPORTED}{}-{} \u{e9}\"", self.id, self.said));
        }
        self.push(mouth, &topic, "msg_report", &Payload::Json(payload), Some(Ask::Report(offset)));
    }

    /// Asks for lines of a room's audit trail.
    pub(crate) fn ask_audit(&mut self, mouth: &mut Mouth<'_>) {
        let topic = self.channel_or_topic(mouth);
        if !topic.starts_with("room:") {
            return;
        }
        let draws = &mut self.draws;
        let mut wanted = json!({});
        if draws.one_in(3) {
            wanted["before"] = json!(draws.range(1, 12));
        }
        if draws.one_in(3) {
            wanted["limit"] = json!(draws.range(1, 4));
        }
        if draws.one_in(4) {
            wanted["act"] = json!(draws.pick(&ACTS));
        }
        let payload = Payload::Json(wanted.clone());
        self.push(mouth, &topic, "room_audit", &payload, Some(Ask::Audit(wanted)));
    }
}

/// Whether a line is one of those that are wanted.
fn is_wanted(line: &Line, wanted: &Value) -> bool {
    let before = wanted["before"].as_u64().unwrap_or(u64::MAX);
    line.number < before && (wanted["act"].is_null() || line.told["act"] == wanted["act"])
}

impl Ears<'_> {
    /// A report was answered: the trail has it.
    pub(crate) fn check_reported(&mut self, user: &'static User, pending: &Pending) {
        let Ask::Report(offset) = &pending.ask else { unreachable!("called for reports") };
        self.check_might(user, pending, Level::Join);
        let ledger = ledger_of(self.hosts, &pending.topic).expect("what is reported has a home");
        let is_it = |line: &&Line| {
            let Line { told, .. } = line;
            told["act"] == "msg_report" && told["by"] == user.id && told["offset"] == *offset
        };
        assert!(
            ledger.lines(&pending.topic).iter().any(|line| is_it(&line)),
            "what was reported is in the trail: {offset} by {} in {}",
            user.id,
            pending.topic
        );
        self.truth.saw("reported");
    }

    /// Lines of the audit trail were told: those that the log was given, and all of them. `since`
    /// is when its reader came.
    pub(crate) fn check_trail(
        &mut self,
        user: &'static User,
        pending: &Pending,
        since: Moment,
        told: &Value,
    ) {
        let Ask::Audit(wanted) = &pending.ask else { unreachable!("called for the audit trail") };
        let topic = &*pending.topic;
        self.check_might(user, pending, Level::Moderate);
        let given = ledger_of(self.hosts, topic).map_or(&[][..], |ledger| ledger.lines(topic));
        let acts = told["acts"].as_array().expect("a trail has lines");
        let limit = wanted["limit"].as_u64().unwrap_or(50);
        assert!(acts.len() as u64 <= limit, "no more lines than were asked for: {told}");
        let numbers: Vec<u64> = acts.iter().filter_map(|act| act["n"].as_u64()).collect();
        assert!(numbers.is_sorted_by(|a, b| a > b), "the newest is told first: {numbers:?}");
        for act in acts {
            let is_it = |line: &Line| line.is_told_as(act) && is_wanted(line, wanted);
            assert!(given.iter().any(is_it), "a line says what was done: {act} in {topic}");
        }
        let is_whole = told["more"] == false && (acts.len() as u64) < limit;
        let upto = if is_whole { 0 } else { numbers.last().copied().unwrap_or(u64::MAX) };
        let may_be_gone = |line: &Line| match self.plan.log {
            // It goes when nobody is there, and the oldest when there are many.
            LogKind::Memory => line.given <= since || given.len() > LINES_IN_MEMORY,
            LogKind::Engine | LogKind::Store | LogKind::SeenIsKept | LogKind::OkIsTaken => false,
        };
        for line in given.iter().filter(|line| line.given < pending.asked) {
            let is_due = is_wanted(line, wanted) && line.number > upto && !may_be_gone(line);
            assert!(
                !is_due || numbers.contains(&line.number),
                "the trail has all that was done: {} in {topic}, {told}",
                line.told
            );
        }
        self.truth.saw("audited");
    }
}

impl Link {
    /// A frame has nothing in it of what was reported, unless somebody has asked for the trail.
    pub(crate) fn check_secret(&self, text: &str) {
        let is_audit = |pending: &&Pending| matches!(pending.ask, Ask::Audit(_));
        let mut asked = self.pending.iter().chain(self.orphans.values()).filter(is_audit);
        assert!(
            !text.contains(REPORTED) || text.contains("\"acts\":") && asked.next().is_some(),
            "what is reported is told to nobody else: {text}"
        );
    }
}

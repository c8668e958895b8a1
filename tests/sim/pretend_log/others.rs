//! What other nodes decide and change in a room of a pretend engine, and that nothing of it is
//! undone by what is proposed here.

use chinwag::auth::level::{Role, Standing};
use chinwag::link::audit::{AuditAct, LineText};
use chinwag::link::log::WhatText;
use chinwag::link::said::{ActText, FateText, MessageText};
use serde_json::Value;

use super::room::Room;

/// The line of a reaction that nobody but other nodes has.
pub(super) const STRANGERS: &str = "s\tstranger";

impl Room {
    /// What another node decides next, with its line.
    pub(super) fn others_decision(
        &self,
        draw: u64,
        decides: bool,
        kicked: Option<&'static str>,
    ) -> (WhatText, Option<LineText>) {
        let line = |user: Option<&str>, act, set: &str| LineText {
            number: 0,
            act,
            by: "stranger".into(),
            user: user.map(Box::from),
            offset: None,
            text: None,
            set: Some(set.into()),
        };
        let (user, mut standing) = ("stranger", Standing::default());
        if let Some(kicked) = kicked {
            let line = line(Some(kicked), AuditAct::RoomMember, "{\"kick\":true}");
            return (WhatText::Noted, Some(line));
        }
        if decides && draw & 2 == 2 {
            let edit_s = 1_000_000 + draw % 7;
            let settings = format!("{{\"edit_s\":{edit_s}}}");
            let line = line(None, AuditAct::RoomSet, &settings);
            let title = self.decided.founded.clone().unwrap_or_else(|| self.name.clone());
            let settings = with_edit_s(self.decided.settings.as_deref(), edit_s);
            let (title, settings) = (title.into(), settings.into());
            return (WhatText::Settings { title, settings }, Some(line));
        }
        standing.role = (decides && draw & 1 == 1).then_some(Role::Member);
        let is_news = self.decided.standings.get(user).copied().unwrap_or_default() != standing;
        let line = is_news.then(|| line(Some(user), AuditAct::RoomMember, "{\"role\":null}"));
        (WhatText::Standing { user: user.into(), standing }, line)
    }

    /// What is proposed is made of what is there by now: nothing of what other nodes have done is
    /// undone by it.
    pub(super) fn check_folded(&self, what: &WhatText) {
        match what {
            WhatText::Changed(offset, message) if message.fate().deleted.is_none() => {
                let latest = self.latest(*offset).expect("it was judged by that");
                let has = |of: &MessageText| {
                    of.reacted().unwrap_or_default().lines().any(|line| line == STRANGERS)
                };
                assert!(
                    !has(&latest) || has(message),
                    "what is proposed is made of what is there: {message:?} of {latest:?}"
                );
            }
            WhatText::Settings { settings, .. } => {
                let decided = self.decided.settings.as_deref().unwrap_or("{}");
                assert_eq!(
                    edit_s_of(decided),
                    edit_s_of(settings),
                    "what is proposed is made of what is there: {settings} of {decided}"
                );
            }
            _ => {}
        }
    }

    /// Another node edits, deletes, pins or reacts to a message: this one, or any.
    pub(super) fn change_something(&mut self, draw: u64, offset: Option<u64>, body: Box<str>) {
        if self.last() == 0 {
            return;
        }
        let offset = offset.unwrap_or(1 + draw / 4 % self.last());
        let Some(mut message) = self.latest(offset) else { return };
        let at_ms = self.at_ms(0);
        let act = ActText { at_ms, by: Some("stranger".into()) };
        let mut fate = message.fate.take().map_or_else(FateText::default, |fate| *fate);
        if fate.deleted.is_some() {
            return;
        }
        match draw % 6 {
            0 => {
                message.said.body = "\"\"".into();
                (message.said.data, message.said.mentions) = (None, None);
                let (change, deleted) = (fate.change, Some(act));
                fate = FateText { change, deleted, ..FateText::default() };
            }
            2 | 3 => {
                let reacted = fate.reacted.as_deref().unwrap_or_default();
                let mut lines: Vec<&str> = reacted.lines().collect();
                let count = lines.len();
                lines.retain(|line| *line != STRANGERS);
                if lines.len() == count {
                    lines.push(STRANGERS);
                }
                let text: String = lines.iter().flat_map(|line| [*line, "\n"]).collect();
                fate.reacted = (!text.is_empty()).then(|| text.into());
            }
            1 => fate.pinned = if fate.pinned.is_some() { None } else { Some(act) },
            _ => {
                message.said.body = body;
                fate.edited = Some(ActText { at_ms, by: None });
            }
        }
        fate.epoch = self.epoch_further_back(offset);
        message.fate = Some(Box::new(fate));
        self.push_told(None, at_ms, WhatText::Changed(offset, Box::new(message)), None);
    }
}

/// Settings with another time for edits, which nobody but other nodes sets.
fn with_edit_s(settings: Option<&str>, edit_s: u64) -> String {
    let mut settings: Value =
        serde_json::from_str(settings.unwrap_or("{}")).expect("settings are JSON");
    settings["edit_s"] = edit_s.into();
    settings.to_string()
}

/// The time that other nodes have set.
fn edit_s_of(settings: &str) -> Option<u64> {
    let settings: Value = serde_json::from_str(settings).expect("settings are JSON");
    settings["edit_s"].as_u64().filter(|edit_s| *edit_s >= 1_000_000)
}

//! What a client was refused: there is a reason for it, and it is the one that is told.

use chinwag::auth::level::Level;
use chinwag::limits::ADMISSION_LINE_BYTES_MAX;
use serde_json::Value;

use crate::client::{Ask, Client, Deed, Pending};
use crate::logs::LogKind;
use crate::rights::Facts;

use super::Ears;

impl Client {
    #[expect(clippy::too_many_lines, reason = "a table of refusals")]
    pub(super) fn refused(&mut self, ears: &mut Ears<'_>, pending: &Pending, response: &Value) {
        let user = self.user();
        let link = self.link.as_mut().expect("who hears is connected");
        let reason = response["reason"].as_str().expect("a refusal says why");
        let room = pending.topic.strip_prefix("room:");
        ears.truth.saw(match reason {
            "unmatched topic" => "unmatched topic",
            "unauthorized" => "unauthorized",
            "too many channels joined" => "too many channels joined",
            "invalid" => "invalid",
            "too_large" => "too_large",
            "rate_limited" => "rate_limited",
            "busy" => "busy",
            "too_many_rooms" => "too_many_rooms",
            "user_mismatch" => "user_mismatch",
            "read_only" => "read_only",
            "not_yours" => "not_yours",
            "too_many" => "too_many",
            "gone" => "gone",
            "muted" => "muted",
            "banned" => "kept out",
            "slow_mode" => "slow_mode",
            "rejected" => "rejected",
            "too_late" => "too_late",
            "last_owner" => "last_owner",
            "storage" if ears.plan.log.keeps() => "storage",
            "unavailable" if ears.plan.log.keeps() => "unavailable",
            "unconfirmed" if ears.plan.log.keeps() => "unconfirmed",
            other => panic!("a refusal of no known reason: {other}"),
        });
        match reason {
            "busy" | "rate_limited" | "storage" | "unavailable" | "unconfirmed" => {
                let retry_ms = response["retry_ms"].as_u64().expect("it says when to try again");
                link.patience_ms = link.patience_ms.max(ears.now_ms + retry_ms);
                // But for a line that a few joins at the same moment fill.
                let is_full = ears.plan.settings.admission_line_bytes < ADMISSION_LINE_BYTES_MAX
                    && matches!(pending.ask, Ask::Join { .. });
                assert!(
                    reason == "rate_limited" || !ears.calm || is_full,
                    "nothing is busy when all is well"
                );
            }
            "too_large" => assert!(response["max_bytes"].is_u64() && response["field"].is_string()),
            "invalid" => assert!(response["field"].is_string() && response["message"].is_string()),
            _ => {}
        }
        let might = ears.might(user, &pending.topic, pending.asked);
        // The log of its room has lost its place there.
        let is_closed = reason == "unavailable" && ears.plan.log == LogKind::Engine;
        match &pending.ask {
            Ask::Join { invited, .. } => {
                if matches!(reason, "unauthorized" | "banned") {
                    ears.check_not_invited(user, pending, invited.as_ref());
                }
                match reason {
                    "unauthorized" | "banned" => assert!(
                        room.is_some_and(|room| {
                            might.be_refused_for(reason, Level::Join) || link.closed.contains(room)
                        }),
                        "{} may join {room:?}",
                        user.id
                    ),
                    "too many channels joined" => {
                        let max = ears.plan.settings.limits.channels_per_conn as usize;
                        let others = link.channels.len() + link.pending.len() + 1;
                        assert!(others >= max, "there is a channel to be had");
                    }
                    "too_many_rooms" => assert!(ears.plan.forgets_rooms),
                    // The last two: what is there of the room could not be found out.
                    "rate_limited" | "busy" | "storage" | "unavailable" => {}
                    // Nobody knows whether its user is a member by it.
                    "unconfirmed" if invited.is_some() && ears.plan.log.keeps() => {}
                    other => panic!("a join is not refused for {other}"),
                }
                if matches!(
                    reason,
                    "unauthorized" | "banned" | "too many channels joined" | "too_many_rooms"
                ) {
                    self.wants.remove(&pending.topic);
                }
                // The channel that there is goes on; what was said in the one that there is not is
                // dropped.
                if link.member(&pending.topic).is_some() {
                    link.orphan(&pending.topic, &pending.join_ref);
                }
            }
            Ask::Publish { body, key, too_large, calls_all } => {
                assert!(
                    matches!(reason, "unmatched topic" | "rate_limited" | "busy")
                        || matches!(reason, "storage" | "unavailable" | "unconfirmed")
                        || reason == "too_large" && *too_large
                        || reason == "invalid" && ears.truth.answers(body)
                        || might.refuse_message(body, *calls_all, reason),
                    "a message is not refused for {reason}"
                );
                if reason != "unconfirmed" {
                    ears.truth.refuse(body);
                }
                // The others are tried again, with the same key.
                if key.is_some()
                    && matches!(
                        reason,
                        "unmatched topic" | "too_large" | "unauthorized" | "invalid"
                    )
                {
                    self.unanswered.retain(|(_, unanswered, _)| unanswered != body);
                }
            }
            Ask::Custom { number, may_be_too_large } => {
                assert!(
                    matches!(reason, "unmatched topic" | "rate_limited" | "busy")
                        || matches!(reason, "unavailable" | "unconfirmed")
                            && ears.plan.log == LogKind::Engine
                        || is_closed
                        || reason == "too_large" && *may_be_too_large
                        || might.be_refused_for(reason, Level::Speak),
                    "an event is not refused for {reason}"
                );
                ears.truth.refuse_custom(number);
            }
            Ask::Attach { .. } => {
                let is_of_way = matches!(reason, "unmatched topic" | "rate_limited" | "busy");
                let is_decided = might.be_refused_for(reason, Level::Join);
                let is_right = is_of_way || is_closed || is_decided;
                assert!(is_right, "a meta is not refused for {reason}");
            }
            Ask::History { .. } => {
                let is_of_log = matches!(reason, "storage" | "unavailable");
                assert!(
                    matches!(reason, "unmatched topic" | "busy" | "rate_limited") || is_of_log,
                    "{reason}"
                );
            }
            Ask::Change { deed, calls_all, .. } => {
                let may_be = match reason {
                    "unmatched topic" | "rate_limited" | "busy" | "storage" | "unavailable"
                    | "unconfirmed" | "gone" | "invalid" => true,
                    "muted" if *deed == Deed::Delete => false,
                    "unauthorized" | "muted" | "banned" => {
                        let needed = if *calls_all { Level::Moderate } else { deed.needs() };
                        might.be_refused_for(reason, needed)
                    }
                    "not_yours" => match deed {
                        Deed::Edit(_) => true,
                        Deed::Delete => might.least < Level::Moderate,
                        Deed::Pin(_) => false,
                    },
                    "too_late" => {
                        let has_end = |facts: &Facts| facts.settings["edit_s"].is_u64();
                        matches!(deed, Deed::Edit(_)) && might.facts.iter().any(has_end)
                    }
                    "too_many" => {
                        assert_eq!(response["limit"], "limits.pins");
                        assert_eq!(response["max"], ears.plan.settings.chat.pins);
                        matches!(deed, Deed::Pin(true))
                    }
                    _ => false,
                };
                assert!(may_be, "{deed:?} is not refused for {reason}");
                if let (Deed::Edit(body), true) = (deed, reason != "unconfirmed") {
                    ears.truth.refuse_edit(body);
                }
            }
            Ask::React { on } => {
                let may_be = match reason {
                    "unmatched topic" | "rate_limited" | "busy" | "storage" | "unavailable"
                    | "unconfirmed" | "gone" | "invalid" => true,
                    "too_many" => *on,
                    "unauthorized" | "muted" | "banned" => {
                        might.be_refused_for(reason, Level::Speak)
                    }
                    _ => false,
                };
                assert!(may_be, "a reaction is not refused for {reason}");
            }
            Ask::Append { piece, .. } => {
                let is_link = might.facts.iter().any(|facts| !facts.takes_links());
                let may_be = match reason {
                    "unmatched topic" | "rate_limited" | "busy" | "storage" | "unavailable"
                    | "unconfirmed" | "gone" | "invalid" | "not_yours" | "too_late"
                    | "too_large" => true,
                    "rejected" => is_link,
                    _ => might.be_refused_for(reason, Level::Speak),
                };
                assert!(may_be, "a piece is not refused for {reason}");
                if reason != "unconfirmed" {
                    ears.not_appended(piece);
                }
            }
            Ask::Decide(wish) => assert!(
                matches!(reason, "unmatched topic" | "rate_limited" | "busy")
                    || matches!(reason, "storage" | "unavailable" | "unconfirmed")
                    || might.refuse_decision(wish, reason),
                "a decision is not refused for {reason}: {wish:?}"
            ),
            Ask::Report(_) => assert!(
                matches!(reason, "unmatched topic" | "rate_limited" | "busy" | "gone" | "invalid")
                    || matches!(reason, "storage" | "unavailable" | "unconfirmed")
                    || might.be_refused_for(reason, Level::Join),
                "a report is not refused for {reason}"
            ),
            Ask::Audit(_) | Ask::Invite => assert!(
                matches!(reason, "unmatched topic" | "rate_limited" | "busy" | "storage")
                    || is_closed
                    || might.be_refused_for(reason, Level::Moderate),
                "{pending:?} is not refused for {reason}"
            ),
            Ask::ListMembers(wanted) => assert!(
                matches!(reason, "unmatched topic" | "rate_limited" | "busy")
                    || is_closed
                    || might.refuse_roll(wanted, reason),
                "a list of users is not refused for {reason}: {wanted}"
            ),
            Ask::Echo(_) => assert_eq!(reason, "unmatched topic"),
            Ask::Search(_) => {
                let may_be = ["busy", "storage", "unmatched topic"].contains(&reason);
                assert!(may_be || is_closed, "a search is answered, or later: {reason}");
            }
            Ask::Renew { expires_at_s } => assert!(
                matches!(reason, "unmatched topic" | "rate_limited")
                    || reason == "unauthorized" && *expires_at_s <= ears.unix_ms / 1_000,
                "a good token is not refused for {reason}"
            ),
            Ask::Leave | Ask::Heartbeat => panic!("this is not refused: {pending:?} {response}"),
            Ask::Wrong("typing") => assert!(
                matches!(reason, "unmatched topic" | "rate_limited" | "busy" | "unauthorized"),
                "typing is not refused for {reason}"
            ),
            Ask::Wrong(expected) => assert!(
                reason == *expected
                    || is_closed
                    || matches!(
                        reason,
                        "unmatched topic"
                            | "rate_limited"
                            | "busy"
                            | "unauthorized"
                            | "too many channels joined"
                    )
                    || might.be_refused_for(reason, Level::Speak),
                "{pending:?} is not refused for {reason}"
            ),
        }
    }
}

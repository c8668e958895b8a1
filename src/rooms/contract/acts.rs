//! What members do, one thing at a time: drawn from the seed of a run.

use super::judge::{Asked, Data, Deed, Member};
use super::reactions::Reaction;
use super::reader::{self, Message, Reader};
use super::{Subject, Suite, TOPICS};
use crate::link::given::Given;
use crate::link::log::View;
use crate::link::record::{Addition, From, NewMessage, ToHome, Verb};
use crate::wire::phx::Payload;

impl<L: Subject> Suite<L> {
    /// One thing happens.
    pub(super) fn act(&mut self) {
        let count = self.judge.members.len();
        match self.below(50) {
            0..=2 if count < 8 => {
                let topic = self.below(TOPICS.len());
                let (member, response) = self.join(topic, None);
                let stream = || Reader::joined(topic, &response);
                self.judge.streams.entry((topic, member.shard)).or_insert_with(stream);
                self.judge.members.push(member);
            }
            3 if count > 0 => {
                let index = self.below(count);
                self.close(index);
            }
            4 if count > 0 => {
                let index = self.below(count);
                self.push(index, &Asked::Leave);
            }
            5 | 6 | 25 if count > 0 => {
                let index = self.below(count);
                self.ask_page(index);
            }
            24 => self.come_back(),
            7..=9 if count > 0 => {
                let index = self.below(count);
                self.push(index, &Asked::Custom);
            }
            10..=14 if count > 0 => {
                let index = self.below(count);
                self.say(index);
            }
            15 => {
                self.pass(40);
                self.fire();
            }
            39..=46 if count > 0 => {
                let index = self.below(count);
                let question = self.question(index);
                self.push(index, &Asked::Decided(question));
            }
            47 | 48 => self.visit(),
            34..=36 if count > 0 => {
                let index = self.below(count);
                self.react(index);
            }
            37 | 38 if count > 0 => {
                let index = self.below(count);
                self.append(index);
            }
            26..=32 if count > 0 => {
                let index = self.below(count);
                self.change(index);
            }
            33 => self.judge.check_streams(&self.home.mesh.log.tried),
            16 => self.go_away(),
            17 if self.below(8) == 0 => self.crash(),
            _ => {
                self.step();
                self.hear_next();
            }
        }
        self.judge_told();
    }

    /// So many milliseconds pass.
    pub(super) fn pass(&mut self, ms: u64) {
        self.home.now_ms += ms;
        self.home.mesh.log.ledger.now_ms += ms;
    }

    /// Timers that are due.
    pub(super) fn fire(&mut self) {
        while self.home.fire_next() {}
    }

    pub(super) fn say(&mut self, index: usize) {
        let body = format!("\"b{}\"", self.numbers + 1);
        let key = (self.below(2) == 0).then(|| format!("k{}", self.below(12)));
        let data = (self.below(3) == 0).then(|| format!("{{\"d\":{}}}", self.numbers));
        let Member { topic, shard, .. } = self.judge.members[index];
        let heard = self.judge.streams.get(&(topic, shard)).map_or(0, |stream| stream.at.offset);
        let reply_to = (heard > 0 && self.below(3) == 0).then(|| 1 + self.rng.below(heard.min(5)));
        let stream = self.below(4) == 0;
        self.push(index, &Asked::Message { body, key, data, reply_to, stream });
    }

    /// A message that a member has heard of, or the next one: mostly one of a few.
    pub(super) fn some_message(&mut self, index: usize) -> u64 {
        let Member { topic, shard, .. } = self.judge.members[index];
        let heard = self.judge.streams.get(&(topic, shard)).map_or(0, |stream| stream.at.offset);
        let few = heard.min(3);
        match self.below(4) {
            0 => 1 + self.rng.below(heard + 1),
            1 | 2 => (heard + 1).saturating_sub(1 + self.rng.below(few + 1)).max(1),
            _ => 1 + self.rng.below(few + 1),
        }
    }

    /// Appends to a message, mostly to one of its own that grows.
    fn append(&mut self, index: usize) {
        let Member { topic, shard, ref user, .. } = self.judge.members[index];
        let stream = self.judge.streams.get(&(topic, shard));
        let is_its = |message: &&Message| {
            message.contains_key("stream") && message["user"].as_str() == Some(user)
        };
        let own = stream.and_then(|stream| stream.messages.values().rfind(is_its));
        let own = own.map(|message| reader::of(message, "offset"));
        let offset = own.unwrap_or_else(|| self.some_message(index));
        for _ in 0..=self.below(2) {
            let text = format!("p{}.", self.numbers + 1);
            let is_last = self.below(6) == 0;
            self.push(index, &Asked::Append { offset, text, is_last });
        }
    }

    /// Reacts to a message, or does no longer, and often does so twice.
    fn react(&mut self, index: usize) {
        let offset = self.some_message(index);
        let emoji = ["👍", "🎉", "\"", "ok", "x"][self.below(5)].to_owned();
        let on = self.below(4) > 0;
        for _ in 0..=self.below(2) {
            let (offset, emoji) = (offset, emoji.clone());
            self.push(index, &Asked::React(Reaction { offset, emoji, on }));
        }
    }

    /// Does something to a message.
    pub(super) fn change(&mut self, index: usize) {
        let Member { topic, shard, .. } = self.judge.members[index];
        let offset = self.some_message(index);
        let deed = match self.below(8) {
            0 => Deed::Delete,
            1 | 2 => Deed::Pin(self.below(4) > 0),
            _ => {
                let body = format!("\"e{}\"", self.numbers + 1);
                let data = match self.below(4) {
                    0 => Data::Goes,
                    1 => Data::Is(format!("{{\"e\":{}}}", self.numbers)),
                    _ => Data::Stays,
                };
                Deed::Edit { body, data }
            }
        };
        self.judge.touched.insert((topic, offset));
        let since = self.judge.streams.get(&(topic, shard)).map_or(0, |stream| stream.at.change);
        self.push(index, &Asked::Change { offset, deed, since });
    }

    /// Asks for a page of what the member has heard of, or of the latest.
    fn ask_page(&mut self, index: usize) {
        let Member { topic, shard, .. } = self.judge.members[index];
        let heard = self.judge.streams.get(&(topic, shard)).map_or(0, |stream| stream.at.offset);
        let at = self.rng.below(heard + 3);
        let view = match self.below(6) {
            0 | 1 => View::Thread(1 + self.rng.below(heard.min(5) + 1)),
            2 => View::Pins,
            _ => View::Room,
        };
        let from = match self.below(6) {
            0 => From::Latest,
            1 => From::After(at),
            2 | 3 if view == View::Room => From::Around(at),
            _ => From::Before(at),
        };
        let limit = 1 + u32::try_from(self.below(4)).expect("small");
        self.push(index, &Asked::Page { view, from, limit, heard });
    }

    fn push(&mut self, index: usize, what: &Asked) {
        let number = self.next_number();
        let reference = number.to_string();
        let member = &mut self.judge.members[index];
        if member.is_leaving {
            return;
        }
        let (home, asker, shard, topic) = (member.room, member.asker, member.shard, member.topic);
        member.is_leaving = matches!(what, Asked::Leave);
        member.asked.push_back((reference.clone(), what.clone()));
        let payload = format!("{{\"n\":{number}}}");
        let piece;
        let push = match what {
            Asked::Message { body, key, data, reply_to, stream } => {
                let (key, data, stream) = (key.as_deref(), data.as_deref(), *stream);
                let message = NewMessage { body, key, data, stream, ..NewMessage::default() };
                let message = NewMessage { reply_to: *reply_to, ..message };
                ToHome::Publish { home, asker, reference: &reference, message }
            }
            Asked::Change { offset, deed, since: _ } => {
                let verb = match deed {
                    Deed::Edit { body, data } => {
                        let data = match data {
                            Data::Stays => Given::Nothing,
                            Data::Goes => Given::Null,
                            Data::Is(data) => Given::Value(data.as_str()),
                        };
                        Verb::Edit { body: Some(body.as_str()), mentions: Given::Nothing, data }
                    }
                    Deed::Delete => Verb::Delete,
                    Deed::Pin(on) => Verb::Pin { on: *on },
                };
                ToHome::Change { home, asker, reference: &reference, offset: *offset, verb }
            }
            Asked::React(reaction) => {
                self.judge.reacts(index, reaction);
                let (offset, emoji, on) = (reaction.offset, &*reaction.emoji, reaction.on);
                let addition = Addition::Reaction { emoji, on };
                ToHome::Add { home, asker, reference: &reference, offset, addition }
            }
            Asked::Append { offset, text, is_last } => {
                self.judge.touched.insert((topic, *offset));
                piece = format!("\"{text}\"");
                let addition = Addition::Text { text: &piece, is_last: *is_last };
                ToHome::Add { home, asker, reference: &reference, offset: *offset, addition }
            }
            Asked::Custom => ToHome::Custom {
                home,
                asker,
                reference: &reference,
                event: "ping",
                payload: Payload::Json(&payload),
            },
            Asked::Page { view, from, limit, .. } => {
                let (reference, view, from, limit) = (&*reference, *view, *from, *limit);
                ToHome::History { home, asker, reference, view, from, limit }
            }
            Asked::Decided(question) => question.push(home, asker, &reference),
            Asked::Leave => ToHome::Leave { home, asker, reference: Some(&reference) },
        };
        self.home.hear(shard, push);
    }
}

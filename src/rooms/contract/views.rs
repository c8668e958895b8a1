//! What a page must be, of all messages or of some; and what is told of those that are pinned.

use serde_json::Value;

use super::judge::{Deed, Judge, Member, epoch, field, number};
use super::reader::{Message, messages, object, of};
use super::{Subject, TOPICS};
use crate::link::log::View;
use crate::link::record::From;

/// Whether a message is told to be pinned.
fn is_pinned(message: &Message) -> bool {
    message.contains_key("pinned")
}

fn is_in_thread(message: &Message, root: u64) -> bool {
    of(message, "offset") == root || of(message, "thread") == root
}

impl Judge {
    /// A page: next to what was asked, and nothing in it that is not true.
    pub(super) fn hear_page<L: Subject>(
        &mut self,
        log: &L,
        index: usize,
        (from, limit, heard): (From, u32, u64),
        status: &str,
        response: &str,
    ) {
        if status == "error" {
            let reason = field(response, "reason");
            assert!(["\"storage\"", "\"unavailable\"", "\"busy\""].contains(&reason), "{reason}");
            self.seen.insert("page refused");
            return;
        }
        self.seen.insert("page");
        let Member { topic, shard, .. } = self.members[index];
        let gone = log.gone(TOPICS[topic]);
        let page = messages(&object(response), "messages");
        assert!(page.len() <= usize::try_from(limit).expect("few"), "a page is as long as asked");
        let offsets: Vec<u64> = page.iter().map(|message| of(message, "offset")).collect();
        assert!(offsets.is_sorted_by(|a, b| a + 1 == *b), "a page has no hole: {offsets:?}");
        let (first, last) = (offsets.first().copied(), offsets.last().copied());
        let more = field(response, "more") == "true";
        // What its log has let go of the home may not have heard of.
        let is_more = |first: Option<u64>| {
            gone > 0 || more == first.is_some_and(|first| first > 1) || !L::KEEPS
        };
        match from {
            From::Before(offset) => {
                assert!(last.is_none_or(|last| last < offset), "a page is what was asked for");
                let has_all = offset < 2
                    || offset - 1 > heard
                    || last == Some(offset - 1)
                    || offset - 1 <= gone
                    || !L::KEEPS;
                assert!(
                    has_all,
                    "a page has all that its reader has heard: {last:?} before {offset} of {heard}"
                );
                assert!(is_more(first), "more is true: {response}");
            }
            From::Latest => {
                assert!(
                    last.unwrap_or_default() >= heard || !L::KEEPS || heard <= gone,
                    "a page has all that its reader has heard"
                );
                assert!(is_more(first), "more is true: {response}");
            }
            From::Around(_) => unreachable!("a view"),
            From::After(offset) => {
                assert!(first.is_none_or(|first| first > offset), "a page is what was asked for");
                let has_all = offset >= heard
                    || first == Some(offset + 1)
                    || !L::KEEPS
                    || offset < gone && first.is_none_or(|first| first <= gone + 1);
                assert!(
                    has_all,
                    "a page has all that its reader has heard: {first:?} after {offset} of {heard}"
                );
            }
        }
        self.read_page(log, (topic, shard), &page);
    }

    /// A page is read: nothing in it is older than what its reader has heard.
    pub(super) fn read_page<L: Subject>(
        &mut self,
        log: &L,
        (topic, shard): (usize, u16),
        page: &[Message],
    ) {
        for message in page {
            let (offset, body) = (of(message, "offset"), message["body"].to_string());
            self.sees(log, topic, message);
            if of(message, "change") == 0 {
                let id = epoch(&Value::Object(message.clone()).to_string());
                let told = self.told.entry((topic, id, offset)).or_insert_with(|| body.clone());
                assert_eq!(*told, body, "an offset has one message");
            }
        }
        let Some(stream) = self.streams.get_mut(&(topic, shard)) else { return };
        stream.read(page);
        let stream = &self.streams[&(topic, shard)];
        for message in page {
            let rule = "a page is never older than what its reader has heard";
            self.check_message(log, stream, message, rule);
        }
        let is_forgotten = |message: &Message| {
            let said_in = log.said_in(TOPICS[topic], of(message, "offset"));
            said_in.is_some_and(|epoch| log.kept_of(TOPICS[topic], epoch).is_none())
        };
        if page.iter().any(is_forgotten) {
            self.seen.insert("said in an epoch that is forgotten");
        }
    }

    /// A page of a view, which was asked for when all up to an offset had been heard.
    pub(super) fn hear_view<L: Subject>(
        &mut self,
        log: &L,
        index: usize,
        (view, (from, limit, heard)): (View, (From, u32, u64)),
        status: &str,
        response: &str,
    ) {
        let Member { topic, shard, .. } = self.members[index];
        let gone = log.gone(TOPICS[topic]);
        if status == "error" {
            let (reason, of) = match (view, from) {
                (_, From::Around(offset)) => (field(response, "reason"), offset),
                (View::Thread(root), _) => (field(response, "reason"), root),
                _ => (field(response, "reason"), 0),
            };
            match reason {
                "\"storage\"" | "\"unavailable\"" | "\"busy\"" => {}
                "\"invalid\"" => {
                    let is_given = (1..=heard).contains(&of);
                    // What was heard may be lost by now.
                    assert!(!is_given || log.has_others(), "what was heard of can be asked for");
                }
                "\"gone\"" => {
                    assert!(of <= gone || !L::KEEPS, "what is gone was let go of: {of}");
                }
                other => panic!("{other}"),
            }
            return;
        }
        let page = messages(&object(response), "messages");
        let offsets: Vec<u64> = page.iter().map(|message| of(message, "offset")).collect();
        assert!(page.len() <= limit as usize, "a page is as long as asked");
        assert!(offsets.is_sorted_by(|a, b| a < b), "a page is ascending: {offsets:?}");
        if let From::Around(offset) = from {
            self.seen.insert("around");
            check_around(log, topic, (offset, limit, heard), &offsets, response);
        } else {
            self.check_view(log, (topic, shard), (view, from, heard), &page, response);
        }
        self.read_page(log, (topic, shard), &page);
    }

    fn check_view<L: Subject>(
        &mut self,
        log: &L,
        (topic, shard): (usize, u16),
        (view, from, heard): (View, From, u64),
        page: &[Message],
        response: &str,
    ) {
        let name = TOPICS[topic];
        let is_its = |message: &Message| match view {
            View::Thread(root) => is_in_thread(message, root),
            _ => is_pinned(message),
        };
        let is_asked = |offset: u64| match from {
            From::Before(before) => offset < before,
            From::After(after) => offset > after,
            From::Latest | From::Around(_) => true,
        };
        for message in page {
            let is_wanted = is_its(message) && is_asked(of(message, "offset"));
            assert!(is_wanted, "a page is what was asked for: {message:?} of {view:?} {from:?}");
        }
        if !page.is_empty() {
            self.seen.insert(if view == View::Pins { "pinned page" } else { "thread" });
        }
        let Some(stream) = self.streams.get(&(topic, shard)) else { return };
        let (gone, more) = (log.gone(name), field(response, "more") == "true");
        // What it has by what it has heard, and not by a page that was ahead of that.
        let mine = stream.messages.values().filter(|mine| {
            let offset = of(mine, "offset");
            let is_heard = of(mine, "change") <= stream.at.change;
            let is_kept = offset > gone && offset <= heard;
            is_heard && is_kept && is_its(mine) && is_asked(offset)
        });
        let offsets: Vec<u64> = page.iter().map(|message| of(message, "offset")).collect();
        let (first, last) = (offsets.first().copied(), offsets.last().copied());
        for mine in mine {
            let offset = of(mine, "offset");
            let is_beyond = match from {
                From::After(_) => last.is_none_or(|last| offset > last),
                _ => first.is_none_or(|first| offset < first),
            };
            let may_lack = more && is_beyond && !page.is_empty() || !L::KEEPS;
            let rule = "a view has all that its reader has heard";
            // What is read may be newer than what was heard.
            let latest = log.state(name, offset, u64::MAX);
            let is_pinned = latest.is_none_or(|latest| latest.fate().pinned.is_some());
            let is_no_more = view == View::Pins && !is_pinned;
            let is_there = offsets.contains(&offset) || may_lack || is_no_more;
            assert!(is_there, "{rule}: {offset} of {view:?} {from:?} in {offsets:?}");
        }
        let makes_headway = !page.is_empty() || !more || gone > 0;
        assert!(makes_headway, "a page makes headway: {view:?} {from:?}");
    }

    /// A message that answers another one is in the thread of that. Where others say messages too,
    /// or a turn has lost what was answered, that may be another one by now.
    pub(super) fn check_threads<L: Subject>(&mut self, log: &L) {
        for name in TOPICS.iter().filter(|_| !log.has_others()) {
            for offset in log.gone(name) + 1..=log.top(name).offset {
                let said = log.state(name, offset, u64::MAX).map(|message| message.said);
                let reply_to = said.as_ref().and_then(|said| said.reply_to);
                let Some((said, reply_to)) = said.zip(reply_to) else { continue };
                if reply_to <= log.gone(name) {
                    continue;
                }
                let Some(answered) = log.state(name, reply_to, u64::MAX) else { continue };
                let root = answered.said.thread.unwrap_or(reply_to);
                let rule = "an answer is in the thread of what it answers";
                assert_eq!(said.thread, Some(root), "{rule}: {offset} answers {reply_to}");
                if root != reply_to {
                    self.seen.insert("an answer to an answer");
                }
            }
        }
    }

    /// The answer to a join says what is pinned.
    pub(super) fn check_pins<L: Subject>(&mut self, log: &L, topic: usize, response: &str) {
        let told = object(response)["room"]["pins"].as_array().cloned().unwrap_or_default();
        let name = TOPICS[topic];
        let gone = log.gone(name);
        let told: Vec<u64> =
            told.iter().filter_map(Value::as_u64).filter(|of| *of > gone).collect();
        if !told.is_empty() {
            self.seen.insert("pins");
        }
        if log.epoch(name) == Some(epoch(response))
            && let Some(pins) = log.pins_by(name, number(response, "change"))
        {
            assert_eq!(told, pins, "whoever joins is told what is pinned");
        }
        // What a log has read may be newer than what the home has heard of.
        let heard = |message: &Message| of(message, "change") <= number(response, "change");
        for message in messages(&object(response), "messages").into_iter().filter(heard) {
            let offset = of(&message, "offset");
            let is_told = told.contains(&offset) == is_pinned(&message);
            assert!(is_told || offset <= gone, "what is pinned is told to be: {message:?}");
        }
    }

    /// One more message is pinned: there are no more than there may be.
    pub(super) fn check_pin<L: Subject>(&self, log: &L, topic: usize, deed: &Deed, change: u64) {
        if *deed != Deed::Pin(true) || log.has_others() {
            return;
        }
        if let Some(pins) = log.pins_by(TOPICS[topic], change) {
            let count = pins.len();
            assert!(count <= self.pins_max, "no more is pinned than may be: {count}");
        }
    }

    /// One more was refused: there were as many as there may be, then or since.
    pub(super) fn hear_too_many<L: Subject>(
        &mut self,
        log: &L,
        index: usize,
        offset: u64,
        since: u64,
        response: &str,
    ) {
        self.seen.insert("too many pins");
        assert_eq!(field(response, "limit"), "\"limits.pins\"");
        assert_eq!(number(response, "max"), self.pins_max as u64);
        let name = TOPICS[self.members[index].topic];
        let counts = (since..=log.top(name).change).filter_map(|by| log.pins_by(name, by));
        let most = counts.map(|pins| pins.len()).max();
        let is_true = most.is_none_or(|most| most >= self.pins_max);
        // A turn has lost what was there.
        let is_known = log.gone(name) == 0 && !log.has_others();
        assert!(is_true || !is_known, "who may not pin is told why: {offset}");
    }
}

/// A page around a message has it, and has half of the others before it.
fn check_around<L: Subject>(
    log: &L,
    topic: usize,
    (offset, limit, heard): (u64, u32, u64),
    offsets: &[u64],
    response: &str,
) {
    assert!(offsets.is_sorted_by(|a, b| a + 1 == *b), "a page has no hole: {offsets:?}");
    let (before, gone) = (u64::from(limit / 2), log.gone(TOPICS[topic]));
    let last = offset + u64::from(limit) - before - 1;
    let (Some(first_here), Some(last_here)) = (offsets.first(), offsets.last()) else {
        panic!("a page around a message has it: {response}")
    };
    let is_around = (*first_here..=*last_here).contains(&offset)
        && *first_here + before >= offset
        && *last_here <= last;
    assert!(is_around, "a page is around what was asked for: {offsets:?} around {offset}");
    let expected = offset.saturating_sub(before).max(1);
    let has_older = *first_here == expected || !L::KEEPS || *first_here <= gone + 1;
    let has_newer = *last_here >= last.min(heard);
    let rule = "a view has all that its reader has heard";
    assert!(has_older && has_newer, "{rule}: {offsets:?} around {offset} of {heard}");
    let [more, more_after] = ["more", "more_after"].map(|name| field(response, name) == "true");
    assert!(more == (*first_here > 1) || gone > 0 || !L::KEEPS, "more is true: {response}");
    assert!(more_after || *last_here >= heard, "more_after is true: {response}");
}

//! What comes from a connection, on its way to whoever has that.
//!
//! The crate reads by itself, whether anybody listens or not, and others decide how much is pushed,
//! and how much is in a room that is read. So what has come and has not been taken is counted, and
//! past a bound the connection ends. Of answers one has place always: else a room that is larger
//! could never be read.
//!
//! Deliberately absent: what follows from the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Event;

/// Tells what comes.
#[derive(Clone, Debug)]
pub struct Teller {
    events: UnboundedSender<Event>,
    waiting: Arc<Waiting>,
    bytes_max: usize,
}

/// What has come, in order.
#[derive(Debug)]
pub struct Events {
    events: UnboundedReceiver<Event>,
    waiting: Arc<Waiting>,
}

/// What has come and has not been taken, in bytes, about.
#[derive(Debug, Default)]
struct Waiting {
    pushed: AtomicUsize,
    answered: AtomicUsize,
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.pushed.load(Ordering::Relaxed) + self.answered.load(Ordering::Relaxed)
    }

    /// Where an event is counted, and what it takes.
    fn of(&self, event: &Event) -> Option<(&AtomicUsize, usize)> {
        match event {
            Event::Pushed(pushed) => Some((&self.pushed, pushed.bytes())),
            Event::Answered { result: Ok(reply), .. } => Some((&self.answered, reply.bytes())),
            Event::Answered { result: Err(_), .. } | Event::Ended { .. } => None,
        }
    }
}

/// The way of one connection. So many bytes may come, about, that nobody has taken.
#[must_use]
pub fn events(bytes_max: usize) -> (Teller, Events) {
    let (tells, events) = unbounded_channel();
    let waiting = Arc::new(Waiting::default());
    let teller = Teller { events: tells, waiting: Arc::clone(&waiting), bytes_max };
    (teller, Events { events, waiting })
}

impl Teller {
    /// Tells an event. False, if too much has come that nobody has taken: then it is not told.
    #[must_use]
    pub(super) fn tell(&self, event: Event) -> bool {
        if let Some((place, bytes)) = self.waiting.of(&event) {
            let is_answer = matches!(event, Event::Answered { .. });
            let is_first_answer = is_answer && place.load(Ordering::Relaxed) == 0;
            let has_place = bytes == 0 || bytes + self.waiting.bytes() <= self.bytes_max;
            if !has_place && !is_first_answer {
                return false;
            }
            place.fetch_add(bytes, Ordering::Relaxed);
        }
        // Whoever does not listen any more will drop the connection.
        let _ = self.events.send(event);
        true
    }
}

impl Events {
    /// The next one, as soon as it comes; `None`, if nothing comes any more.
    pub async fn recv(&mut self) -> Option<Event> {
        let event = self.events.recv().await;
        event.inspect(|event| self.note_taken(event))
    }

    /// The next one, if it is there.
    pub fn try_recv(&mut self) -> Option<Event> {
        let event = self.events.try_recv().ok();
        event.inspect(|event| self.note_taken(event))
    }

    /// How much has come and has not been taken, in bytes, about.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.bytes()
    }

    fn note_taken(&self, event: &Event) {
        if let Some((place, bytes)) = self.waiting.of(event) {
            place.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::command::{Failure, Pushed, Reply};
    use super::super::Cause;
    use super::*;

    /// The answer to a question, in so many bytes.
    fn answer(bytes: usize) -> Event {
        Event::Answered { number: 1, result: Ok(Reply::Lines(vec![(1, vec![0; bytes])])) }
    }

    #[test]
    fn what_comes_has_a_bound_and_what_is_taken_gives_it_back() {
        let push = || Event::Pushed(Pushed::Told { record: vec![0; 1_000] });
        let (teller, mut events) = events(2_500);
        assert!(teller.tell(push()) && teller.tell(push()));
        assert!(!teller.tell(push()), "there is no place for a third");
        assert!(teller.tell(answer(1_000)), "one answer has place always");
        assert!(!teller.tell(answer(1_000)), "and no second one");
        let (number, result) = (1, Err(Failure::Lost));
        let others = [
            Event::Answered { number, result },
            Event::Answered { number, result: Ok(Reply::Done) },
            Event::Ended { why: "it is over".into(), cause: Cause::Other },
        ];
        assert!(others.into_iter().all(|event| teller.tell(event)), "these always have");
        assert_eq!(events.try_recv(), Some(push()));
        assert!((2_000..2_250).contains(&events.waiting_bytes()), "{}", events.waiting_bytes());
        assert!(!teller.tell(push()), "answers take place from pushes");
        while events.try_recv().is_some() {}
        assert_eq!(events.waiting_bytes(), 0);
        assert!(teller.tell(push()) && teller.tell(answer(1_000)));
    }
}

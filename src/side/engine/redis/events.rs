//! What comes from a connection, on its way to whoever has that.
//!
//! The crate reads by itself, whether anybody listens or not, and others decide how much is pushed.
//! So what was pushed and has not been taken is counted, and past a bound the connection ends.
//! There are as many answers as questions: whoever asks bounds them.
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
    pushed_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// What has come, in order.
#[derive(Debug)]
pub struct Events {
    events: UnboundedReceiver<Event>,
    pushed_bytes: Arc<AtomicUsize>,
}

/// The way of one connection. So many bytes may be pushed, about, that nobody has taken.
#[must_use]
pub fn events(bytes_max: usize) -> (Teller, Events) {
    let (tells, events) = unbounded_channel();
    let pushed_bytes = Arc::new(AtomicUsize::new(0));
    let teller = Teller { events: tells, pushed_bytes: Arc::clone(&pushed_bytes), bytes_max };
    (teller, Events { events, pushed_bytes })
}

impl Teller {
    /// Tells an event. False, if too much was pushed that nobody has taken: then it is not told.
    #[must_use]
    pub(super) fn tell(&self, event: Event) -> bool {
        let bytes = pushed_bytes(&event);
        let has_place = bytes == 0 || bytes + self.bytes() <= self.bytes_max;
        if has_place {
            self.pushed_bytes.fetch_add(bytes, Ordering::Relaxed);
            // Whoever does not listen any more will drop the connection.
            let _ = self.events.send(event);
        }
        has_place
    }

    fn bytes(&self) -> usize {
        self.pushed_bytes.load(Ordering::Relaxed)
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

    /// How much was pushed and has not been taken, in bytes, about.
    #[must_use]
    pub fn pushed_bytes(&self) -> usize {
        self.pushed_bytes.load(Ordering::Relaxed)
    }

    fn note_taken(&self, event: &Event) {
        self.pushed_bytes.fetch_sub(pushed_bytes(event), Ordering::Relaxed);
    }
}

/// What is counted of an event.
fn pushed_bytes(event: &Event) -> usize {
    match event {
        Event::Pushed(pushed) => pushed.bytes(),
        Event::Answered { .. } | Event::Ended { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::command::Pushed;
    use super::super::Cause;
    use super::*;

    #[test]
    fn what_is_pushed_has_a_bound_and_what_is_taken_gives_it_back() {
        let push = || Event::Pushed(Pushed::Told { record: vec![0; 1_000] });
        let (teller, mut events) = events(2_500);
        assert!(teller.tell(push()) && teller.tell(push()));
        assert!(!teller.tell(push()), "there is no place for a third");
        let (number, result) = (1, Err(crate::side::engine::command::Failure::Lost));
        let others = [
            Event::Answered { number, result },
            Event::Ended { why: "it is over".into(), cause: Cause::Other },
        ];
        assert!(others.into_iter().all(|event| teller.tell(event)), "these always have");
        assert_eq!(events.try_recv(), Some(push()));
        assert!((1_000..1_250).contains(&events.pushed_bytes()));
        assert!(teller.tell(push()));
        while events.try_recv().is_some() {}
        assert_eq!(events.pushed_bytes(), 0);
    }
}

//! A connection, from its first command to its end.
//!
//! To each primary there is one wire, of which a task of the crate reads. In the order of what it
//! reads it completes an answer, or calls the wire's [`Ear`] with what was not asked for. Before
//! that is told, all answers of the wire are told that are complete: they came before. What is said
//! on different wires has no order.
//!
//! All wires have one life: with any of them all end. Only then does each command that was under
//! way have one answer, and whoever listens one thing to do, which is to begin anew.

use std::collections::VecDeque;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::task::{JoinSet, unconstrained};

use super::super::command::{Command, Failure, Reply};
use super::connect::Made;
use super::fit::Facts;
use super::keys::Names;
use super::read::{self, Form, Malformed};
use super::slots::{Slots, slot};
use super::write::{Whom, Written, subscribe, write};
use super::{Cause, Event, Target, Teller};

/// Why a connection has ended of which not all is taken that comes.
const TOO_MUCH: &str = "it tells more than can be taken";

/// A connection. It ends when it is dropped.
pub struct Connection {
    /// To each primary.
    wires: Vec<MultiplexedConnection>,
    slots: Slots,
    target: Target,
    names: Names,
    facts: Vec<Facts>,
    secret: [u8; 32],
    life: Life,
    /// What is done beside it, and ends with it.
    tasks: JoinSet<()>,
}

impl Connection {
    /// Begins the life of wires that are made.
    pub(super) fn new(made: Made, target: Target, names: Names) -> Self {
        let Made { life, slots, wires, secret } = made;
        let (wires, facts): (Vec<_>, Vec<_>) = wires.into_iter().unzip();
        life.lock().begin(&facts);
        let own_channel = names.node(target.node);
        let primary = slots.primary_of(slot(&own_channel));
        let own_channel = Written::One(subscribe(own_channel));
        let answer = Box::pin(unconstrained(ask(wires[usize::from(primary)].clone(), own_channel)));
        life.lock().ask(primary.into(), Asked { number: None, form: Form::Done, answer });
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let life = life.clone();
            future::poll_fn(move |cx| life.lock().poll(cx))
        });
        Self { wires, slots, target, names, facts, secret, life, tasks }
    }

    /// Ends it as soon as there is a reason for that.
    pub(super) fn end_when(&mut self, reason: impl Future<Output = String> + Send + 'static) {
        let life = self.life.clone();
        self.tasks.spawn(async move {
            let why = reason.await;
            life.lock().end(&why);
        });
    }

    /// Sends a command, whose answer is told with this number. Once the connection has ended,
    /// nothing is answered.
    pub fn send(&self, number: u64, command: Command) {
        let primary = match Whom::of(&command, &self.names) {
            Whom::HasSlot(slot) => self.slots.primary_of(slot),
            Whom::Primary(primary) => primary,
        };
        let written = write(&command, &self.names, &self.target);
        let form = Form::of(command, self.target.history_at_most());
        let answer =
            Box::pin(unconstrained(ask(self.wires[usize::from(primary)].clone(), written)));
        self.life.lock().ask(primary.into(), Asked { number: Some(number), form, answer });
    }

    /// The number of the primary that has a room.
    #[must_use]
    pub fn primary_of(&self, topic: &str) -> u16 {
        self.slots.primary_of(self.names.slot_of_room(topic))
    }

    /// What the primaries said of themselves when the connection was made, by their numbers.
    #[must_use]
    pub fn facts(&self) -> &[Facts] {
        &self.facts
    }

    /// What all nodes sign by that have no key of their own.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        self.secret
    }

    /// The wire to each primary, for whoever asks what nobody here waits for, and its signs.
    pub(super) fn wires(&self) -> impl Iterator<Item = (MultiplexedConnection, Signs)> {
        let signs = (0..).map(|primary| Signs { life: self.life.clone(), primary });
        self.wires.iter().cloned().zip(signs)
    }

    /// The wire to whoever has a slot, for the same.
    pub(super) fn wire_of(&self, slot: u16) -> MultiplexedConnection {
        self.wires[usize::from(self.slots.primary_of(slot))].clone()
    }

    /// Who has which slots.
    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.life.lock().forget();
    }
}

async fn ask(mut redis: MultiplexedConnection, written: Written) -> RedisResult<Value> {
    match written {
        Written::One(command) => redis.send_packed_command(&command).await,
        Written::Transaction { commands, otherwise } => {
            // What comes before the answer of `EXEC` only says that a command was taken.
            match redis.send_packed_commands(&commands, commands.len() + 1, 1).await {
                Ok(mut answers) => Ok(answers.pop().unwrap_or_default()),
                // What is told meanwhile is told before the answer, and is in it.
                Err(error) if is_without_memory(&error) => {
                    redis.send_packed_command(&otherwise).await
                }
                Err(error) => Err(error),
            }
        }
    }
}

fn is_without_memory(error: &RedisError) -> bool {
    let errors = error.clone().into_server_errors();
    errors.is_some_and(|errors| errors.iter().any(|(_, error)| error.code() == "OOM"))
}

/// What the connection and those who hear for it share. All of them are tasks of one thread.
#[derive(Clone)]
pub(super) struct Life(Arc<Mutex<Inner>>);

impl Life {
    pub(super) fn new(target: &Target, names: &Names, events: Teller) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            names: names.clone(),
            own_channel: names.node(target.node).into(),
            events,
            wires: Vec::new(),
            waker: Waker::noop().clone(),
            is_live: false,
        })))
    }

    /// Who hears what comes on the wire to a primary.
    pub(super) fn ear(&self, primary: u16) -> Ear {
        Ear { life: self.clone(), primary }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears what comes on one wire without having been asked for.
pub(super) struct Ear {
    life: Life,
    primary: u16,
}

impl AsyncPushSender for Ear {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        self.life.lock().hear(self.primary.into(), info);
        Ok(())
    }
}

/// Whether anything comes on one wire.
pub(super) struct Signs {
    life: Life,
    primary: usize,
}

impl Signs {
    /// How often something has come.
    pub(super) fn count(&self) -> u64 {
        self.life.lock().wires[self.primary].signs
    }
}

/// A command whose answer has not come.
struct Asked {
    /// As the answer is told; `None`, if nobody waits for it.
    number: Option<u64>,
    form: Form,
    answer: Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>,
}

/// What is under way on the wire to one primary.
struct Wire {
    /// In the order in which the primary answers.
    asked: VecDeque<Asked>,
    /// On which of its histories it is.
    branch: Box<str>,
    /// How often something has come on it.
    signs: u64,
}

struct Inner {
    names: Names,
    own_channel: Box<str>,
    events: Teller,
    wires: Vec<Wire>,
    waker: Waker,
    /// Whether anything is told: neither while the engine is looked at, nor after the end.
    is_live: bool,
}

impl Inner {
    fn begin(&mut self, facts: &[Facts]) {
        let wire =
            |of: &Facts| Wire { asked: VecDeque::new(), branch: of.branch.clone(), signs: 0 };
        self.wires = facts.iter().map(wire).collect();
        self.is_live = true;
    }

    /// Sends a command by polling for its answer. The way to the crate's task has no bound, so the
    /// first poll has put it there, and the order is that of the calls.
    fn ask(&mut self, primary: usize, mut asked: Asked) {
        if !self.is_live {
            return;
        }
        let is_gone = asked.answer.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready();
        self.wires[primary].asked.push_back(asked);
        if is_gone {
            // Only because nobody is there who could send it.
            let last = self.wires[primary].asked.pop_back();
            self.settle(primary);
            self.wires[primary].asked.extend(last);
            self.end("nothing can be sent any more");
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.clone_from(cx.waker());
        (0..self.wires.len()).for_each(|primary| self.settle(primary));
        if self.is_live { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Tells all answers that have come on a wire.
    fn settle(&mut self, primary: usize) {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        while let Some(first) = self.wires[primary].asked.front_mut()
            && let Poll::Ready(answer) = first.answer.as_mut().poll(&mut cx)
        {
            let wire = &mut self.wires[primary];
            wire.signs += 1;
            let Some(Asked { number, form, .. }) = wire.asked.pop_front() else { return };
            match read(&form, answer, &mut wire.branch) {
                Ok(result) => self.answer(number, result),
                Err((why, cause)) => {
                    self.answer(number, Err(Failure::Lost));
                    return self.end_by(cause, &why);
                }
            }
        }
    }

    fn answer(&mut self, number: Option<u64>, result: Result<Reply, Failure>) {
        match (number, result) {
            (Some(number), result) => {
                if !self.events.tell(Event::Answered { number, result }) {
                    self.tell(Event::Answered { number, result: Err(Failure::Lost) });
                    self.end_by(Cause::Overflown, TOO_MUCH);
                }
            }
            (None, Err(failure)) => self.end(&format!("its own channel is refused: {failure:?}")),
            (None, Ok(_)) => {}
        }
    }

    fn hear(&mut self, primary: usize, PushInfo { kind, data }: PushInfo) {
        if !self.is_live {
            return;
        }
        self.settle(primary);
        if !self.is_live {
            return;
        }
        self.wires[primary].signs += 1;
        match kind {
            PushKind::SMessage => match read::pushed(data, &self.names, &self.own_channel) {
                Ok(pushed) => {
                    let has_place = pushed.is_none_or(|of| self.events.tell(Event::Pushed(of)));
                    if !has_place {
                        self.end_by(Cause::Overflown, TOO_MUCH);
                    }
                }
                Err(Malformed(what)) => self.end(&format!("it has another form: {what}")),
            },
            // The crate takes it for the answer of what was asked first, so if nobody has asked for
            // it all later answers belong to others. A slot has moved, or rights were taken away.
            PushKind::SUnsubscribe if !self.is_asked_for(primary, &data) => {
                self.end("the engine has ended a subscription");
            }
            PushKind::Disconnection => {
                self.end_by(Cause::Closed, "the engine has closed the connection");
            }
            _ => {}
        }
    }

    fn is_asked_for(&self, primary: usize, data: &[Value]) -> bool {
        let topic = read::unsubscribed(data).and_then(|channel| self.names.topic_of(channel));
        // What was asked before it and is not answered yet was asked a second time, behind it.
        let asked = self.wires[primary].asked.iter().find_map(|asked| match &asked.form {
            Form::Unsubscribed(topic) => Some(&**topic),
            _ => None,
        });
        topic.is_some() && topic == asked
    }

    fn end(&mut self, why: &str) {
        self.end_by(Cause::Other, why);
    }

    fn end_by(&mut self, cause: Cause, why: &str) {
        if !self.is_live {
            return;
        }
        self.is_live = false;
        let asked = self.wires.iter_mut().flat_map(|wire| wire.asked.drain(..));
        let numbers: Vec<_> = asked.filter_map(|asked| asked.number).collect();
        for number in numbers {
            self.tell(Event::Answered { number, result: Err(Failure::Lost) });
        }
        self.tell(Event::Ended { why: why.into(), cause });
    }

    /// The end, of which nobody is told.
    fn forget(&mut self) {
        self.is_live = false;
        self.wires.iter_mut().for_each(|wire| wire.asked.clear());
    }

    /// Tells something for which there is always place.
    fn tell(&self, event: Event) {
        let has_place = self.events.tell(event);
        assert!(has_place, "only what has come is bounded");
    }
}

fn read(
    form: &Form,
    answer: RedisResult<Value>,
    branch: &mut Box<str>,
) -> Result<Result<Reply, Failure>, (String, Cause)> {
    let value = match answer {
        Ok(value) => value,
        Err(error) => return refused(error).map(Err).map_err(|why| (why, Cause::Closed)),
    };
    read::reply(form, value, branch).map_err(|Malformed(what)| {
        (format!("the engine's answer has another form: {what}"), Cause::Other)
    })
}

/// An answer that the crate takes for an error: an error of the engine in a transaction, or why the
/// connection has ended.
fn refused(error: RedisError) -> Result<Failure, String> {
    let why = error.to_string();
    match error.into_server_errors().as_deref() {
        Some([(_, error), ..]) => Ok(read::failure(error)),
        _ => Err(why),
    }
}

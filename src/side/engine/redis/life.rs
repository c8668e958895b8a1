//! A connection, from its first command to its end.
//!
//! The crate's own task reads the wire. In the order of what it reads it completes an answer, or
//! calls [`Life`] with what was not asked for. Before that is told, all answers are told that are
//! complete: they came before.

use std::collections::VecDeque;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{PushInfo, PushKind, RedisError, RedisResult, Value};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinSet, unconstrained};

use super::super::command::{Command, Failure, Reply};
use super::connect::Facts;
use super::keys::Names;
use super::read::{self, Form, Malformed};
use super::write::{Written, subscribe, write};
use super::{Event, Target};

/// A connection. It ends when it is dropped.
pub struct Connection {
    redis: MultiplexedConnection,
    target: Target,
    names: Names,
    facts: Facts,
    life: Life,
    /// What is done beside it, and ends with it.
    tasks: JoinSet<()>,
}

impl Connection {
    pub(super) fn new(
        redis: MultiplexedConnection,
        target: Target,
        names: Names,
        facts: Facts,
        life: Life,
    ) -> Self {
        let own_channel = Written::One(subscribe(names.node(target.node)));
        let answer = Box::pin(unconstrained(ask(redis.clone(), own_channel)));
        life.lock().begin(&facts.branch, Asked { number: None, form: Form::Done, answer });
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let life = life.clone();
            future::poll_fn(move |cx| life.lock().poll(cx))
        });
        Self { redis, target, names, facts, life, tasks }
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
        let written = write(&command, &self.names, &self.target);
        let form = Form::of(command, self.target.history);
        let answer = Box::pin(unconstrained(ask(self.redis.clone(), written)));
        self.life.lock().ask(Asked { number: Some(number), form, answer });
    }

    /// What the engine said of itself when the connection was made.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
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
    pub(super) fn new(target: &Target, names: &Names, events: UnboundedSender<Event>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            names: names.clone(),
            own_channel: names.node(target.node).into(),
            events,
            asked: VecDeque::new(),
            branch: Box::default(),
            waker: Waker::noop().clone(),
            is_live: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncPushSender for Life {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        self.lock().hear(info);
        Ok(())
    }
}

/// A command whose answer has not come.
struct Asked {
    /// As the answer is told; `None`, if nobody waits for it.
    number: Option<u64>,
    form: Form,
    answer: Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>,
}

struct Inner {
    names: Names,
    own_channel: Box<str>,
    events: UnboundedSender<Event>,
    /// In the order in which the engine answers.
    asked: VecDeque<Asked>,
    branch: Box<str>,
    waker: Waker,
    /// Whether anything is told: neither while the engine is looked at, nor after the end.
    is_live: bool,
}

impl Inner {
    fn begin(&mut self, branch: &str, first: Asked) {
        self.branch = branch.into();
        self.is_live = true;
        self.ask(first);
    }

    /// Sends a command by polling for its answer. The way to the crate's task has no bound, so the
    /// first poll has put it there, and the order is that of the calls.
    fn ask(&mut self, mut asked: Asked) {
        if !self.is_live {
            return;
        }
        let is_gone = asked.answer.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready();
        self.asked.push_back(asked);
        if is_gone {
            // Only because nobody is there who could send it.
            let last = self.asked.pop_back();
            self.settle();
            self.asked.extend(last);
            self.end("nothing can be sent any more");
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.clone_from(cx.waker());
        self.settle();
        if self.is_live { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Tells all answers that have come.
    fn settle(&mut self) {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        while let Some(first) = self.asked.front_mut()
            && let Poll::Ready(answer) = first.answer.as_mut().poll(&mut cx)
        {
            let Some(Asked { number, form, .. }) = self.asked.pop_front() else { return };
            match self.read(&form, answer) {
                Ok(result) => self.answer(number, result),
                Err(why) => {
                    self.answer(number, Err(Failure::Lost));
                    return self.end(&why);
                }
            }
        }
    }

    fn answer(&mut self, number: Option<u64>, result: Result<Reply, Failure>) {
        match (number, result) {
            (Some(number), result) => self.tell(Event::Answered { number, result }),
            (None, Err(failure)) => self.end(&format!("its own channel is refused: {failure:?}")),
            (None, Ok(_)) => {}
        }
    }

    fn read(
        &mut self,
        form: &Form,
        answer: RedisResult<Value>,
    ) -> Result<Result<Reply, Failure>, String> {
        let value = match answer {
            Ok(value) => value,
            Err(error) => return refused(error).map(Err),
        };
        read::reply(form, value, &mut self.branch)
            .map_err(|Malformed(what)| format!("the engine's answer has another form: {what}"))
    }

    fn hear(&mut self, PushInfo { kind, data }: PushInfo) {
        self.settle();
        if !self.is_live {
            return;
        }
        match kind {
            PushKind::SMessage => match read::pushed(data, &self.names, &self.own_channel) {
                Ok(pushed) => {
                    if let Some(pushed) = pushed {
                        self.tell(Event::Pushed(pushed));
                    }
                }
                Err(Malformed(what)) => self.end(&format!("it has another form: {what}")),
            },
            // The crate takes it for the answer of what was asked first, so if nobody has asked for
            // it all later answers belong to others. A slot has moved, or rights were taken away.
            PushKind::SUnsubscribe if !self.is_asked_for(&data) => {
                self.end("the engine has ended a subscription");
            }
            PushKind::Disconnection => self.end("the engine has closed the connection"),
            _ => {}
        }
    }

    fn is_asked_for(&self, data: &[Value]) -> bool {
        let topic = read::unsubscribed(data).and_then(|channel| self.names.topic_of(channel));
        // What was asked before it and is not answered yet was asked a second time, behind it.
        let asked = self.asked.iter().find_map(|asked| match &asked.form {
            Form::Unsubscribed(topic) => Some(&**topic),
            _ => None,
        });
        topic.is_some() && topic == asked
    }

    fn end(&mut self, why: &str) {
        if !self.is_live {
            return;
        }
        self.is_live = false;
        for number in std::mem::take(&mut self.asked).into_iter().filter_map(|asked| asked.number) {
            self.tell(Event::Answered { number, result: Err(Failure::Lost) });
        }
        self.tell(Event::Ended { why: why.into() });
    }

    /// The end, of which nobody is told.
    fn forget(&mut self) {
        self.is_live = false;
        self.asked.clear();
    }

    fn tell(&self, event: Event) {
        // Whoever does not listen any more will drop the connection.
        let _ = self.events.send(event);
    }
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

//! Which server is the primary: what sentinels say, each time it has to be known.
//!
//! ```text
//!            ┌── sentinel: 3, one:6379
//!   ask ─────┼── sentinel: 4, two:6379     the last failover is known best by the greatest number
//!            └── sentinel: silent
//! ```
//!
//! Sentinels number failovers (`config-epoch`), and among themselves the greatest number counts. It
//! does here too: a sentinel that is cut off with an old primary goes on to name that, and must not
//! be believed while another one knows better. So all are asked at once, and one that is silent
//! holds nobody up.
//!
//! Deliberately absent: whether a server is what sentinels say of it. It is asked that itself.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, RedisError, RedisResult};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{self, MissedTickBehavior};

use super::address::Service;
use super::connect::{ConnectError, unfit};

/// How many sentinels are asked that are not configured. Sentinels forget none that has gone.
const NAMED_MAX: usize = 16;

/// What a sentinel's user must be allowed to do.
const RIGHTS: &str = "ACL SETUSER NAME +sentinel|master +sentinel|get-master-addr-by-name \
                      +sentinel|sentinels";

/// Where a server is, as sentinels say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    host: String,
    port: u16,
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What one sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    /// The number of the last failover that it knows of.
    epoch: u64,
    /// Where the primary is since then.
    primary: Place,
}

/// What sentinels have said, of those that were asked.
#[derive(Debug, Default)]
struct Heard {
    words: Vec<Word>,
    failures: Vec<ConnectError>,
}

impl Heard {
    fn add(&mut self, said: Result<Word, ConnectError>) {
        match said {
            Ok(word) => self.words.push(word),
            Err(failure) => self.failures.push(failure),
        }
    }

    /// What whoever knows of the last failover says. Where two say otherwise of the same one, who
    /// names `ours` is right: one of them names it in another way, or is just about to number it.
    fn newest(&self, ours: Option<&Place>) -> Option<&Word> {
        self.words.iter().max_by_key(|word| (word.epoch, Some(&word.primary) == ours))
    }

    /// The same, or why nobody has said anything.
    fn conclude(self, ours: Option<&Place>) -> Result<Word, ConnectError> {
        if let Some(word) = self.newest(ours) {
            return Ok(word.clone());
        }
        Err(ConnectError::all("no sentinel names the primary", self.failures))
    }
}

/// A sentinel, and the connection to it.
struct Sentinel {
    info: ConnectionInfo,
    is_configured: bool,
    line: Option<MultiplexedConnection>,
}

/// What a sentinel has answered.
struct Answer {
    line: MultiplexedConnection,
    word: Word,
    /// The others that it knows.
    named: Vec<Place>,
}

/// The answers of all that are asked, as they come: whose, and what.
type Round = JoinSet<(usize, Result<Answer, ConnectError>)>;

/// The sentinels of a service.
pub(super) struct Sentinels {
    service: Arc<Service>,
    known: Vec<Sentinel>,
    /// Others that those have named.
    named: Vec<Place>,
    /// The number of the last failover that is known.
    epoch: u64,
    /// How many have answered when all were asked.
    answering: Arc<AtomicU32>,
    /// Whether it was told that none has.
    is_silent: bool,
}

impl Sentinels {
    pub(super) fn new(service: Service) -> Self {
        let configured = service.sentinels.iter().cloned();
        let known = configured.map(|info| Sentinel { info, is_configured: true, line: None });
        Self {
            known: known.collect(),
            service: Arc::new(service),
            named: Vec::new(),
            epoch: 0,
            answering: Arc::default(),
            is_silent: false,
        }
    }

    /// How many have answered when all were asked last.
    pub(super) fn answering(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.answering)
    }

    /// Where the primary is, and how it is connected to. The first sentinel that knows of the last
    /// failover is believed.
    pub(super) async fn primary(
        &mut self,
        timeout: Duration,
    ) -> Result<(Place, ConnectionInfo), ConnectError> {
        let known = self.epoch;
        let Word { primary, .. } = self.ask(None, timeout, |word| word.epoch >= known).await?;
        let info = self.service.server_at(&primary.host, primary.port);
        Ok((primary, info))
    }

    /// Where the primary is, if it is not there any more. All sentinels are asked, unless one knows
    /// of another failover.
    async fn moved(&mut self, from: &Place, timeout: Duration) -> Option<Place> {
        let known = self.epoch;
        let said = self.ask(Some(from), timeout, |word| word.epoch > known).await;
        let was_silent = std::mem::replace(&mut self.is_silent, said.is_err());
        match said {
            Ok(word) => Some(word.primary).filter(|primary| primary != from),
            Err(failure) if !was_silent => {
                let why = failure.into_why();
                tracing::warn!(%why, "a failover would not be noticed");
                None
            }
            Err(_) => None,
        }
    }

    /// Asks all, until one has said `enough`. What whoever knows best has said.
    async fn ask(
        &mut self,
        ours: Option<&Place>,
        timeout: Duration,
        enough: impl Fn(&Word) -> bool,
    ) -> Result<Word, ConnectError> {
        let mut round = self.begin(timeout);
        let mut heard = Heard::default();
        while let Some(answered) = round.join_next().await {
            let (index, answer) = answered.expect("no task of it is ended, and none panics");
            heard.add(self.note(index, answer));
            if heard.newest(ours).is_some_and(&enough) {
                break;
            }
        }
        if round.is_empty() {
            let count = u32::try_from(heard.words.len()).expect("few");
            self.answering.store(count, Ordering::Relaxed);
        }
        let word = heard.conclude(ours)?;
        self.epoch = word.epoch;
        Ok(word)
    }

    /// Lets go of those that are not configured and do not answer, and takes in those that were
    /// named. Where nobody was named, nobody is let go of: it may be the last one that is left.
    fn renew(&mut self) {
        if self.named.is_empty() {
            return;
        }
        self.known.retain(|sentinel| sentinel.is_configured || sentinel.line.is_some());
        for Place { host, port } in std::mem::take(&mut self.named) {
            let info = self.service.sentinel_at(&host, port);
            let is_known = self.known.iter().any(|known| known.info.addr() == info.addr());
            if !is_known && self.known.len() < self.service.sentinels.len() + NAMED_MAX {
                self.known.push(Sentinel { info, is_configured: false, line: None });
            }
        }
    }

    /// Asks all that are known.
    fn begin(&mut self, timeout: Duration) -> Round {
        self.renew();
        let mut round = JoinSet::new();
        for (index, Sentinel { info, line, .. }) in self.known.iter().enumerate() {
            let (info, line, service) = (info.clone(), line.clone(), Arc::clone(&self.service));
            round.spawn(async move {
                let place = info.addr().to_string();
                let asked = time::timeout(timeout, ask(info, line, &service.name)).await;
                let answer = asked
                    .map_err(|_| ConnectError::silent(timeout))
                    .and_then(|answer| answer.map_err(|error| refused(&error, &service.name)));
                (index, answer.map_err(|failure| failure.at(&place)))
            });
        }
        round
    }

    /// Takes an answer, and keeps its connection for the next one.
    fn note(
        &mut self,
        index: usize,
        answer: Result<Answer, ConnectError>,
    ) -> Result<Word, ConnectError> {
        let sentinel = &mut self.known[index];
        // A connection that has failed, or is late, is not asked again.
        sentinel.line = None;
        let Answer { line, word, named } = answer?;
        sentinel.line = Some(line);
        for place in named {
            if !self.named.contains(&place) {
                self.named.push(place);
            }
        }
        Ok(word)
    }
}

/// Asks sentinels again and again, and returns as soon as the primary is another one than `from`:
/// that one may still answer.
pub(super) async fn moved(sentinels: &Mutex<Sentinels>, from: &Place, every: Duration) -> Place {
    let mut turns = time::interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        // Whoever has not answered by then is asked once more.
        if let Some(primary) = sentinels.lock().await.moved(from, every).await {
            return primary;
        }
    }
}

async fn ask(
    info: ConnectionInfo,
    line: Option<MultiplexedConnection>,
    service: &str,
) -> RedisResult<Answer> {
    let mut line = match line {
        Some(line) => line,
        None => open(info).await?,
    };
    let sentinel = |what: &str| {
        let mut command = redis::cmd("SENTINEL");
        command.arg(what).arg(service);
        command
    };
    // In this order: the place is at least as new as its number. `MASTER` has a place too, which is
    // still the old one while the sentinel that leads a failover has its new number already.
    let facts: HashMap<String, String> = sentinel("MASTER").query_async(&mut line).await?;
    let (host, port) = sentinel("GET-MASTER-ADDR-BY-NAME").query_async(&mut line).await?;
    let others: Vec<HashMap<String, String>> = sentinel("SENTINELS").query_async(&mut line).await?;
    let named = others.iter().filter_map(|other| {
        Some(Place { host: other.get("ip")?.clone(), port: other.get("port")?.parse().ok()? })
    });
    let epoch = facts.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
    let word = Word { epoch, primary: Place { host, port } };
    Ok(Answer { line, word, named: named.collect() })
}

async fn open(info: ConnectionInfo) -> RedisResult<MultiplexedConnection> {
    // Deadlines are those of whoever asks.
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
}

/// Why a sentinel says nothing, and what is to be done.
fn refused(error: &RedisError, service: &str) -> ConnectError {
    let why = error.to_string();
    let is = |text| why.to_lowercase().contains(text);
    match error.code() {
        Some("NOAUTH" | "WRONGPASS") => {
            unfit(format!("{why}: set sentinel_user and sentinel_password in engine.url"))
        }
        Some("NOPERM") => unfit(format!("{why}: {RIGHTS}")),
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            unfit(format!("{why}: set sentinel_user and sentinel_password in engine.url"))
        }
        _ if is("no such master") => unfit(format!(
            "it knows no service {service}: SENTINEL MASTERS lists those that it knows"
        )),
        _ if is("unknown command") => unfit(format!("{why}: it is no sentinel")),
        _ => ConnectError::Passing(why.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(port: u16) -> Place {
        Place { host: "127.0.0.1".to_owned(), port }
    }

    fn heard(words: &[(u64, u16)]) -> Heard {
        let word = |&(epoch, port)| Word { epoch, primary: place(port) };
        Heard { words: words.iter().map(word).collect(), failures: Vec::new() }
    }

    #[test]
    fn whoever_knows_of_the_last_failover_is_believed_whenever_it_speaks() {
        for words in [&[(3, 1), (4, 2)][..], &[(4, 2), (3, 1)], &[(3, 1), (4, 2), (3, 1)]] {
            for ours in [None, Some(&place(1)), Some(&place(2))] {
                let newest = heard(words).newest(ours).map(|word| word.primary.port);
                assert_eq!(newest, Some(2), "{words:?}");
            }
        }
    }

    #[test]
    fn of_one_failover_nobody_is_believed_who_names_another_place_than_where_we_are() {
        for words in [&[(4, 1), (4, 2)][..], &[(4, 2), (4, 1)], &[(4, 2), (4, 1), (4, 2)]] {
            for ours in [1, 2] {
                let newest = heard(words).newest(Some(&place(ours))).map(|word| word.primary.port);
                assert_eq!(newest, Some(ours), "{words:?}");
            }
        }
    }

    #[test]
    fn who_is_not_answered_goes_on_without_them_and_only_all_together_refuse() {
        let passing = || ConnectError::Passing("one: away".into());
        let refusal = || unfit("two: who?");
        let conclude =
            |failures: Vec<ConnectError>, words| Heard { failures, ..heard(words) }.conclude(None);
        assert!(conclude(vec![passing(), refusal()], &[(0, 1)]).is_ok());
        let why = "no sentinel names the primary: one: away; two: who?".into();
        assert_eq!(conclude(vec![passing(), refusal()], &[]), Err(ConnectError::Passing(why)));
        let why = "no sentinel names the primary: two: who?";
        assert_eq!(conclude(vec![refusal()], &[]), Err(unfit(why)));
    }
}

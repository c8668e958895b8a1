//! From an address to a connection: to one server, or to all primaries of a cluster.
//!
//! Deliberately absent: whether rooms can be kept there (`fit`).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, RedisError};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time;

use super::address::Address;
use super::cluster::{self, Nodes};
#[cfg(any(feature = "archive-postgres", feature = "store"))]
use super::events::events;
use super::fit::{Facts, check_config, check_rights, laid_out_otherwise, look, secret};
use super::keys::Names;
use super::life::{Connection, Ear, Life};
use super::sentinel::{self, Sentinels};
use super::slots::{Slots, slot};
use super::{Target, Teller};

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Rooms cannot be kept there before somebody has changed something: what that is.
    Unfit(Box<str>),
    /// It may be better later.
    Passing(Box<str>),
}

impl ConnectError {
    /// Why, whatever follows from that.
    #[must_use]
    pub fn into_why(self) -> Box<str> {
        let (Self::Unfit(why) | Self::Passing(why)) = self;
        why
    }

    /// Nothing was answered in time.
    pub(super) fn silent(timeout: Duration) -> Self {
        Self::Passing(format!("it has not answered in {} ms", timeout.as_millis()).into())
    }

    /// None of several servers leads anywhere: that may pass as soon as it may for one of them.
    pub(super) fn all(what: &str, failures: Vec<Self>) -> Self {
        let passes = failures.iter().any(|failure| matches!(failure, Self::Passing(_)));
        let whys: Vec<_> = failures.into_iter().map(Self::into_why).collect();
        let why = format!("{what}: {}", whys.join("; "));
        if passes { Self::Passing(why.into()) } else { unfit(why) }
    }

    /// The same, of one server among others.
    pub(super) fn at(self, place: impl Display) -> Self {
        let named = |why| format!("{place}: {why}").into();
        match self {
            Self::Unfit(why) => Self::Unfit(named(why)),
            Self::Passing(why) => Self::Passing(named(why)),
        }
    }
}

/// Makes connections to an engine, one after another.
#[derive(Clone)]
pub struct Connector {
    target: Target,
    way: Way,
    sentinels_answering: Arc<AtomicU32>,
}

/// How it is known where the engine is.
#[derive(Clone)]
enum Way {
    /// It is there, always.
    Server(Box<ConnectionInfo>),
    /// Sentinels are asked, each time anew.
    Sentinels(Arc<Mutex<Sentinels>>),
    /// So are nodes of a cluster.
    Cluster(Arc<Mutex<Nodes>>),
}

/// Wires to all primaries, each with what that says of itself.
pub(super) struct Made {
    /// Hears what comes on them, and tells nobody before it begins.
    pub(super) life: Life,
    pub(super) slots: Slots,
    pub(super) wires: Vec<(MultiplexedConnection, Facts)>,
    /// What all nodes sign by that have no key of their own.
    pub(super) secret: [u8; 32],
}

impl Made {
    /// The wire to whoever has a slot.
    pub(super) fn wire_of(&mut self, slot: u16) -> &mut (MultiplexedConnection, Facts) {
        &mut self.wires[usize::from(self.slots.primary_of(slot))]
    }
}

impl Connector {
    /// One for this engine.
    ///
    /// # Errors
    ///
    /// If its address is none.
    pub fn new(target: Target) -> Result<Self, ConnectError> {
        let (way, sentinels_answering) = match Address::parse(&target.url)? {
            Address::Server(info) => (Way::Server(Box::new(info)), Arc::default()),
            Address::Service(service) => {
                let sentinels = Sentinels::new(service);
                let answering = sentinels.answering();
                (Way::Sentinels(Arc::new(Mutex::new(sentinels))), answering)
            }
            Address::Cluster(nodes) => {
                (Way::Cluster(Arc::new(Mutex::new(Nodes::new(nodes)))), Arc::default())
            }
        };
        Ok(Self { target, way, sentinels_answering })
    }

    /// What all nodes sign by is this from now on: an engine that comes back empty is given it
    /// again.
    pub fn keep_secret(&mut self, secret: [u8; 32]) {
        self.target.made_secret = secret;
    }

    /// How many sentinels have answered when all were asked last; 0, if the engine has none.
    #[must_use]
    pub fn sentinels_answering(&self) -> u32 {
        self.sentinels_answering.load(Ordering::Relaxed)
    }

    /// Connects to the engine, and sees to it that rooms can be kept there. All that happens on the
    /// connection is told to `events`, in order. Runs on a current-thread runtime.
    ///
    /// # Errors
    ///
    /// Those of [`ConnectError`]; of a connection that was not made nothing is told to `events`.
    pub async fn connect(&self, events: Teller) -> Result<Connection, ConnectError> {
        let names = Names::new(&self.target);
        let begin = |made| Connection::new(made, self.target.clone(), names.clone());
        let every = Duration::from_millis(self.target.ping_ms);
        let mut connection = match &self.way {
            Way::Server(info) => begin(self.made_of_one(&names, info, &events).await?),
            Way::Sentinels(sentinels) => {
                let (primary, info) = sentinels.lock().await.primary(self.timeout()).await?;
                let made = tokio::select! {
                    made = self.made_of_one(&names, &info, &events) => made,
                    // It hangs, and is given up meanwhile.
                    other = sentinel::moved(sentinels, &primary, every) => {
                        Err(ConnectError::Passing(format!("by now they name {other}").into()))
                    }
                };
                let place = format!("{primary}, which sentinels name as primary");
                let mut connection = begin(made.map_err(|failure| failure.at(place))?);
                let sentinels = Arc::clone(sentinels);
                connection.end_when(async move {
                    let other = sentinel::moved(&sentinels, &primary, every).await;
                    format!("sentinels name {other} as primary, and no more {primary}")
                });
                connection
            }
            Way::Cluster(nodes) => {
                let made = self.made_of_cluster(&names, &mut *nodes.lock().await, &events).await;
                let mut connection = begin(made?);
                let dead = Duration::from_millis(self.target.dead_ms);
                let ours = names.slots(self.target.node);
                connection.end_when(cluster::changed(&connection, &ours, (every, dead)));
                connection
            }
        };
        let config = names.config();
        let wire = connection.wire_of(slot(&config));
        connection.end_when(laid_out_otherwise(wire, config, every));
        Ok(connection)
    }

    /// Connects as well, for whoever waits for each answer, and hears nothing else.
    ///
    /// # Errors
    ///
    /// Those of [`ConnectError`].
    #[cfg(any(feature = "archive-postgres", feature = "store"))]
    pub(super) async fn connect_to_ask(&self, names: &Names) -> Result<Made, ConnectError> {
        let (events, _) = events(usize::MAX);
        match &self.way {
            Way::Server(info) => self.made_of_one(names, info, &events).await,
            Way::Sentinels(sentinels) => {
                let info = sentinels.lock().await.primary(self.timeout()).await?.1;
                self.made_of_one(names, &info, &events).await
            }
            Way::Cluster(nodes) => {
                self.made_of_cluster(names, &mut *nodes.lock().await, &events).await
            }
        }
    }

    /// The wire to a server that is no part of a cluster.
    async fn made_of_one(
        &self,
        names: &Names,
        info: &ConnectionInfo,
        events: &Teller,
    ) -> Result<Made, ConnectError> {
        let life = Life::new(&self.target, names, events.clone());
        self.in_time(async {
            let (mut redis, facts) = made(info.clone(), &self.target, life.ear(0), false).await?;
            check_rights(&mut redis, &names.any_in(|_| true), &self.target).await?;
            self.agree(names, life, Slots::of_one(), vec![(redis, facts)]).await
        })
        .await
    }

    /// The wires to all primaries of a cluster, of which all must agree who has our slots.
    async fn made_of_cluster(
        &self,
        names: &Names,
        nodes: &mut Nodes,
        events: &Teller,
    ) -> Result<Made, ConnectError> {
        let mut answers = nodes.ask(self.timeout());
        let (mut failures, mut tried) = (Vec::new(), Vec::new());
        while let Some((place, answer)) = answers.next().await {
            match answer {
                Ok(slots) if !tried.contains(&slots) => {
                    let servers = cluster::primaries(&place, &slots);
                    match self.in_time(self.made_by(names, &slots, servers, events)).await {
                        Err(ConnectError::Passing(why)) => {
                            failures.push(ConnectError::Passing(why));
                        }
                        made => return made.inspect(|_| nodes.learn(&place, &slots)),
                    }
                    tried.push(slots);
                }
                Ok(_) => {}
                Err(failure) => failures.push(failure),
            }
        }
        Err(ConnectError::all("no node of the cluster leads to all primaries", failures))
    }

    async fn made_by(
        &self,
        names: &Names,
        slots: &Slots,
        servers: Vec<ConnectionInfo>,
        events: &Teller,
    ) -> Result<Made, ConnectError> {
        let life = Life::new(&self.target, names, events.clone());
        let mut making = JoinSet::new();
        for (number, info) in (0..).zip(servers) {
            let (target, slots, ear) = (self.target.clone(), slots.clone(), life.ear(number));
            let ours = names.slots(target.node);
            let any = names.any_in(|slot| slots.primary_of(slot) == number);
            making.spawn(async move {
                let place = info.addr().to_string();
                let making = async {
                    let (mut redis, facts) = made(info, &target, ear, true).await?;
                    check_rights(&mut redis, &any, &target).await?;
                    cluster::check_agrees(&mut redis, &slots, &ours).await?;
                    Ok((redis, facts))
                };
                (number, making.await.map_err(|failure: ConnectError| failure.at(place)))
            });
        }
        let mut wires = BTreeMap::new();
        while let Some(made) = making.join_next().await {
            let (number, made) = made.expect("no task of it is ended, and none panics");
            wires.insert(number, made?);
        }
        self.agree(names, life, slots.clone(), wires.into_values().collect()).await
    }

    /// Sees to it that what all nodes must agree on is what this one has.
    async fn agree(
        &self,
        names: &Names,
        life: Life,
        slots: Slots,
        wires: Vec<(MultiplexedConnection, Facts)>,
    ) -> Result<Made, ConnectError> {
        let mut made = Made { life, slots, wires, secret: [0; 32] };
        let (redis, _) = made.wire_of(slot(&names.config()));
        check_config(redis, names, &self.target).await?;
        made.secret = secret(redis, names, &self.target).await?;
        Ok(made)
    }

    async fn in_time(
        &self,
        making: impl Future<Output = Result<Made, ConnectError>>,
    ) -> Result<Made, ConnectError> {
        let made = time::timeout(self.timeout(), making).await;
        made.unwrap_or_else(|_| Err(ConnectError::silent(self.timeout())))
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.target.timeout_ms)
    }
}

/// Makes a wire to a server that rooms can be kept in.
async fn made(
    info: ConnectionInfo,
    target: &Target,
    ear: Ear,
    is_in_cluster: bool,
) -> Result<(MultiplexedConnection, Facts), ConnectError> {
    let config = AsyncConnectionConfig::new()
        .set_push_sender(ear)
        // Deadlines are those of whoever asks.
        .set_connection_timeout(None)
        .set_response_timeout(None)
        // Sending never waits, so that it keeps its order. Whoever asks bounds what is under way.
        .set_pipeline_buffer_size(tokio::sync::Semaphore::MAX_PERMITS);
    let place = info.addr().to_string().into();
    let client = Client::open(info).map_err(|error| not_made(&error))?;
    let mut redis = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| not_made(&error))?;
    let facts = look(&mut redis, target, is_in_cluster).await?;
    Ok((redis, Facts { place, ..facts }))
}

/// An error of the crate, before there is a connection.
pub(super) fn not_made(error: &RedisError) -> ConnectError {
    let why = error.to_string();
    match error.kind() {
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => unfit(why),
        ErrorKind::RESP3NotSupported => unfit(format!("{why}: Redis 7.0 or newer is needed")),
        _ => match error.code() {
            Some("WRONGPASS" | "NOAUTH" | "NOPERM") => unfit(why),
            _ => ConnectError::Passing(why.into()),
        },
    }
}

pub(super) fn unfit(why: impl Into<Box<str>>) -> ConnectError {
    ConnectError::Unfit(why.into())
}

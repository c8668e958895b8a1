//! Clients that poll: between such a client and the server stands a relay, which posts the messages
//! in the client's frames and brings it those of each poll, so that all else is the same as with a
//! socket, and checked by the same checks.
//!
//! It keeps two connections, perhaps to two shards, neither of which need be the session's own: one
//! polls all the time, the other posts, one request after the other, as `phoenix.js` does. There
//! are no close frames: a session that is lost is found so by the next poll.
//!
//! The connection that polls may break with an answer on it. Then the relay does what browsers do
//! (RFC 9110, 9.2.2): it asks the same again on another one, and says nothing of that to anybody.
//!
//! What it does not model, and which test could notice: the timers of a stock client, and which
//! transport it chooses (`tests/clients/longpoll.test.js`).

use std::collections::VecDeque;

use data_encoding::BASE64;
use serde_json::Value;

use crate::client::Client;
use crate::faults::Bug;
use crate::frames::{Frame, TEXT, take_answer, take_message};
use crate::progress::Progress;
use crate::site::token;
use crate::world::World;

/// How many bytes a request with several messages may have. A message that is longer goes alone.
const BATCH_BYTES: usize = 16 * 1_024;

/// What stands between a client and the server.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) poll: Way,
    pub(crate) post: Way,
    /// What every request names: the version, and whose session it is to be.
    query: String,
    /// Known from the first answer on.
    session: Option<String>,
    /// Frames that are not whole, and messages with their opcodes that wait to be posted.
    frames: Vec<u8>,
    waiting: VecDeque<(u8, Vec<u8>)>,
    is_posting: bool,
}

/// One of its connections.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) host: usize,
    pub(crate) pipe: usize,
    heard: Vec<u8>,
}

impl Way {
    fn new(host: usize, pipe: usize) -> Self {
        Self { host, pipe, heard: Vec::new() }
    }
}

/// What has come of an answer.
enum News {
    Nothing,
    Messages(Vec<Value>),
    /// The session is gone, or never was.
    Lost,
}

impl Relay {
    fn request(&self, method: &str, in_header: bool, body: Option<(&str, &[u8])>) -> Vec<u8> {
        let session = self.session.as_deref().unwrap_or_default();
        let (header, parameter) = match (session, in_header) {
            ("", _) => (String::new(), String::new()),
            (_, true) => (format!("X-Phoenix-LongPoll-Token: {session}\r\n"), String::new()),
            (_, false) => (String::new(), format!("&token={session}")),
        };
        let (kind, body) = body.unwrap_or_default();
        let mut bytes = format!(
            "{method} /socket/longpoll?{}{parameter} HTTP/1.1\r\nHost: chat.example\r\n{header}{kind}Content-Length: {}\r\n\r\n",
            self.query,
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// The body of the next request, and the header that says what it is: one message as it is, or
    /// several, a line each.
    fn batch(&mut self) -> Option<(&'static str, Vec<u8>)> {
        let (opcode, first) = self.waiting.pop_front()?;
        if opcode == TEXT && first.contains(&b'\n') {
            return Some(("", first));
        }
        let mut body = line(opcode, &first);
        while let Some((opcode, next)) = self.waiting.front() {
            if body.len() + next.len() > BATCH_BYTES || next.contains(&b'\n') {
                break;
            }
            body.push(b'\n');
            body.extend(line(*opcode, next));
            self.waiting.pop_front();
        }
        Some(("Content-Type: application/x-ndjson\r\n", body))
    }

    /// What the answer to a poll says.
    fn polled(&mut self, body: &Value) -> News {
        match body["status"].as_u64().expect("a status") {
            410 if self.session.is_none() => {
                self.session =
                    Some(body["token"].as_str().expect("a session has a token").to_owned());
                News::Nothing
            }
            200 | 204 => {
                let messages = body["messages"].as_array().expect("messages").clone();
                assert_eq!(messages.is_empty(), body["status"] == 204, "204 is for nothing");
                let token = body["token"].as_str().map(str::to_owned);
                let is_same = token == self.session;
                assert_eq!(is_same, messages.is_empty(), "a token says which answers were had");
                self.session = token;
                News::Messages(messages)
            }
            403 | 500 => News::Lost,
            other => panic!("a poll is not answered with {other}"),
        }
    }

    /// What the answer to a post says.
    fn posted(&mut self, body: &Value) -> News {
        assert!(std::mem::take(&mut self.is_posting), "an answer is to what was asked");
        match body["status"].as_u64().expect("a status") {
            200 => News::Nothing,
            // The session may have ended in the midst of it, for what it said.
            400 | 410 | 503 => News::Lost,
            other => panic!("a post is not answered with {other}"),
        }
    }
}

fn line(opcode: u8, message: &[u8]) -> Vec<u8> {
    if opcode == TEXT { message.to_vec() } else { BASE64.encode(message).into_bytes() }
}

impl World {
    /// Has a client that polls begin a session, by way of these shards.
    pub(crate) fn begin_session(
        &mut self,
        client: usize,
        (host, other): (usize, usize),
        expires_at_s: u64,
    ) -> Option<Relay> {
        let poll = Way::new(host, self.open(host)?);
        let Some(pipe) = self.open(other) else {
            self.hosts[host].net.pipes[poll.pipe].client_fin = true;
            return None;
        };
        let Client { v1, user, .. } = self.clients[client];
        let vsn = if v1 { "1.0.0" } else { "2.0.0" };
        let query = format!("vsn={vsn}&token={}", token(user, expires_at_s));
        let relay = Relay {
            poll,
            post: Way::new(other, pipe),
            query,
            session: None,
            frames: Vec::new(),
            waiting: VecDeque::new(),
            is_posting: false,
        };
        let request = relay.request("GET", false, None);
        self.hosts[host].net.pipes[relay.poll.pipe].to_server.extend_from_slice(&request);
        Some(relay)
    }

    /// Takes what a client writes, and posts it when its turn has come.
    pub(crate) fn relay(&mut self, client: usize, bytes: &[u8]) {
        let relay = self.relay_of(client);
        relay.frames.extend_from_slice(bytes);
        while let Some(message) = take_message(&mut relay.frames) {
            relay.waiting.push_back(message);
        }
        self.post(client);
    }

    fn relay_of(&mut self, client: usize) -> &mut Relay {
        let link = self.clients[client].link.as_mut();
        link.and_then(|link| link.relay.as_deref_mut()).expect("it has a session")
    }

    fn post(&mut self, client: usize) {
        let in_header = self.draws.one_in(2);
        let relay = self.relay_of(client);
        if relay.is_posting || relay.session.is_none() {
            return;
        }
        let (host, pipe) = (relay.post.host, relay.post.pipe);
        if self.hosts[host].net.pipes[pipe].gone {
            // Nobody keeps a connection for ever on which nothing is asked.
            self.hosts[host].net.pipes[pipe].client_fin = true;
            let other = self.draws.index(self.hosts.len());
            let Some(pipe) = self.open(other) else { return };
            self.relay_of(client).post = Way::new(other, pipe);
        }
        let relay = self.relay_of(client);
        let Some((kind, body)) = relay.batch() else { return };
        relay.is_posting = true;
        let request = relay.request("POST", in_header, Some((kind, &body)));
        let (host, pipe) = (relay.post.host, relay.post.pipe);
        self.hosts[host].net.pipes[pipe].to_server.extend_from_slice(&request);
        self.truth.saw("posted");
    }

    /// Brings at most so many bytes to a client's relay, or the end of them. False if there is
    /// nothing.
    pub(crate) fn bring_to_relay(&mut self, client: usize, most: usize) -> bool {
        let relay = self.relay_of(client);
        let ways = [(relay.poll.host, relay.poll.pipe), (relay.post.host, relay.post.pipe)];
        let is_heard = |(host, pipe): (usize, usize)| {
            let pipe = &self.hosts[host].net.pipes[pipe];
            // Its end is heard once.
            pipe.is_heard() && !(pipe.to_client.is_empty() && pipe.client_fin)
        };
        let is_poll = match ways.map(is_heard) {
            [false, false] => return false,
            [true, true] => self.draws.one_in(2),
            [is_poll, _] => is_poll,
        };
        let (host, pipe) = ways[usize::from(!is_poll)];
        let pipe = &mut self.hosts[host].net.pipes[pipe];
        let bytes: Vec<u8> = pipe.to_client.drain(..most.min(pipe.to_client.len())).collect();
        if bytes.is_empty() {
            return self.way_ends(client, is_poll);
        }
        self.note(&bytes);
        let relay = self.relay_of(client);
        let way = if is_poll { &mut relay.poll } else { &mut relay.post };
        way.heard.extend_from_slice(&bytes);
        while let Some(answer) = self.next_answer(client, is_poll) {
            let relay = self.relay_of(client);
            let news = if is_poll { relay.polled(&answer) } else { relay.posted(&answer) };
            match news {
                News::Lost => {
                    let unix_ms = self.latest_unix_ms;
                    let link = self.clients[client].link.as_ref();
                    let has_expired = link.is_none_or(|link| link.may_have_ended(unix_ms));
                    // What waits for a poll is memory, and who holds the most of it may have to go.
                    let is_bounded = self.plan.settings.limits.memory_bytes != 0;
                    assert!(
                        !self.calm || self.draining || has_expired || is_bounded,
                        "a session that is polled is kept: {answer}"
                    );
                    self.truth.saw("session lost");
                    self.lose_link(client);
                    return true;
                }
                News::Messages(messages) => self.hear_polled(client, messages),
                News::Nothing => {}
            }
            if is_poll {
                self.poll_again(client);
            }
            self.post(client);
        }
        true
    }

    fn next_answer(&mut self, client: usize, is_poll: bool) -> Option<Value> {
        let relay = self.relay_of(client);
        let way = if is_poll { &mut relay.poll } else { &mut relay.post };
        let answer = take_answer(&mut way.heard)?;
        assert_eq!(answer.status, 200, "what became of it stands in the body");
        Some(serde_json::from_slice(&answer.body).expect("answers are JSON"))
    }

    fn hear_polled(&mut self, client: usize, messages: Vec<Value>) {
        self.truth.saw("polled");
        let (mut ears, clients) = self.ears(Progress::of_poller());
        for message in messages {
            let text = message.as_str().expect("messages are strings").to_owned();
            clients[client].hear(&mut ears, Frame::Text(text));
        }
    }

    fn poll_again(&mut self, client: usize) {
        let in_header = self.draws.one_in(2);
        let relay = self.relay_of(client);
        let request = relay.request("GET", in_header, None);
        let (host, pipe) = (relay.poll.host, relay.poll.pipe);
        let link = self.clients[client].link.as_mut().expect("it has a session");
        link.is_open = true;
        self.hosts[host].net.pipes[pipe].to_server.extend_from_slice(&request);
    }

    /// The connection by which some session is polled breaks, with whatever is on it.
    pub(crate) fn cut_poll(&mut self) {
        let client = self.draws.index(self.clients.len());
        let relay = self.clients[client].link.as_mut().and_then(|link| link.relay.as_deref_mut());
        let Some(relay) = relay.filter(|relay| relay.session.is_some()) else { return };
        let (host, pipe) = (relay.poll.host, relay.poll.pipe);
        let mut heard = std::mem::take(&mut relay.poll.heard);
        let pipe = &mut self.hosts[host].net.pipes[pipe];
        heard.append(&mut pipe.to_client);
        pipe.reset();
        pipe.window = usize::MAX;
        let lost = String::from_utf8_lossy(&heard);
        if lost.contains("\"status\":200") {
            self.truth.saw("answer lost");
        }
        let bug = self.plan.bug == Some(Bug::TakeLostForHad);
        let token = lost.split_once("\"token\":\"").filter(|_| bug);
        let token = token.and_then(|(_, token)| Some(token.split_once('"')?.0.to_owned()));
        let other = self.draws.index(self.hosts.len());
        let Some(pipe) = self.open(other) else { return self.lose_link(client) };
        let relay = self.relay_of(client);
        relay.poll = Way::new(other, pipe);
        relay.session = token.or(relay.session.take());
        let link = self.clients[client].link.as_mut().expect("it has a session");
        (link.host, link.pipe) = (other, pipe);
        self.poll_again(client);
    }

    /// A connection has ended. That may be while nothing is asked on it; otherwise it is not known
    /// what became of that, and the client begins anew.
    fn way_ends(&mut self, client: usize, is_poll: bool) -> bool {
        let relay = self.relay_of(client);
        if !is_poll && !relay.is_posting {
            let (host, pipe) = (relay.post.host, relay.post.pipe);
            self.hosts[host].net.pipes[pipe].client_fin = true;
            return true;
        }
        assert!(!self.calm || self.draining, "a request is answered");
        self.lose_link(client);
        true
    }
}

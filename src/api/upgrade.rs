//! The upgrade to a WebSocket: who may, and the answer.

use super::{Api, admit_client, client};
use crate::auth::identity::Identity;
use crate::conn::{Conns, manner};
use crate::link::ids::ConnKey;
use crate::link::io::Io;
use crate::link::outbox::Cx;
use crate::wire::http::HttpError;
use crate::wire::http::head::Head;
use crate::wire::http::origin::request_allowed;
use crate::wire::http::query::{query_param, query_params};
use crate::wire::http::response::{Manner, Response, Status};
use crate::wire::http::upgrade::{check_upgrade, push_switching_protocols, subprotocols};
use crate::wire::phx::Serializer;

/// Who a request comes from.
pub(super) struct Identified {
    pub(super) identity: Identity,
    /// Whether it asked for the subprotocol `phoenix`.
    asked_phoenix: bool,
}

/// `Http -> Echo`: turns a connection into a WebSocket that says what it hears.
pub(super) fn open_echo<I: Io>(
    cx: &mut Cx<'_, I>,
    conns: &mut Conns,
    key: ConnKey,
    head: &Head<'_>,
) {
    match check_upgrade(head) {
        Ok(accept) => {
            let out = conns.output(key.index());
            push_switching_protocols(out, &accept, false, cx.now.unix_ms);
            conns.become_echo(key);
        }
        Err(error) => {
            let manner = manner(cx, head);
            conns.respond(cx, key, manner, &error.response());
        }
    }
}

impl Api {
    /// `Http -> Unsettled`: turns a connection into a WebSocket, or says why not, without telling a
    /// stranger anything about tokens.
    pub(super) fn upgrade<I: Io>(
        &self,
        cx: &mut Cx<'_, I>,
        conns: &mut Conns,
        key: ConnKey,
        head: &Head<'_>,
    ) {
        let manner = Manner { head_only: false, ..manner(cx, head) };
        let admitted = self
            .check_vsn_and_origin(cx, key, head)
            .and_then(|serializer| Ok((serializer, self.identify(cx, head)?)));
        let (serializer, Identified { identity, asked_phoenix }) = match admitted {
            Ok(admitted) => admitted,
            Err(status) => {
                cx.metrics.unauthorized += 1;
                return conns.respond(cx, key, manner, &Response::empty(status));
            }
        };
        let accept = match check_upgrade(head) {
            Ok(accept) => accept,
            Err(error) => return conns.respond(cx, key, manner, &error.response()),
        };
        // Behind all checks: a connection that is refused stays its proxy's.
        if !admit_client(cx, key, head, key) {
            return conns.respond(cx, key, manner, &Response::empty(Status::TooManyRequests));
        }
        let out = conns.output(key.index());
        push_switching_protocols(out, &accept, asked_phoenix, cx.now.unix_ms);
        conns.become_socket(cx.now, key, identity, serializer);
        cx.metrics.upgrades += 1;
    }

    /// The check that Phoenix makes behind [`Api::check_vsn_and_origin`], before the handshake
    /// itself.
    pub(super) fn identify<I: Io>(
        &self,
        cx: &Cx<'_, I>,
        head: &Head<'_>,
    ) -> Result<Identified, Status> {
        let asked = subprotocols(head).map_err(|_| Status::Forbidden)?;
        let in_header =
            asked.token.or_else(|| head.header("x-phoenix-authtoken").map(str::to_owned));
        let query = head.query.unwrap_or_default();
        let tokens = query_params(query, "token").map_err(HttpError::status)?;
        let verify = |token: &str| self.site.identify(token, cx.now);
        // Long polling has two tokens of this name, and only one of them is a user's. No more than
        // two: each is a signature to verify, and a head has room for a hundred.
        let in_query = || tokens.iter().rev().take(2).find_map(|token| verify(token));
        let identity = match in_header {
            Some(token) => verify(&token),
            None => in_query(),
        };
        let identity = identity.ok_or(Status::Forbidden)?;
        Ok(Identified { identity, asked_phoenix: asked.phoenix })
    }

    /// The first two checks, which hold for every request of a transport.
    pub(super) fn check_vsn_and_origin<I: Io>(
        &self,
        cx: &Cx<'_, I>,
        key: ConnKey,
        head: &Head<'_>,
    ) -> Result<Serializer, Status> {
        let query = head.query.unwrap_or_default();
        let vsn = query_param(query, "vsn").map_err(HttpError::status)?;
        let serializer = Serializer::from_vsn(vsn.as_deref()).ok_or(Status::Forbidden)?;
        if !request_allowed(head, &cx.settings.origins) {
            self.site.page_refused(head, client(cx, key, head));
            return Err(Status::Forbidden);
        }
        Ok(serializer)
    }
}

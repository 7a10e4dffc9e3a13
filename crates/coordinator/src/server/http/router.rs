//! The table of routes: path and method lead to one route, and a route is its guard, its body rule, its API
//! version and its handler, registered together.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, request};
use zeroize::Zeroizing;

use super::body::{self, BodyRule};
use super::dialect::{Dialect, Refusal};
use super::envelope::Answer;
use super::guard::Guard;
use crate::core::{Coordinator, PeerCertificate};
use crate::error::ErrorKind;
use crate::server::App;

/// A request that passed its guard, with its body.
pub(in crate::server) struct Call<P> {
    /// Everything a handler may use.
    pub(in crate::server) app: Arc<App>,
    /// What the guard proved.
    pub(in crate::server) pass: P,
    /// Raw query, without `?`.
    pub(in crate::server) query: String,
    /// Body, as far as the route takes one.
    pub(in crate::server) body: Zeroizing<Vec<u8>>,
    _share: body::ReadBody,
}

impl<P> Call<P> {
    /// The use cases.
    pub(in crate::server) fn coordinator(&self) -> &Coordinator {
        &self.app.coordinator
    }
}

/// A request body of any source, so that tests need no socket.
pub(in crate::server) type RequestBody =
    http_body_util::combinators::UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What a route is given: the request and who sent it.
pub(in crate::server) struct Incoming {
    pub(in crate::server) head: request::Parts,
    pub(in crate::server) body: RequestBody,
    pub(in crate::server) peer: Option<PeerCertificate>,
    pub(in crate::server) request_id: String,
}

type Serving = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// One route.
pub(in crate::server) struct Route {
    serve: Box<dyn Fn(Arc<App>, Incoming) -> Serving + Send + Sync>,
}

impl Route {
    /// Answers a request.
    pub(in crate::server) fn serve(&self, app: Arc<App>, incoming: Incoming) -> Serving {
        (self.serve)(app, incoming)
    }
}

/// All routes of a path.
#[derive(Default)]
pub(in crate::server) struct PathRoutes {
    methods: Vec<(Method, Route)>,
}

impl PathRoutes {
    /// The route of a method.
    pub(in crate::server) fn method(&self, method: &Method) -> Option<&Route> {
        self.methods.iter().find(|(known, _)| known == method).map(|(_, route)| route)
    }

    /// The methods there are routes for.
    pub(in crate::server) fn methods(&self) -> Vec<&Method> {
        self.methods.iter().map(|(method, _)| method).collect()
    }
}

/// The table.
#[derive(Default)]
pub(in crate::server) struct Router {
    paths: HashMap<&'static str, PathRoutes>,
}

impl Router {
    /// Registers a route. Every part is required.
    pub(in crate::server) fn route<G, H, F>(
        mut self,
        method: Method,
        path: &'static str,
        dialect: Dialect,
        guard: G,
        rule: BodyRule,
        handler: H,
    ) -> Self
    where
        G: Guard,
        H: Fn(Call<G::Pass>) -> F + Send + Sync + Copy + 'static,
        F: Future<Output = Result<Answer, Refusal>> + Send + 'static,
    {
        let guard = Arc::new(guard);
        let serve = move |app: Arc<App>, incoming: Incoming| -> Serving {
            let guard = guard.clone();
            Box::pin(async move {
                let request_id = incoming.request_id.clone();
                match admit(app, &*guard, rule, dialect, path, incoming).await {
                    Ok(call) => handler(call).await.unwrap_or_else(|refusal| dialect.refuse(&refusal, &request_id)),
                    Err(answer) => *answer,
                }
            })
        };
        self.paths.entry(path).or_default().methods.push((method, Route { serve: Box::new(serve) }));
        self
    }

    /// Every route as it was registered, sorted.
    pub(in crate::server) fn routes(&self) -> Vec<(String, String)> {
        let each = self.paths.iter().flat_map(|(path, routes)| {
            routes.methods.iter().map(|(method, _)| (method.to_string(), (*path).to_owned()))
        });
        let mut routes: Vec<_> = each.collect();
        routes.sort();
        routes
    }

    /// The routes of a decoded path, with the path as it was registered.
    pub(in crate::server) fn find(&self, path: &str) -> Option<(&'static str, &PathRoutes)> {
        self.paths.get_key_value(path).map(|(path, routes)| (*path, routes))
    }
}

/// Guard first, then the body: who may not use a route cannot make the Coordinator read for it.
async fn admit<G: Guard>(
    app: Arc<App>,
    guard: &G,
    rule: BodyRule,
    dialect: Dialect,
    path: &'static str,
    incoming: Incoming,
) -> Result<Call<G::Pass>, Box<Answer>> {
    let Incoming { head, body, peer, request_id } = incoming;
    let pass = match guard.admit(&app.coordinator, peer.as_ref()).await {
        Ok(pass) => pass,
        Err(error) => {
            if error.kind == ErrorKind::Unauthorized {
                app.coordinator.note_stranger(path, &error);
            }
            body::discard_refused(body).await;
            return Err(Box::new(dialect.refuse(&error.into(), &request_id)));
        }
    };
    let query = head.uri.query().unwrap_or_default().to_owned();
    // Headers may be long and bodies slow: nobody needs the headers any more.
    drop(head);
    let mut read = body::read(body, rule, app.limits.body_times(), &app.bodies)
        .await
        .map_err(|error| Box::new(dialect.refuse_body(error, &request_id)))?;
    Ok(Call { pass, query, body: std::mem::take(&mut read.bytes), _share: read, app })
}

/// Approximate size of a request on the wire, as Prometheus' Go client counts it.
pub(in crate::server) fn request_size(head: &request::Parts) -> u64 {
    let length = head.headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    let headers: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let line = head.uri.path().len() + head.method.as_str().len() + "HTTP/1.1".len();
    u64::try_from(line + headers).unwrap_or(u64::MAX).saturating_add(length)
}

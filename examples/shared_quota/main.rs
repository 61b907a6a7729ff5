//! One quota, many processes: all copies of this program together send as many requests as an API allows, and no more.
//!
//! ```sh
//! redis-server --port 6379                                                    # in one terminal
//! cargo run --release --features sim --example hubspot_sim -- --port 8787     # in another
//!
//! export SHARED_QUOTA_KEY="a secret, the same in all processes"               # in two more
//! export SHARED_QUOTA_REDIS="redis://127.0.0.1:6379"
//! cargo run --release --features redis --example shared_quota -- --progress
//! ```
//!
//! Each of the two soon comes to half of 190 requests per 10 s, and none is refused. When one ends, the other has all. Without `--redis`
//! (or that variable) each takes the quota for its own, and the server refuses what is too much.
//!
//! [`quota`] and [`client`] are what there is to copy; the rest makes requests and counts them.

mod args;
mod counts;

use std::io::Write as _;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use clap::Parser;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt};
use tower_quota::Quota;
use tower_quota::body::HeldBody;
use tower_quota::clock::Clock;
use tower_quota::hubspot;
use tower_quota::plan::{Limit, Plan, Zone};
use tower_quota::redis::{RedisLedger, RedisOptions};
use tower_quota::stack::StackLayer;

use crate::args::Args;
use crate::counts::Counts;

/// The quota, shared with all who use the same Redis, prefix and key.
async fn quota(args: &Args) -> Result<Quota, BoxError> {
    let builder = match args.quota {
        Some(quota) => {
            let limit = Limit::rolling("burst", quota, args.window);
            Quota::builder(Plan::builder("example").limit(limit).build()?)
        }
        None => Quota::builder(hubspot::api(args.tier, Zone::UNKNOWN)),
    };
    let builder = builder.clock(clock(args.clock_skew));
    let (Some(url), Some(key)) = (&args.redis, &args.key) else {
        return Ok(builder.build());
    };
    let options = RedisOptions::new()
        .key(key.as_bytes())
        .lease(args.lease)
        .request_timeout(args.timeout)
        .on_outage(args.on_outage.into());
    let ledger = RedisLedger::connect(url, options).await?;
    Ok(builder.shared(ledger).build())
}

type Api = BoxCloneService<Request<Full<Bytes>>, StatusCode, BoxError>;

/// hyper-util's client with the layers on it.
fn client(quota: &Quota, args: &Args, counts: &Arc<Counts>) -> Api {
    let stack = match args.quota {
        Some(_) => StackLayer::new(quota),
        None => hubspot::stack(quota),
    };
    // Counted under all layers: what really goes over the wire.
    let (sends, answered) = (counts.clone(), counts.clone());
    let wire = ServiceBuilder::new()
        .map_request(move |request: Request<HeldBody<Full<Bytes>>>| {
            sends.sends(request.extensions().get());
            request
        })
        .map_result(move |result: Result<Response<_>, BoxError>| {
            answered.answered(result.as_ref().map(Response::status).ok());
            result
        })
        .timeout(args.timeout)
        .service(Client::builder(TokioExecutor::new()).build_http());
    stack
        .max_wait(PATIENCE)
        .layer(wire)
        .and_then(read)
        .boxed_clone()
}

/// A connection is used again only when the answer has been read.
async fn read<B>(response: Response<B>) -> Result<StatusCode, BoxError>
where
    B: Body<Error: Into<BoxError>>,
{
    let status = response.status();
    let body = response.into_body().collect().await;
    body.map_err(Into::into)?;
    Ok(status)
}

/// Nobody gives up here because of a long queue.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Whoever got an error does not ask again at once.
const BREATH: Duration = Duration::from_millis(200);

/// A clock that is wrong by so many seconds.
fn clock(skew: i64) -> Clock {
    let wall = Clock::system().wall();
    let by = Duration::from_secs(skew.unsigned_abs());
    let wrong = match skew {
        0 => return Clock::system(),
        1.. => wall.checked_add(by),
        _ => wall.checked_sub(by),
    };
    Clock::starting_at(wrong.unwrap_or(SystemTime::UNIX_EPOCH))
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("shared_quota: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), BoxError> {
    let quota = quota(&args).await?;
    let counts = Arc::new(Counts::new(Clock::system()));
    let work = Work {
        api: client(&quota, &args, &counts),
        request: Request::get(format!("{}{}", args.api, args.path))
            .header(AUTHORIZATION, format!("Bearer {}", args.token))
            .body(Full::default())?,
        counts: counts.clone(),
        left: Arc::new(AtomicU64::new(args.requests)),
    };
    let report = || {
        let so_far = counts.so_far(quota.shared_calls());
        say(&match args.json {
            true => so_far.to_string(),
            false => counts::text(&so_far),
        });
    };
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for _ in 0..args.concurrency {
        tasks.spawn(work.clone().run(stopped.clone()));
    }
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    let mut end = pin!(end(args.seconds));
    let (mut problem, mut is_ending) = (None, false);
    loop {
        tokio::select! {
            done = tasks.join_next() => {
                let Some(done) = done else { break };
                problem = done?.or(problem);
            }
            () = &mut end, if !is_ending => {
                is_ending = true;
                stop.send_replace(true);
            }
            _ = tick.tick(), if args.progress => report(),
        }
    }
    report();
    match problem {
        Some(problem) if !args.json => eprintln!("shared_quota: the last error: {problem}"),
        _ => {}
    }
    Ok(())
}

/// Until it is time to end: after so long, or by Ctrl-C.
async fn end(after: Option<Duration>) {
    let over = tokio::time::sleep(after.unwrap_or(Duration::MAX));
    tokio::select! {
        () = over => {}
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
}

/// One of many callers, each of which makes one request after the other.
#[derive(Clone)]
struct Work {
    api: Api,
    request: Request<Full<Bytes>>,
    counts: Arc<Counts>,
    left: Arc<AtomicU64>,
}

impl Work {
    /// Gives the last error, if there was any.
    async fn run(self, mut stopped: watch::Receiver<bool>) -> Option<BoxError> {
        let mut problem = None;
        let takes_one = |left: u64| left.checked_sub(1);
        let takes = || {
            let left = &self.left;
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, takes_one)
                .is_ok()
        };
        while !*stopped.borrow() && takes() {
            let call = self.counts.call();
            let mut request = self.request.clone();
            request.extensions_mut().insert(call.clone());
            let mut answer = pin!(self.api.clone().oneshot(request));
            let result = tokio::select! {
                result = &mut answer => result,
                // What waits is given up, and has cost nothing; what is under way is finished.
                () = is_told(&mut stopped) => match call.is_sent() {
                    true => answer.await,
                    false => break,
                },
            };
            if let Err(error) = result {
                self.counts.failed();
                problem = Some(error);
                tokio::time::sleep(BREATH).await;
            }
        }
        problem
    }
}

async fn is_told(stopped: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to tell.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// A reader that has gone away is no reason to stop.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

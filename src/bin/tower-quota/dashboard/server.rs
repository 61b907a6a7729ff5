//! The dashboard on a socket.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::rooms::Rooms;
use super::stall::Stall;

/// So many connections at a time; others wait.
const CONNECTIONS: usize = 96;
/// The head of a request comes within this time.
const HEAD: Duration = Duration::from_secs(10);
/// Who takes nothing for so long is hung up on.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a stop waits for answers that are on their way.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after a failed `accept`, which is mostly a lack of file descriptors and passes.
const BREATH: Duration = Duration::from_millis(50);

/// Answers until `stopped` says so.
pub(super) async fn serve(
    listener: TcpListener,
    rooms: Arc<Rooms>,
    mut stopped: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            // An error says that nobody can stop it any more.
            _ = stopped.wait_for(|stopped| *stopped) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let rooms = rooms.clone();
        let answer = service_fn(move |request| {
            let rooms = rooms.clone();
            async move { Ok::<_, std::convert::Infallible>(rooms.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(Stall::new(TokioIo::new(stream), PATIENCE), answer);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            // Who goes away, or is hung up on, is no news.
            let _ = connection.await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    connections.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    let (stream, _) = listener.accept().await.ok()?;
    // Small pieces must not wait for the acknowledgement of those before; if it cannot be set, they are only slower.
    let _ = stream.set_nodelay(true);
    Some((stream, place))
}

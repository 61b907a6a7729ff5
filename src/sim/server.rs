//! The simulator on a socket.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tower_service::Service;

use super::{Sim, SimService};

/// How long a shutdown waits for answers that are on their way. Those that hang never come.
const GRACE: Duration = Duration::from_secs(3);

/// Pause after a failed `accept`, which is mostly a lack of file descriptors and passes.
const BREATH: Duration = Duration::from_millis(50);

/// A simulator that is being served; made by [`Sim::serve`].
///
/// Dropping it closes the door as [`shutdown`](Self::shutdown) does, without waiting for the end.
#[derive(Debug)]
pub struct SimServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Sim {
    /// Serves HTTP/1.1 with keep-alive on `listener`, in a task of its own, until the returned handle is shut down or dropped.
    ///
    /// The latencies apply as in process; those of the socket come on top. A dropped connection is one that is closed without an
    /// answer.
    ///
    /// # Errors
    ///
    /// When the listener does not know its own address.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn serve(&self, listener: TcpListener) -> io::Result<SimServer> {
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(accept(self.service(), listener, stopped));
        Ok(SimServer {
            address,
            stop,
            task,
        })
    }
}

impl SimServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as the base of URLs: `http://127.0.0.1:8787`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Accepts nobody any more, gives answers that are on their way three seconds, and closes all connections.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(self) {
        // An error means that the task has ended already.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn accept(service: SimService, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        // Small answers must not wait for the acknowledgement of the one before; if it cannot be set, they are only slower.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        let serve = service_fn(move |request| service.clone().call(request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            // Clients that go away and connections that are dropped on purpose end here; neither is news.
            let _ = connection.await;
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    connections.shutdown().await;
}

//! A `redis-server` of one's own, and three of them as a cluster: on free ports of the loopback interface, in directories that go away.
//!
//! Nothing is left running: a server ends when its handle is dropped, be it by a panic, and when this process is killed.

#![allow(dead_code, reason = "every test uses its own part")]

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use redis::Value;

/// Below those that the system gives to outgoing connections, so that a server can be started again on its port; and so that the
/// bus of a cluster, 10,000 above, is a port, too.
const PORTS: Range<u16> = 10_000..22_000;

const BREATH: Duration = Duration::from_millis(10);
/// How often something is looked at until it has come true: half a minute, for a busy machine.
const LOOKS: usize = 3_000;

const HOW_TO_INSTALL: &str = "these tests need a Redis or Valkey server: install one (`apt-get install redis-server`), or say where it \
                              is (`REDIS_SERVER=/path/to/redis-server`)";

/// A server that is running, unless it was stopped.
#[derive(Debug)]
pub(crate) struct RedisServer {
    port: u16,
    arguments: Vec<String>,
    // Before the directory: the server may still write there.
    running: Option<Running>,
    directory: Directory,
}

impl RedisServer {
    /// An empty one that keeps nothing on disk.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments, such as `--requirepass secret` or `--appendonly yes`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let directory = Directory::new();
        for _ in 0..LOOKS {
            let port = free_port();
            // Another process may have been faster.
            if let Some(running) = Running::start(port, &arguments, directory.path()) {
                return Self {
                    port,
                    arguments,
                    running: Some(running),
                    directory,
                };
            }
        }
        panic!("the server does not start");
    }

    /// `redis://127.0.0.1:<port>`, with the password if it was given one.
    pub(crate) fn url(&self) -> String {
        url(self.port, &self.arguments)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Lets it end in good order.
    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal("TERM");
            running.signal("CONT");
            running.wait();
        }
    }

    /// Lets it end at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// Ends it if it still runs, and starts it again on the same port. What it had is lost, unless its arguments say otherwise.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.running = Running::start(self.port, &self.arguments, self.directory.path());
        assert!(self.running.is_some(), "port {} was taken", self.port);
    }

    /// Lets it answer nothing, but keep its connections open.
    pub(crate) fn freeze(&self) {
        self.running().signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.running().signal("CONT");
    }

    /// Carries a command out and gives the answer as text: lists by lines, nothing as an empty text.
    #[track_caller]
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        let answer = ask(&self.url(), command);
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server is running")
    }
}

/// Three masters that have all slots among them.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub(crate) fn start() -> Self {
        const SLOTS: [[&str; 2]; 3] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];
        let start = |_| {
            RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"])
        };
        let cluster = Self {
            nodes: SLOTS.iter().map(start).collect(),
        };
        let first = cluster.nodes[0].port().to_string();
        for (epoch, (node, [from, to])) in (1..).zip(cluster.nodes.iter().zip(SLOTS)) {
            node.cli(&["CLUSTER", "ADDSLOTSRANGE", from, to]);
            node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &format!("{epoch}")]);
            node.cli(&["CLUSTER", "MEET", "127.0.0.1", &first]);
        }
        cluster.wait();
        cluster
    }

    /// Of all nodes.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// Until every node knows all others and all slots are served.
    pub(crate) fn wait(&self) {
        let is_ready = |node: &RedisServer| {
            let info = ask(&node.url(), &["CLUSTER", "INFO"]).unwrap_or_default();
            let says = |line: &str| info.lines().any(|found| found == line);
            says("cluster_state:ok") && says("cluster_known_nodes:3")
        };
        let waited = wait_until(|| self.nodes.iter().all(is_ready));
        assert!(waited, "the cluster does not come together");
    }
}

/// The processes of one server.
#[derive(Debug)]
struct Running {
    server: Child,
    /// Ends the server when the pipe to it is closed, that is also when this process is killed.
    watch: Child,
}

impl Running {
    /// `None` if the port is taken.
    fn start(port: u16, arguments: &[String], directory: &Path) -> Option<Self> {
        let port_text = port.to_string();
        let mut server = launch(|program| {
            Command::new(program)
                .args(["--port", &port_text, "--bind", "127.0.0.1"])
                .args(["--save", "", "--appendonly", "no"])
                .args(arguments)
                .arg("--dir")
                .arg(directory)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        });
        let watch = Command::new("sh")
            .args(["-c", "cat; kill -9 $0; rm -rf \"$1\""])
            .arg(server.id().to_string())
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(watch) = watch else {
            let _ = server.kill().and_then(|()| server.wait());
            panic!("there is no `sh`");
        };
        let mut running = Self { server, watch };
        let url = url(port, arguments);
        let mine = format!("process_id:{}", running.server.id());
        let mut has_ended = false;
        let waited = wait_until(|| {
            has_ended = running.server.try_wait().is_ok_and(|end| end.is_some());
            let info = || ask(&url, &["INFO", "server"]).unwrap_or_default();
            has_ended || info().lines().any(|line| line == mine)
        });
        assert!(waited, "the server does not answer");
        (!has_ended).then_some(running)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.server.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "no {name}");
    }

    /// Waits for the end of a server that was told to end.
    fn wait(mut self) {
        let ended = wait_until(|| self.server.try_wait().is_ok_and(|end| end.is_some()));
        assert!(ended, "the server does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The watch first: once the server is gone, its number may be given to another process.
        for child in [&mut self.watch, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A directory that is removed with all that is in it.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        // A number that no test can have seeded.
        let number = RandomState::new().build_hasher().finish();
        let path = std::env::temp_dir().join(format!("tower-quota-{number:016x}"));
        std::fs::create_dir(&path).expect("a directory can be made");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts the server of this machine.
fn launch(start: impl Fn(&Path) -> io::Result<Child>) -> Child {
    let chosen = std::env::var_os("REDIS_SERVER").map(PathBuf::from);
    let programs = match chosen {
        Some(program) => vec![program],
        None => vec!["redis-server".into(), "valkey-server".into()],
    };
    for program in &programs {
        match start(program) {
            Ok(child) => return child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => panic!("{}: {error}; {HOW_TO_INSTALL}", program.display()),
        }
    }
    panic!("there is none of {programs:?}; {HOW_TO_INSTALL}");
}

fn free_port() -> u16 {
    let mut random = fastrand::Rng::new();
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| random.u16(PORTS))
        .find(is_free)
        .expect("the iterator does not end")
}

fn url(port: u16, arguments: &[String]) -> String {
    let mut pairs = arguments.windows(2);
    let password = pairs.find(|pair| pair[0] == "--requirepass");
    let password = password.map_or(String::new(), |pair| format!(":{}@", pair[1]));
    format!("redis://{password}127.0.0.1:{port}")
}

fn ask(url: &str, command: &[&str]) -> Result<String, redis::RedisError> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_connection_with_timeout(100 * BREATH)?;
    let mut request = redis::cmd(command[0]);
    request.arg(&command[1..]);
    Ok(Text(&request.query(&mut connection)?).to_string())
}

/// An answer as text.
struct Text<'a>(&'a Value);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Nil => Ok(()),
            Value::Okay => f.write_str("OK"),
            Value::Int(number) => write!(f, "{number}"),
            Value::SimpleString(text) => f.write_str(text),
            Value::BulkString(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Value::Array(items) => {
                let lines: Vec<_> = items.iter().map(|item| Text(item).to_string()).collect();
                f.write_str(&lines.join("\n"))
            }
            other => write!(f, "{other:?}"),
        }
    }
}

fn wait_until(mut is_true: impl FnMut() -> bool) -> bool {
    for _ in 0..LOOKS {
        if is_true() {
            return true;
        }
        thread::sleep(BREATH);
    }
    false
}

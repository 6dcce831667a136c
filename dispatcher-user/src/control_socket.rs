//! The control socket of a running role: a Unix socket on which `dispatcher show`, `members` and `why` ask. One request line in
//! JSON gets one reply line in JSON, then the connection ends. What the rows hold is the role's business.

use std::{
    fmt, fs,
    future::Future,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream as BlockingStream,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

/// Longest request in bytes: a file of 100 000 rules.
const MAX_REQUEST_BYTES: u64 = 64 << 20;

/// Longest reply in bytes that a client takes: a million filters.
const MAX_REPLY_BYTES: u64 = 512 << 20;

/// How long a client may take over its request, and we over the reply.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections served at a time.
const MAX_CONNECTIONS: usize = 16;

/// Rows of a listing when the request sets no limit.
pub const DEFAULT_LIMIT: usize = 1000;

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The servers: state, load, requests, traffic
    Servers,
    /// Which server each class is bound to
    BindTable,
    /// The flows that the front-end knows
    Filters,
    /// What happened to packets, requests and reports
    Counters,
    /// For each service: whether it is overloaded and who gets in
    Admission,
    /// For each service and priority: open flows, and what became of the others
    Priorities,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Servers => "servers",
            Self::BindTable => "bind-table",
            Self::Filters => "filters",
            Self::Counters => "counters",
            Self::Admission => "admission",
            Self::Priorities => "priorities",
        })
    }
}

/// By what filters are sorted, the greatest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SortKey {
    /// Time since the flow was admitted
    Age,
    /// Time since its last packet
    Idle,
    /// Time from its latest request to the response, or until now
    Delay,
    Priority,
    Packets,
    Bytes,
    Requests,
    /// How often the connection went to another server
    Moves,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    Show(Show),
    Members(MembersRequest),
    Why(WhyRequest),
}

/// What is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Show {
    pub what: Subject,
    /// At most this many rows; [`DEFAULT_LIMIT`] if absent.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Filters in this order; else as they come.
    #[serde(default)]
    pub sort: Option<SortKey>,
}

impl Show {
    /// All of it, within the default limit.
    #[must_use]
    pub fn all(what: Subject) -> Self {
        Self { what, limit: None, sort: None }
    }
}

/// What is to be done with the rules of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersRequest {
    /// Needed where there are several.
    pub service: Option<String>,
    pub action: MembersAction,
}

/// Changes hold at once and until the front-end starts anew. Rules are lines as in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MembersAction {
    List,
    Add {
        rule: String,
    },
    Remove {
        rule: String,
    },
    /// Replaces all rules.
    Load {
        /// Names them in errors.
        file: String,
        text: String,
    },
}

/// A request of which is asked what would become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyRequest {
    /// Needed where there are several.
    pub service: Option<String>,
    pub source: SocketAddr,
    /// As in a Cookie field.
    pub cookies: Vec<String>,
    /// Absolute, or a path.
    pub url: String,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// One object a row.
    pub rows: Vec<Value>,
    /// Whether there are more rows than the limit.
    #[serde(default)]
    pub cut: bool,
    /// Why there are no rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Reply {
    /// A reply with all rows, or with the reason why one cannot be written as JSON.
    pub fn of<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Self {
        match rows.into_iter().map(serde_json::to_value).collect() {
            Ok(rows) => Self { rows, ..Self::default() },
            Err(error) => Self::refuse(error),
        }
    }

    /// A reply that says why there are no rows.
    pub fn refuse(reason: impl fmt::Display) -> Self {
        Self { error: Some(reason.to_string()), ..Self::default() }
    }
}

/// Knows the answers. Called on a thread that may block.
pub trait Answer: Send + Sync + 'static {
    /// The rows that the request asks for.
    fn answer(&self, request: &Request) -> Reply;
}

/// Asking or answering failed.
#[derive(Debug, Error)]
pub enum ControlSocketError {
    /// For the person who asks.
    #[error("no dispatcher answers at {}: {source}; is it running? (--socket names another)", .path.display())]
    Unreachable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// For the person who asks.
    #[error("reply from {} cannot be read: {reason}; use the release that runs there", .path.display())]
    BadReply { path: PathBuf, reason: String },
    /// For the person who asks: the role said no.
    #[error("{0}")]
    Refused(String),
    /// For the operator.
    #[error("control socket {} is in use by a running dispatcher; stop it, or set another control_socket", .0.display())]
    InUse(PathBuf),
    /// For the operator.
    #[error("cannot open control socket {}: {source}; check the directory and its rights", .path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The open socket; its file goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Opens the socket, readable for its owner only. Makes the parent directory, and replaces the file that a killed process
    /// left behind.
    ///
    /// # Errors
    /// When another process answers there, or the file cannot be made.
    pub fn bind(path: &Path) -> Result<Self, ControlSocketError> {
        let open = |source| ControlSocketError::Open { path: path.to_path_buf(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(open)?;
        }
        match BlockingStream::connect(path) {
            Ok(_) => return Err(ControlSocketError::InUse(path.to_path_buf())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
                fs::remove_file(path).map_err(open)?;
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(open)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(open)?;
        Ok(Self { listener, path: path.to_path_buf() })
    }

    /// Answers for ever.
    pub async fn serve(&self, answer: Arc<dyn Answer>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let answer = Arc::clone(&answer);
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, answer).await {
                            tracing::debug!("control socket: {error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: wait until some are closed.
                    tracing::warn!("control socket cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

async fn converse(mut stream: UnixStream, answer: Arc<dyn Answer>) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    in_time(tokio::io::BufReader::new(read.take(MAX_REQUEST_BYTES)).read_line(&mut line)).await?;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(request) => tokio::task::spawn_blocking(move || answer.answer(&request))
            .await
            .unwrap_or_else(|_| Reply::refuse("the listing failed; see the daemon's messages")),
        Err(error) => Reply::refuse(format_args!("request cannot be read: {error}")),
    };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    in_time(write.write_all(&text)).await
}

async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, step).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Asks the role that listens at `path`.
///
/// # Errors
/// When nobody answers there, or the role refuses.
pub fn ask(path: &Path, request: &Request) -> Result<Reply, ControlSocketError> {
    let exchange = || -> io::Result<String> {
        let mut stream = BlockingStream::connect(path)?;
        stream.set_read_timeout(Some(2 * PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut reply = String::new();
        BufReader::new(stream).take(MAX_REPLY_BYTES).read_line(&mut reply)?;
        Ok(reply)
    };
    let text =
        exchange().map_err(|source| ControlSocketError::Unreachable { path: path.to_path_buf(), source })?;
    let reply: Reply = serde_json::from_str(&text).map_err(|error| ControlSocketError::BadReply {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })?;
    match reply.error {
        Some(reason) => Err(ControlSocketError::Refused(reason)),
        None => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as BlockingListener;

    use serde_json::json;

    use super::*;

    struct Sample;

    impl Answer for Sample {
        fn answer(&self, request: &Request) -> Reply {
            match request {
                Request::Show(Show { what: Subject::Counters, limit, .. }) => {
                    Reply::of([json!({"name": "a", "value": limit})])
                }
                other => Reply::refuse(format_args!("a sample has no {other:?}")),
            }
        }
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("dispatcher-{}-{name}", std::process::id())).join("sample.sock")
    }

    fn with_socket<T: Send + 'static>(name: &str, client: impl FnOnce(&Path) -> T + Send + 'static) -> T {
        let path = path(name);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result = runtime.block_on(async {
            let socket = ControlSocket::bind(&path).unwrap();
            let at = path.clone();
            let client = tokio::task::spawn_blocking(move || client(&at));
            tokio::select! {
                () = socket.serve(Arc::new(Sample)) => unreachable!(),
                result = client => result.unwrap(),
            }
        });
        assert!(!path.exists(), "the file goes with the socket");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        result
    }

    #[test]
    fn a_request_line_gets_a_reply_line() {
        with_socket("reply", |path| {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
            let show = Show { limit: Some(3), ..Show::all(Subject::Counters) };
            let reply = ask(path, &Request::Show(show)).unwrap();
            assert_eq!(reply.rows, [json!({"name": "a", "value": 3})]);
            let refused = ask(path, &Request::Show(Show::all(Subject::BindTable))).unwrap_err();
            assert!(refused.to_string().starts_with("a sample has no Show("), "{refused}");
        });
    }

    #[test]
    fn garbage_gets_a_reason() {
        let reply = with_socket("garbage", |path| {
            let mut stream = BlockingStream::connect(path).unwrap();
            stream.write_all(b"{\"show\":{\"what\":\"money\"}}\n").unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).unwrap();
            reply
        });
        assert!(reply.contains("request cannot be read"), "{reply}");
    }

    #[test]
    fn a_second_daemon_is_refused_and_a_stale_file_replaced() {
        with_socket("second", |path| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _guard = runtime.enter();
            assert!(matches!(ControlSocket::bind(path), Err(ControlSocketError::InUse(_))));
        });
        let stale = path("stale");
        fs::create_dir_all(stale.parent().unwrap()).unwrap();
        drop(BlockingListener::bind(&stale).unwrap());
        assert!(stale.exists());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        drop(ControlSocket::bind(&stale).unwrap());
        fs::remove_dir_all(stale.parent().unwrap()).unwrap();
    }

    #[test]
    fn an_absent_daemon_is_named() {
        let error = ask(Path::new("/nowhere/x.sock"), &Request::Show(Show::all(Subject::Servers)));
        let text = error.unwrap_err().to_string();
        assert!(text.starts_with("no dispatcher answers at /nowhere/x.sock: No such file"), "{text}");
    }
}

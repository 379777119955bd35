//! A small proxy that does harm, and remembers what went through.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// None: to the server and back.
    Forward,
    /// The connection is closed without an answer.
    Close,
    /// No answer ever comes.
    Hang,
    /// The server's answer, less the end of it.
    Cut(usize),
    /// This answer, and the server is not asked.
    Answer(u16, &'static str, String),
}

/// A request as it came: its first line and headers, and its body.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: String,
}

type Rule = Box<dyn Fn(&Seen) -> Fault + Send + Sync>;

pub(crate) struct Proxy {
    pub(crate) address: String,
    rule: Arc<Mutex<Rule>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of `http://HOST:PORT`.
    pub(crate) async fn new(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Box::new(|_| Fault::Forward)));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let (rules, log) = (Arc::clone(&rule), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (rules, log, upstream) = (Arc::clone(&rules), Arc::clone(&log), upstream.clone());
                tokio::spawn(async move {
                    // A client that goes away is none of the proxy's business.
                    let _ = serve(client, &upstream, &rules, &log).await;
                });
            }
        });
        Self {
            address,
            rule,
            seen,
            task,
        }
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.set_rule(move |_| fault.clone());
    }

    pub(crate) fn set_rule(&self, rule: impl Fn(&Seen) -> Fault + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// What came since the last time.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The paths of what came since the last time.
    pub(crate) fn paths(&self) -> Vec<String> {
        let path = |seen: &Seen| {
            seen.head
                .split(' ')
                .nth(1)
                .unwrap()
                .trim_start_matches("/v1/")
                .to_owned()
        };
        self.seen().iter().map(path).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    upstream: &str,
    rule: &Mutex<Rule>,
    log: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let end = loop {
        if let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8(request[..end].to_vec()).unwrap();
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0);
    while request.len() < end + 4 + length {
        client.read_buf(&mut request).await?;
    }
    let body = String::from_utf8(request[end + 4..].to_vec()).unwrap();
    let seen = Seen { head, body };
    let fault = rule.lock().unwrap()(&seen);
    log.lock().unwrap().push(seen.clone());
    let answer = match fault {
        Fault::Close => return Ok(()),
        Fault::Hang => {
            // Until the client gives up.
            let _ = client.read_buf(&mut request).await?;
            return Ok(());
        }
        Fault::Answer(status, headers, body) => format!(
            "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
        Fault::Forward | Fault::Cut(_) => {
            let mut server = TcpStream::connect(upstream).await?;
            let text = format!("{}\r\nConnection: close\r\n\r\n{}", seen.head, seen.body);
            server.write_all(text.as_bytes()).await?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).await?;
            if let Fault::Cut(less) = fault {
                answer.truncate(answer.len() - less);
            }
            answer
        }
    };
    client.write_all(&answer).await?;
    client.shutdown().await
}

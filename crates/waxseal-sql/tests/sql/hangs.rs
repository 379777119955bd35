//! Databases that do not answer, or answer nonsense: every call ends by itself, and the next one works when they are back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use waxseal::ErrorKind;
use waxseal::ring::Inventory;
use waxseal::ring::inventory::Heartbeat;
use waxseal_sql::{PostgresConfig, PostgresInventory};

use crate::support::{Database, change};

/// How long a call may take here.
const BOUND: Duration = Duration::from_millis(400);

/// What `work` returns. Fails instead of hanging.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = std::sync::mpsc::channel();
    thread::spawn(move || done.send(work()));
    result
        .recv_timeout(Duration::from_secs(60))
        .expect("the call does not end")
}

fn connect(url: String) -> waxseal::Result<PostgresInventory> {
    let config = PostgresConfig::new(&url.into(), "r").unwrap().with_timeout(BOUND);
    in_time(move || pollster::block_on(PostgresInventory::connect(config)))
}

/// A server that does this with each connection.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Reads and answers nothing, until the client goes.
fn swallow(mut stream: TcpStream) {
    while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
}

#[test]
fn a_server_that_accepts_and_never_answers_is_a_timeout() {
    let address = server(swallow);
    let error = connect(format!("postgres://u:p@{address}/x")).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TimedOut, true));
    let error = connect(format!("postgres://u:p@{address}/x?sslmode=disable")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_port_that_nobody_listens_at_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = connect(format!("postgres://u:p@{address}/x")).unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Unavailable, true)
    );
}

#[test]
fn a_server_that_answers_nonsense_is_an_error_and_no_panic() {
    for nonsense in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"N",
        b"NR\0\0\0\x08\0\0\0\0",
        // An error whose length is a lie; a message of 2 GiB; lengths of less than nothing.
        b"NE\0\0\x10\0SERROR\0",
        &[78, 68, 0x7f, 0xff, 0xff, 0xff, 0, 1],
        b"NZ\0\0\0\0",
        b"NR\xff\xff\xff\xff",
        b"NR\0\0\0\x0c\0\0\0\x05\0\0",
        &[b'N'; 4096],
        &[0; 4096],
    ] {
        let address = server(move |mut stream| {
            let _ = stream.write_all(nonsense);
            swallow(stream);
        });
        let error = connect(format!("postgres://u:p@{address}/x")).unwrap_err();
        let is_expected = matches!(
            error.kind(),
            ErrorKind::TimedOut | ErrorKind::Unavailable | ErrorKind::Store | ErrorKind::Unauthenticated
        );
        assert!(is_expected, "{nonsense:?}: {error}");
    }
}

/// What a proxy does with what comes.
#[derive(Default)]
struct Ways {
    is_stopped: AtomicBool,
    trickles: AtomicBool,
}

/// A proxy that can stop: it then reads and forwards nothing, and closes nothing. Or it forwards a byte now and then.
struct Proxy {
    address: SocketAddr,
    ways: Arc<Ways>,
}

impl Proxy {
    fn new(upstream: String) -> Self {
        let ways = Arc::new(Ways::default());
        let shared = Arc::clone(&ways);
        let address = server(move |client| {
            let server = TcpStream::connect(&upstream).unwrap();
            let directions = [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ];
            for (from, to) in directions {
                let ways = Arc::clone(&shared);
                thread::spawn(move || forward(from, to, &ways));
            }
        });
        Self { address, ways }
    }

    fn stop(&self, is_stopped: bool) {
        self.ways.is_stopped.store(is_stopped, Ordering::SeqCst);
    }

    fn trickle(&self, trickles: bool) {
        self.ways.trickles.store(trickles, Ordering::SeqCst);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, ways: &Ways) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        while ways.is_stopped.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        let mut rest = &buffer[..read];
        while ways.trickles.load(Ordering::SeqCst) && rest.len() > 1 {
            if to.write_all(&rest[..1]).is_err() {
                break;
            }
            rest = &rest[1..];
            thread::sleep(Duration::from_secs(1));
        }
        if read == 0 || to.write_all(rest).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// The database through a proxy, and an inventory that goes through it.
fn proxied() -> Option<(Database, Proxy, Arc<PostgresInventory>)> {
    let database = Database::new()?;
    pollster::block_on(async {
        let owner = PostgresInventory::create(database.config("r")).await.unwrap();
        owner.commit(&change(0, Vec::new())).await.unwrap();
    });
    let url = database.url();
    let upstream = url.split(['@', '/']).nth(3).unwrap().to_owned();
    let proxy = Proxy::new(upstream.clone());
    let url = url.replace(&upstream, &proxy.address.to_string());
    let config = PostgresConfig::new(&url.into(), "r")
        .unwrap()
        .with_timeout(Duration::from_secs(5));
    let inventory = pollster::block_on(PostgresInventory::connect(config)).unwrap();
    Some((database, proxy, Arc::new(inventory)))
}

#[test]
fn a_connection_that_stops_is_a_timeout_and_the_next_call_works() {
    let Some((_database, proxy, inventory)) = proxied() else {
        return;
    };
    let call = |inventory: &Arc<PostgresInventory>| {
        let inventory = Arc::clone(inventory);
        in_time(move || pollster::block_on(inventory.revision()))
    };
    assert_eq!(call(&inventory).unwrap(), 1);
    proxy.stop(true);
    for _ in 0..2 {
        let error = call(&inventory).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TimedOut, true));
    }
    // Every other call ends, too, and more of them than there are connections.
    let calls: Vec<_> = (0..12)
        .map(|number| {
            let inventory = Arc::clone(&inventory);
            thread::spawn(move || {
                in_time(move || {
                    pollster::block_on(async {
                        match number % 4 {
                            0 => inventory.read(&["a".parse().unwrap()], &[]).await.map(drop),
                            1 => inventory.commit(&change(1, Vec::new())).await,
                            2 => inventory.now().await.map(drop),
                            _ => {
                                let beat = Heartbeat::new("r".to_owned(), "p".to_owned(), 1, Vec::new());
                                inventory.beat(&beat).await
                            }
                        }
                    })
                })
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    }
    proxy.stop(false);
    // A change that nobody was told of is made or not.
    assert!((1..=2).contains(&call(&inventory).unwrap()));
}

#[test]
fn a_server_that_closes_its_connections_is_connected_to_again() {
    let Some((database, _proxy, inventory)) = proxied() else {
        return;
    };
    pollster::block_on(async {
        for round in 1..4 {
            assert_eq!(inventory.revision().await.unwrap(), round);
            database.end_connections().await;
            // Not even a change fails, since it has not begun.
            inventory.commit(&change(round, Vec::new())).await.unwrap();
        }
    });
}

#[test]
fn a_process_that_stands_still_in_a_change_keeps_others_waiting_for_no_longer_than_they_wish() {
    let Some((database, _proxy, inventory)) = proxied() else {
        return;
    };
    let held = database.hold("select * from waxseal_ring for update");
    let inventory_of_thread = Arc::clone(&inventory);
    let done = in_time(move || pollster::block_on(inventory_of_thread.commit(&change(1, Vec::new()))));
    assert_eq!(done.unwrap_err().kind(), ErrorKind::TimedOut);
    // Readers do not wait at all.
    assert_eq!(pollster::block_on(inventory.revision()).unwrap(), 1);
    drop(held);
    pollster::block_on(inventory.commit(&change(1, Vec::new()))).unwrap();
}

#[test]
fn a_place_that_accepts_no_connection_is_a_timeout() {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // It answers no more than fit into its queue, as a firewall that drops what comes.
    let (listener, address) = {
        let _context = tokio.enter();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    };
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        queued.push(stream);
        assert!(queued.len() < 100, "the queue has no end");
    }
    let error = connect(format!("postgres://u:p@{address}/x")).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TimedOut, true));
    drop((queued, listener));
}

#[test]
fn a_server_that_trickles_its_answers_is_a_timeout_and_the_next_call_works() {
    let Some((_database, proxy, inventory)) = proxied() else {
        return;
    };
    let call = |inventory: &Arc<PostgresInventory>| {
        let inventory = Arc::clone(inventory);
        in_time(move || pollster::block_on(inventory.read(&["a".parse().unwrap()], &[String::new()])))
    };
    assert_eq!(call(&inventory).unwrap().revision, 1);
    proxy.trickle(true);
    for _ in 0..2 {
        let error = call(&inventory).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::TimedOut, true));
    }
    proxy.trickle(false);
    assert_eq!(call(&inventory).unwrap().revision, 1);
}

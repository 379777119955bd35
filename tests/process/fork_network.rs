//! A client of a network backend that came through a `fork` is refused at once in the child, which then makes a new one;
//! the parent goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use waxseal::backend::{aws_kms, azure_key_vault, gcp_kms, vault_transit};
use waxseal::{EncryptionContext, ErrorKind, KeyManager, Result, blocking::Sealer};

use crate::fake_azure_key_vault::{CLIENT_SECRET, FakeKeyVault, TENANT};
use crate::fake_gcp_kms::FakeGcpKms;
use crate::live::{address, unique, variable};

pub(crate) const TESTS: &[crate::Test] = &[(
    "fork_network::a_client_that_was_inherited_is_refused_and_a_new_one_works",
    a_client_that_was_inherited_is_refused_and_a_new_one_works,
)];

/// How long a child may take. Generous: only to fail instead of hanging.
const BOUND: Duration = Duration::from_secs(120);

type Connect = Box<dyn Fn() -> Result<Arc<dyn KeyManager>>>;

fn google(fake: &FakeGcpKms) -> Connect {
    let (endpoint, key) = (fake.endpoint(), fake.key("k"));
    Box::new(move || {
        let config = gcp_kms::Config::new()
            .with_endpoint(&endpoint)
            .with_auth(gcp_kms::Auth::AccessToken("token".into()));
        Ok(Arc::new(
            pollster::block_on(gcp_kms::Client::connect(config))?.key(&key)?,
        ))
    })
}

fn azure(fake: &FakeKeyVault) -> Connect {
    let (url, ca, key) = (fake.url(), fake.ca().to_owned(), fake.key("k"));
    Box::new(move || {
        let auth = azure_key_vault::Auth::ClientSecret {
            tenant_id: TENANT.to_owned(),
            client_id: "app".to_owned(),
            secret: CLIENT_SECRET.into(),
        };
        let config = azure_key_vault::Config::new(&url, auth)
            .with_authority_host(&url)
            .with_ca_pem(ca.clone())
            .without_challenge_check();
        Ok(Arc::new(
            pollster::block_on(azure_key_vault::Client::connect(config))?.key(&key)?,
        ))
    })
}

fn vault() -> Option<Connect> {
    let (address, token) = (address("openbao")?, variable("WAXSEAL_TEST_OPENBAO_TOKEN")?);
    let key = unique("fork");
    mount(&address, &token);
    let connect = move || {
        let auth = vault_transit::Auth::token(token.clone());
        let config = vault_transit::Config::new(&address, auth);
        pollster::block_on(vault_transit::Client::connect(config))
    };
    let admin = connect().unwrap().admin();
    pollster::block_on(waxseal::key::KekAdmin::create(
        &admin,
        &waxseal::key::KekTemplate::new(&key),
        &key,
    ))
    .unwrap();
    Some(Box::new(move || Ok(Arc::new(connect()?.key(&key)?))))
}

/// Mounts the engine. If another test has done so before, the server refuses, which is as good.
fn mount(address: &str, token: &str) {
    let host = address.trim_start_matches("http://");
    let mut server = TcpStream::connect(host).unwrap();
    let body = r#"{"type":"transit"}"#;
    let request = format!(
        "POST /v1/sys/mounts/transit HTTP/1.1\r\nHost: {host}\r\nX-Vault-Token: {token}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    server.write_all(request.as_bytes()).unwrap();
    server.read_to_end(&mut Vec::new()).unwrap();
}

fn aws() -> Option<Connect> {
    let endpoint = address("moto")?;
    let connect = move || {
        let config = aws_kms::Config::new()
            .with_region("eu-central-1")
            .with_endpoint(&endpoint)
            .with_credentials("test", "test".into(), None);
        pollster::block_on(aws_kms::Client::connect(config))
    };
    let name = unique("fork");
    let admin = connect().unwrap().admin();
    pollster::block_on(waxseal::key::KekAdmin::create(
        &admin,
        &waxseal::key::KekTemplate::new(&name),
        &name,
    ))
    .unwrap();
    Some(Box::new(move || {
        Ok(Arc::new(connect()?.key(&format!("alias/{name}"))?))
    }))
}

fn round_trip(sealer: &Sealer) -> Result<()> {
    let context = EncryptionContext::new([("tenant", "acme")])?;
    let sealed = sealer.seal(b"x", &context)?;
    assert_eq!(sealer.open(&sealed, &context)?, b"x");
    Ok(())
}

fn sealer(connect: &Connect) -> Result<Sealer> {
    Ok(waxseal::Sealer::builder().wrap_with(connect()?).build()?.into())
}

fn a_client_that_was_inherited_is_refused_and_a_new_one_works() {
    let (google_fake, azure_fake) = (FakeGcpKms::start(), FakeKeyVault::start());
    let mut all: Vec<(&str, Connect)> = vec![("gcp", google(&google_fake)), ("azure", azure(&azure_fake))];
    all.extend(vault().map(|vault| ("vault", vault)));
    all.extend(aws().map(|aws| ("aws", aws)));
    let parents: Vec<Sealer> = all.iter().map(|(_, connect)| sealer(connect).unwrap()).collect();
    for parent in &parents {
        round_trip(parent).unwrap();
    }
    let child = fork();
    if child == 0 {
        end_child(|| {
            for ((name, connect), inherited) in all.iter().zip(parents) {
                let error = round_trip(&inherited).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Configuration, "{name}: {error}");
                assert!(
                    error.to_string().contains("new client in the child"),
                    "{name}: {error}"
                );
                drop(inherited);
                round_trip(&sealer(connect).unwrap()).unwrap();
                println!("{name}: refused, and made anew");
            }
        });
    }
    // While the child works.
    for parent in &parents {
        round_trip(parent).unwrap();
    }
    wait_for(child);
    for ((name, _), parent) in all.iter().zip(&parents) {
        round_trip(parent).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// 0 in the child, which has to end by [`end_child`].
#[allow(unsafe_code, reason = "the standard library has no fork without exec")]
fn fork() -> libc::pid_t {
    // SAFETY: the child allocates although other threads were there, which the C library of Linux and macOS makes good
    // after a fork; it ends by `_exit` and never returns into the parent's code.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    child
}

#[allow(unsafe_code, reason = "the standard library has no fork without exec")]
fn end_child(work: impl FnOnce()) -> ! {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    // SAFETY: ends this process and does nothing else.
    unsafe { libc::_exit(i32::from(done.is_err())) }
}

#[allow(unsafe_code, reason = "the standard library has no fork without exec")]
fn wait_for(child: libc::pid_t) {
    let (start, mut status) = (Instant::now(), 0);
    loop {
        // SAFETY: `child` is a child of this process that nobody waits for elsewhere; `status` outlives the call.
        let waited = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        if waited == child {
            assert_eq!(status, 0, "the child failed");
            return;
        }
        if start.elapsed() > BOUND {
            // SAFETY: the child was not waited for yet, so the id is its own.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

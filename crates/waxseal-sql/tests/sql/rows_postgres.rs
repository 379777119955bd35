//! What is special about rows in PostgreSQL.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pollster::block_on;
use waxseal::ErrorKind;
use waxseal::fleet::{Range, Replaced, Store, Verify};
use waxseal_sql::fleet::Table;
use waxseal_sql::{PostgresConfig, PostgresRows};

use crate::place::{Place, change, ids, items, job, new, opened, run, scan, seal};
use crate::support::{CANARY, Database, GENEROUS};

const PAIR: [(&str, &str); 1] = [("table", "users")];

fn table() -> Table {
    Table::new("users", "email").context("table", "users")
}

fn place() -> Option<Place> {
    Database::new().map(|database| Place::Postgres(Box::new(database)))
}

fn database(place: &Place) -> &Database {
    match place {
        Place::Postgres(database) => database,
        #[cfg(feature = "sqlite")]
        Place::Sqlite(_) => unreachable!(),
    }
}

/// What the server says it does for a statement that a store has sent, with these parameters.
fn plan(place: &Place, like: &str, parameters: &str) -> String {
    let sent = place.ask(&format!(
        "select query from pg_stat_activity where application_name = current_schema() and pid <> pg_backend_pid() and query like '{like}'"
    ));
    let sent = sent
        .lines()
        .next()
        .expect("no such statement was sent")
        .to_owned();
    place.ask(&format!(
        "set plan_cache_mode = force_generic_plan; prepare sent as {sent}; explain execute sent({parameters})"
    ))
}

#[test]
fn a_page_behind_a_cursor_is_a_walk_through_the_index() {
    let Some(place) = place() else { return };
    let sealed = place.bytes(&seal("x", &PAIR));
    place.run(&format!(
        "create table users (tenant text not null, id integer not null, email bytea, primary key (tenant, id)); \
        insert into users select 't' || (n % 10), n, {sealed} from generate_series(1, 50000) as s(n); analyze users"
    ));
    let store = place.open(table()).unwrap();
    let range = Range::all().from_after("t5,20000").up_to("t7,100");
    let found = block_on(store.scan(&range, 200)).unwrap().found;
    assert_eq!((found.len(), found[0].id.as_str()), (200, "t5,20005"));
    let shown = plan(&place, "select%substr%limit 200", "'t5', 20000, 't7', 100");
    assert!(shown.contains("Index Scan using users_pkey"), "{shown}");
    assert!(!shown.contains("Sort") && !shown.contains("Seq Scan"), "{shown}");
}

/// Hands on what is sent between a client and the server, and counts it: to the server, and from it.
fn counted(url: &str) -> (String, Arc<[AtomicU64; 2]>) {
    let (before, rest) = url.split_once('@').unwrap();
    let (server, behind) = rest.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let (server, shared) = (server.to_owned(), Arc::clone(&counts));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(&server).unwrap();
            for (way, mut from, mut to) in [
                (0, client.try_clone().unwrap(), server.try_clone().unwrap()),
                (1, server, client),
            ] {
                let counts = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let mut buffer = [0; 65_536];
                    while let Ok(len @ 1..) = from.read(&mut buffer) {
                        counts[way].fetch_add(len as u64, Ordering::SeqCst);
                        if to.write_all(&buffer[..len]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    (format!("{before}@{address}/{behind}"), counts)
}

#[test]
fn of_large_values_the_fronts_alone_are_read_and_sent() {
    let Some(place) = place() else { return };
    place.run(
        "create table users (id integer primary key, email bytea, note text); alter table users alter column email set storage external",
    );
    let text = "x".repeat(1 << 20);
    for row in 1..=100 {
        let sealed = place.bytes(&seal(&format!("{row} {text}"), &PAIR));
        place.run(&format!("insert into users values ({row}, {sealed}, null)"));
    }
    // The last mebibyte of each is body.
    let bodies = "select md5(substring(email from octet_length(email) - 1048575)) from users order by id";
    let before = place.ask(bodies);
    let (url, counts) = counted(&database(&place).url());
    let config = PostgresConfig::new(&url.into(), "r")
        .unwrap()
        .with_timeout(GENEROUS);
    let store: Arc<dyn Store> = Arc::new(block_on(PostgresRows::open(config, table())).unwrap());
    let report = block_on(job(&store).verify(Verify::All).run()).unwrap();
    assert_eq!(
        (report.counts.moved(), report.counts.read_back),
        (100, 100),
        "{report:?}"
    );
    assert_eq!(place.ask(bodies), before);
    let [sent, received] = [0, 1].map(|way| counts[way].load(Ordering::SeqCst));
    println!("{sent} bytes sent and {received} received for 100 values of 1 MiB");
    // Each is read twice, 4 KiB of it.
    assert!(sent < 500_000 && received < 2_000_000, "{sent} {received}");
    let last = place.read("email", "users where id = 100").remove(0);
    assert!(opened(&last, &PAIR).starts_with("100 x"));
}

#[test]
fn a_change_of_another_column_makes_the_row_another_version() {
    let Some(place) = place() else { return };
    let sealed = place.bytes(&seal("x", &PAIR));
    place.run(&format!(
        "create table users (id integer primary key, email bytea, note text); insert into users values (1, {sealed}, ''), (2, {sealed}, '')"
    ));
    let store = place.open(table()).unwrap();
    let changes: Vec<_> = items(&store).into_iter().map(change).collect();
    // Nothing is another value than before.
    place.run("update users set note = note where id = 1");
    let answers: Vec<_> = block_on(store.replace(&changes))
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(answers, [Replaced::Changed, Replaced::Done]);
    // A row that is only locked meanwhile is the same one.
    let changes: Vec<_> = items(&store).into_iter().take(1).map(change).collect();
    place.run("begin; select from users for update; rollback");
    place.run("vacuum freeze users");
    assert_eq!(
        block_on(store.replace(&changes)).remove(0).unwrap(),
        Replaced::Done
    );
}

#[test]
fn a_row_that_somebody_holds_keeps_no_other_one_waiting() {
    let Some(place) = place() else { return };
    let sealed = place.bytes(&seal("x", &PAIR));
    place.run(&format!(
        "create table users (id integer primary key, email bytea); insert into users select n, {sealed} from generate_series(1, 5) as s(n)"
    ));
    let config = database(&place).config("r").with_timeout(Duration::from_secs(2));
    let store: Arc<dyn Store> = Arc::new(block_on(PostgresRows::open(config, table())).unwrap());
    let changes: Vec<_> = items(&store).into_iter().map(change).collect();
    let held = database(&place).hold("update users set email = email where id = 3");
    let answers = block_on(store.replace(&changes));
    for (row, answer) in (1..).zip(&answers) {
        match (row, answer) {
            (3, Err(error)) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
            (_, answer) => assert!(matches!(answer, Ok(Replaced::Done)), "{row} {answer:?}"),
        }
    }
    drop(held);
    assert_eq!(run(&store).counts.moved(), 1);
}

#[test]
fn workers_and_others_that_lock_in_another_order_end_each_time() {
    let Some(place) = place() else { return };
    let sealed = place.bytes(&seal("x", &PAIR));
    place.run(&format!(
        "create table users (id integer primary key, email bytea, note integer default 0); \
        insert into users select n, {sealed} from generate_series(1, 60) as s(n)"
    ));
    let store = place.open(table()).unwrap();
    std::thread::scope(|scope| {
        // From the last to the first, in one transaction each.
        let other = scope.spawn(|| {
            for _ in 0..20 {
                place.run(
                    "do $$ begin for i in reverse 60..1 loop update users set note = note + 1 where id = i; end loop; \
                    exception when deadlock_detected then null; end $$",
                );
            }
        });
        let report = block_on(job(&store).batch(60.try_into().unwrap()).most_faults(1000).run()).unwrap();
        other.join().unwrap();
        println!("{} of 60 were read again", report.counts.revisited);
    });
    run(&store);
    for sealed in place.read("email", "users") {
        assert_eq!(opened(&sealed, &PAIR), "x");
    }
}

#[test]
fn a_role_is_told_which_right_it_lacks_and_needs_no_other() {
    let Some(place) = place() else { return };
    let sealed = place.bytes(&seal("x", &[("tenant", "acme")]));
    let schema = place.ask("select current_schema()::text");
    let role = format!("{schema}_mover_user");
    place.run(&format!(
        "create table users (id integer primary key, email bytea, tenant text, kek text, secret text); \
        insert into users values (1, {sealed}, 'acme', null, 'c4n4ry'); \
        create role {role} login password '{CANARY}'; grant usage on schema {schema} to {role}"
    ));
    let open = |table: Table| {
        block_on(PostgresRows::open(database(&place).config_as(&role, "r"), table))
            .map(|store| Arc::new(store) as Arc<dyn Store>)
    };
    let table = || {
        Table::new("users", "email")
            .context("tenant", "{tenant}")
            .kek_id("kek")
    };
    for (grant, lacks) in [
        ("select (id)", "\"id\""),
        ("select (email)", "\"email\""),
        ("select (tenant)", "\"tenant\""),
        ("select (xmin, ctid)", "grant select (xmin, ctid)"),
        ("update (email)", "write the column \"email\""),
        ("update (kek)", "write the column \"kek\""),
    ] {
        let error = open(table()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains(lacks), "{error}");
        if grant.starts_with("update (email") {
            assert!(open(table().read_only()).is_ok());
        }
        place.run(&format!("grant {grant} on users to {role}"));
    }
    let store = open(table()).unwrap();
    assert_eq!(run(&store).counts.moved(), 1);
    assert_eq!(place.ask("select kek from users"), new().kek().id());

    place.run("alter table users enable row level security");
    let error = open(table()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("row security"), "{error}");
    // The right is taken away while a job runs.
    place.run(&format!(
        "alter table users disable row level security; revoke update (email) on users from {role}"
    ));
    place.run(&format!("update users set email = {sealed}"));
    let changes: Vec<_> = items(&store).into_iter().map(change).collect();
    let error = block_on(store.replace(&changes)).remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    drop(store);
    place.run(&format!("drop owned by {role}; drop role {role}"));
}

#[test]
fn tables_with_partitions_are_one_table_and_those_that_inherit_are_others() {
    let Some(place) = place() else { return };
    let sealed = place.bytes(&seal("x", &PAIR));
    place.run(&format!(
        "create table users (id integer not null, email bytea, primary key (id)) partition by range (id); \
        create table users_1 partition of users for values from (1) to (50); \
        create table users_2 partition of users for values from (50) to (101); \
        insert into users select n, {sealed} from generate_series(1, 100) as s(n); \
        create table parent (id integer primary key, email bytea); create table child () inherits (parent); \
        insert into parent values (1, {sealed}); insert into child values (1, {sealed})"
    ));
    let store = place.open(table()).unwrap();
    assert_eq!(ids(&store, Range::all(), 30).len(), 100);
    assert_eq!(run(&store).counts.moved(), 100);
    let parent = Table::new("parent", "email").context("table", "users");
    assert_eq!(run(&place.open(parent).unwrap()).counts.moved(), 1);
    assert_eq!(place.read("email", "child")[0].len(), seal("x", &PAIR).len());
}

#[test]
fn a_table_of_another_schema_and_types_of_domains_are_found() {
    let Some(place) = place() else { return };
    let sealed = place.bytes(&seal("x", &PAIR));
    let schema = place.ask("select current_schema()::text");
    place.run(&format!(
        "create domain code as text; create domain secret as bytea; \
        create table users (id code primary key, c char(4) not null, email secret, at timestamp, unique (c)); \
        insert into users values ('a', 'ab', {sealed}, null)"
    ));
    let store = place
        .open(table().in_schema(&schema).keyed_by(["c"]).wrapped_at("at"))
        .unwrap();
    assert_eq!(store.name(), format!("rows:{schema}.users.email"));
    assert_eq!(ids(&store, Range::all(), 5), ["ab"]);
    assert_eq!(run(&store).counts.moved(), 1);
    assert_eq!(
        place.ask("select (abs(extract(epoch from at - timezone('UTC', now()))) < 3600)::text from users"),
        "true"
    );
    for (column, says) in [("at", "timestamp"), ("c", "bpchar")] {
        let error = place
            .open(table().context("a", format!("{{{column}}}")))
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_large_table_is_divided_by_a_sample() {
    let Some(place) = place() else { return };
    place.run(
        "create table users (id bigint primary key, email bytea); \
        insert into users select n * 3, 'x' from generate_series(1, 200000) as s(n)",
    );
    let store = place.open(table()).unwrap();
    let ranges = block_on(store.split(&Range::all(), 8)).unwrap();
    assert_eq!(ranges.len(), 8);
    assert!(
        ranges
            .windows(2)
            .all(|two| two[0].until().is_some() && two[0].until() == two[1].after())
    );
    let counts: Vec<usize> = ranges
        .iter()
        .map(|range| scan(&store, range.clone(), 1000).len())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 200_000);
    assert!(
        counts.iter().all(|count| (15_000..35_000).contains(count)),
        "{counts:?}"
    );
}

//! What is special about rows in SQLite.

use std::sync::Arc;

use pollster::block_on;
use waxseal::ErrorKind;
use waxseal::fleet::{FaultClass, Range, Store};
use waxseal_sql::fleet::Table;

use crate::place::{File, Place, ids, opened, run, seal};

const PAIR: [(&str, &str); 1] = [("table", "users")];

fn table() -> Table {
    Table::new("users", "email").context("table", "users")
}

fn sealed(place: &Place) -> String {
    place.bytes(&seal("x", &PAIR))
}

#[test]
fn a_file_in_utf_16_keeps_its_bytes() {
    let place = Place::Sqlite(File::new());
    let file = place.file().unwrap();
    // The encoding is chosen before there is anything.
    std::fs::remove_file(file.path()).unwrap();
    place.run("pragma encoding = 'UTF-16le'; create table users (id text primary key not null, email blob, kek text)");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(place.ask("pragma encoding"), "UTF-16le");
    // Of even and odd lengths.
    for (id, text) in [("ä", "x"), ("b", "xy"), ("c", ""), ("d", "\0\0\u{ffff}")] {
        let sealed = place.bytes(&seal(text, &PAIR));
        place.run(&format!("insert into users values ('{id}', {sealed}, null)"));
    }
    let store = place.open(table().kek_id("kek")).unwrap();
    assert_eq!(ids(&store, Range::all(), 2), ["b", "c", "d", "ä"]);
    assert_eq!(run(&store).counts.moved(), 4);
    let read = place.read("email", "users order by id");
    let texts: Vec<_> = read.iter().map(|sealed| opened(sealed, &PAIR)).collect();
    assert_eq!(texts, ["xy", "", "\0\0\u{ffff}", "x"]);
    assert_eq!(
        place.ask("select typeof(email) from users"),
        ["blob"; 4].join("\n")
    );
}

#[test]
fn keys_of_another_class_than_declared_have_ids_that_say_so() {
    let place = Place::Sqlite(File::new());
    let sealed = sealed(&place);
    place.run(&format!(
        "create table users (id int primary key not null, email blob); \
        insert into users values (5, {sealed}), ('x', {sealed}), (x'00', {sealed}), ('7', {sealed})"
    ));
    let store = place.open(table()).unwrap();
    for limit in [1, 2, 10] {
        assert_eq!(ids(&store, Range::all(), limit), ["5", "7", "%tx", "%b00"]);
    }
    assert_eq!(run(&store).counts.moved(), 4);
}

#[test]
fn a_row_without_a_key_ends_a_job_before_it_is_left_out() {
    let place = Place::Sqlite(File::new());
    let sealed = sealed(&place);
    place.run(&format!(
        "create table users (id text primary key, email blob); insert into users values ('a', {sealed}), (null, {sealed})"
    ));
    let store = place.open(table()).unwrap();
    let error = block_on(store.scan(&Range::all(), 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);
    assert!(
        error.to_string().contains("NULL") && !error.is_retryable(),
        "{error}"
    );
}

#[test]
fn what_is_no_blob_is_a_fault() {
    let place = Place::Sqlite(File::new());
    let sealed = sealed(&place);
    place.run(&format!(
        "create table users (id integer primary key, email blob); \
        insert into users values (1, {sealed}), (2, 'text'), (3, 7), (4, cast({sealed} as text))"
    ));
    let report = run(&place.open(table()).unwrap());
    assert_eq!((report.counts.moved(), report.counts.faults()), (1, 3));
    assert!(
        report
            .faults
            .iter()
            .all(|fault| fault.class == FaultClass::Unreadable)
    );
    assert!(report.faults[0].reason.contains("text"), "{:?}", report.faults);
}

#[test]
fn an_index_in_another_collation_than_its_column_orders_no_key() {
    let place = Place::Sqlite(File::new());
    place.run(
        "create table users (id text collate nocase not null, email blob); create unique index one on users (id collate binary)",
    );
    let error = place.open(table().keyed_by(["id"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("collation"), "{error}");
    place.run("create unique index other on users (id)");
    assert!(place.open(table().keyed_by(["ID"])).is_ok());
}

#[test]
fn tables_without_rowid_and_strict_ones_are_tables_like_others() {
    let place = Place::Sqlite(File::new());
    let sealed = sealed(&place);
    place.run(&format!(
        "create table users (a text, b integer, email blob, at integer, primary key (b desc, a)) strict, without rowid; \
        insert into users values ('x', 1, {sealed}, 0), ('x', 2, {sealed}, 0), ('w', 1, {sealed}, 0)"
    ));
    // An index that is partly descending is not the order of the columns.
    let error = place.open(table()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    place.run("create unique index one on users (a, b)");
    let store = place.open(table().keyed_by(["a", "b"]).wrapped_at("at")).unwrap();
    assert_eq!(ids(&store, Range::all(), 2), ["w,1", "x,1", "x,2"]);
    assert_eq!(run(&store).counts.moved(), 3);
    assert_eq!(place.ask("select count(*) from users where at > 1700000000"), "3");
}

#[test]
fn a_file_that_somebody_writes_for_too_long_is_an_error_of_the_call() {
    let place = Place::Sqlite(File::new());
    let sealed = sealed(&place);
    place.run(&format!(
        "create table users (id integer primary key, email blob); insert into users values (1, {sealed}), (2, {sealed})"
    ));
    let file = place.file().unwrap();
    let config = file.config().with_timeout(std::time::Duration::from_millis(200));
    let store: Arc<dyn Store> = Arc::new(block_on(waxseal_sql::SqliteRows::open(config, table())).unwrap());
    let changes: Vec<_> = crate::place::items(&store)
        .into_iter()
        .map(crate::place::change)
        .collect();
    let held = file.hold();
    for answer in block_on(store.replace(&changes)) {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert!(error.is_retryable());
    }
    drop(held);
    assert_eq!(run(&store).counts.moved(), 2);
}

//! Rows of others' tables: which are items, what is replaced, and what never is.

use std::sync::Arc;

use pollster::block_on;
use waxseal::envelope::Header;
use waxseal::fleet::{FaultClass, Range, Replaced, Store, Verify};
use waxseal::{ErrorKind, Sealer};
use waxseal_sql::fleet::Table;

use crate::place::{Place, change, context, ids, items, job, new, old, opened, places, run, scan, seal};

const PAIR: [(&str, &str); 1] = [("table", "users")];

fn table() -> Table {
    Table::new("users", "email").context("table", "users")
}

/// A table of so many rows, numbered from 1 on, each with its number sealed.
fn users(place: &Place, rows: usize) {
    place.run("create table users (id integer primary key, email BYTES, note text)");
    for row in 1..=rows {
        let sealed = place.bytes(&seal(&row.to_string(), &PAIR));
        place.run(&format!("insert into users values ({row}, {sealed}, null)"));
    }
}

fn emails(place: &Place) -> Vec<Vec<u8>> {
    place.read("email", "users where email is not null order by id")
}

#[test]
fn a_job_moves_each_row_and_keeps_its_columns_true() {
    for place in places() {
        let (bytes, time) = match place.is_postgres() {
            true => ("bytea", "timestamptz"),
            false => ("blob", "text"),
        };
        place.run(&format!(
            "create table users (id integer primary key, email {bytes}, tenant text, kek text, wrapped {time})"
        ));
        for row in 1..=30 {
            let tenant = format!("t-{}", row % 3);
            let sealed = place.bytes(&seal(
                &row.to_string(),
                &[("tenant", &tenant), ("for", "{users}")],
            ));
            place.run(&format!(
                "insert into users values ({row}, {sealed}, '{tenant}', 'old', null)"
            ));
        }
        place.run("insert into users values (31, null, 't-1', null, null)");
        let bodies: Vec<_> = emails(&place).iter().map(|sealed| body(sealed)).collect();
        let table = Table::new("users", "email")
            .context("tenant", "{tenant}")
            .context("for", "{{users}}")
            .kek_id("kek")
            .wrapped_at("wrapped");
        let store = place.open(table).unwrap();
        assert!(store.name().ends_with("users.email"), "{}", store.name());
        let report = block_on(job(&store).verify(Verify::All).run()).unwrap();
        let counts = report.counts;
        assert!(report.is_whole, "{report:?}");
        assert_eq!(
            (counts.examined, counts.moved(), counts.read_back, counts.faults()),
            (30, 30, 30, 0),
            "{report:?}"
        );
        for (row, sealed) in (1..=30).zip(emails(&place)) {
            let tenant = format!("t-{}", row % 3);
            assert_eq!(
                opened(&sealed, &[("tenant", &tenant), ("for", "{users}")]),
                row.to_string()
            );
        }
        let after: Vec<_> = emails(&place).iter().map(|sealed| body(sealed)).collect();
        assert_eq!(bodies, after);
        let kek = new().kek().id().to_owned();
        let moved = format!("select count(*) from users where kek = '{kek}' and wrapped is not null");
        assert_eq!(place.ask(&moved), "30");
        // What has no value was not touched.
        assert_eq!(
            place.ask("select count(*) from users where kek is null and wrapped is null"),
            "1"
        );
        // Another run has nothing to do.
        let report = run(&store);
        assert_eq!((report.counts.current, report.counts.moved()), (30, 0));
    }
}

fn body(sealed: &[u8]) -> Vec<u8> {
    sealed[Header::parse(sealed).unwrap().body_offset()..].to_vec()
}

#[test]
fn names_may_have_quotes_capitals_and_be_words_of_the_language() {
    for place in places() {
        let sealed = place.bytes(&seal("x", &[("a", "acme")]));
        place.run(&format!(
            "create table \"Sel\"\"ect's\" (\"order\" integer not null, \"K y\" text not null, \"fr\"\"om\" BYTES, \"Where\" text, \"group\" text, primary key (\"order\", \"K y\")); \
            insert into \"Sel\"\"ect's\" values (1, 'a,b', {sealed}, 'acme', null)"
        ));
        let table = Table::new("Sel\"ect's", "fr\"om")
            .context("a", "{Where}")
            .kek_id("group");
        let store = place.open(table.clone()).unwrap();
        assert_eq!(ids(&store, Range::all(), 10), ["1,a%2Cb"]);
        assert_eq!(run(&store).counts.moved(), 1);
        let sealed = place.read("\"fr\"\"om\"", "\"Sel\"\"ect's\"").remove(0);
        assert_eq!(opened(&sealed, &[("a", "acme")]), "x");
        assert_eq!(
            place.ask("select \"group\" from \"Sel\"\"ect's\""),
            new().kek().id()
        );
        // Another name is another table.
        let error = place.open(Table::new("Select's", "fr\"om")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        for table in [
            Table::new("users\0", "email"),
            Table::new("users", "email").keyed_by(["\0"]),
            table.context("b", "{no\0}"),
        ] {
            assert_eq!(place.open(table).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}

/// The ids of all rows, whatever the pages are, in the order of the database; and each can be read and replaced by it.
fn keyed_by(place: &Place, create: &str, keys: &[&str], order: &str) -> Vec<String> {
    place.run("drop table if exists users");
    place.run(create);
    for (number, key) in keys.iter().enumerate() {
        let sealed = place.bytes(&seal(&number.to_string(), &PAIR));
        place.run(&format!("insert into users values ({key}, {sealed}, {number})"));
    }
    let store = place.open(table()).unwrap();
    let all = ids(&store, Range::all(), 100);
    assert_eq!(all.len(), keys.len());
    for limit in [1, 2, 3] {
        assert_eq!(ids(&store, Range::all(), limit), all);
    }
    let numbers = place.ask(&format!(
        "select cast(number as text) from users order by {order}"
    ));
    for (id, number) in all.iter().zip(numbers.lines()) {
        let item = block_on(store.front(id)).unwrap().unwrap();
        assert_eq!(item.id(), id);
        let stored = place.read("email", &format!("users where number = {number}"));
        assert_eq!(item.front(), stored[0], "{id}");
    }
    for (at, id) in all.iter().enumerate() {
        let range = Range::all().from_after(id);
        assert_eq!(ids(&store, range, 2), all[at + 1..], "{id}");
        assert_eq!(ids(&store, Range::all().up_to(id), 2), all[..=at], "{id}");
    }
    let ranges = block_on(store.split(&Range::all(), 3)).unwrap();
    let divided: Vec<_> = ranges
        .into_iter()
        .flat_map(|range| ids(&store, range, 2))
        .collect();
    assert_eq!(divided, all);
    assert_eq!(run(&store).counts.moved(), keys.len() as u64);
    for (number, sealed) in place.read("email", "users order by number").iter().enumerate() {
        assert_eq!(opened(sealed, &PAIR), number.to_string());
    }
    all
}

#[test]
fn keys_are_integers_texts_uuids_bytes_and_several_of_them() {
    for place in places() {
        let create = |key: &str| format!("create table users ({key}, email BYTES, number integer)");
        let found = keyed_by(
            &place,
            &create("id bigint primary key"),
            &["-5", "9223372036854775807", "0", "10", "9"],
            "id",
        );
        assert_eq!(found, ["-5", "0", "9", "10", "9223372036854775807"]);

        let texts = [
            "'b'", "'a'", "'B'", "''", "'a,b'", "'100%'", "'%2C'", "'ä'", "'\"''\\'", "' a'",
        ];
        let found = keyed_by(&place, &create("id text primary key not null"), &texts, "id");
        assert!(found.contains(&"100%25".to_owned()) && found.contains(&"a,b".to_owned()));

        let found = keyed_by(
            &place,
            "create table users (tenant text not null, id integer not null, email BYTES, number integer, primary key (tenant, id))",
            &["'a', 2", "'a', 10", "'a,1', 1", "'', 1", "'b%', -1"],
            "tenant, id",
        );
        assert!(found.contains(&"a%2C1,1".to_owned()) && found.contains(&",1".to_owned()));

        let uuids = [
            "'f47ac10b-58cc-4372-a567-0e02b2c3d479'",
            "'01890a5d-ac96-774b-bcce-b302099a8057'",
            "'01890a5d-ac96-774b-bcce-b302099a8056'",
        ];
        keyed_by(&place, &create("id uuid primary key not null"), &uuids, "id");

        let bytes: Vec<String> = [&[0xff][..], &[], &[0, 1], &[0]]
            .iter()
            .map(|bytes| place.bytes(bytes))
            .collect();
        let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
        let found = keyed_by(&place, &create("id BYTES primary key not null"), &bytes, "id");
        assert_eq!(found, ["", "00", "0001", "ff"]);

        // In the order of the columns' own collation, which is not that of their bytes.
        let collation = match place.is_postgres() {
            true => {
                place.run("create collation other (provider = icu, locale = 'und')");
                "other"
            }
            false => "nocase",
        };
        let key = format!("id text collate {collation} primary key not null");
        let found = keyed_by(&place, &create(&key), &["'a'", "'C'", "'b'", "'D'"], "id");
        assert_eq!(found, ["a", "b", "C", "D"]);
    }
}

#[test]
fn an_id_that_is_none_of_the_table_is_refused() {
    for place in places() {
        users(&place, 1);
        let store = place.open(table()).unwrap();
        for id in ["x", "1,2", "", "01"] {
            assert_eq!(
                block_on(store.front(id)).unwrap_err().kind(),
                ErrorKind::InvalidArgument,
                "{id}"
            );
            let error = block_on(store.scan(&Range::all().from_after(id), 5)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{id}");
        }
        assert!(block_on(store.front("99999999999")).unwrap().is_none());
        assert_eq!(ids(&store, Range::all().up_to("99999999999"), 5), ["1"]);
    }
}

fn replace(store: &Arc<dyn Store>, changes: &[waxseal::fleet::Change]) -> Vec<Replaced> {
    let answers = block_on(store.replace(changes)).into_iter();
    answers.map(|answer| answer.unwrap()).collect()
}

#[test]
fn a_row_that_changes_meanwhile_is_never_overwritten() {
    for place in places() {
        users(&place, 6);
        let store = place.open(table()).unwrap();
        let changes: Vec<_> = items(&store).into_iter().map(change).collect();
        let before = emails(&place);
        // Another value of the same length.
        let other = seal("9", &PAIR);
        assert_eq!(other.len(), before[1].len());
        // The same front, and a longer body.
        let longer = [before[2].as_slice(), b"+"].concat();
        place.run(&format!(
            "update users set email = {} where id = 2; update users set email = {} where id = 3; \
            delete from users where id = 4; update users set email = null where id = 5",
            place.bytes(&other),
            place.bytes(&longer)
        ));
        use Replaced::{Changed, Done, Gone};
        assert_eq!(
            replace(&store, &changes),
            [Done, Changed, Changed, Gone, Gone, Done]
        );
        let now = emails(&place);
        assert_eq!(now.len(), 4);
        assert_eq!(
            (opened(&now[0], &PAIR), opened(&now[3], &PAIR)),
            ("1".to_owned(), "6".to_owned())
        );
        assert_eq!((&now[1], &now[2]), (&other, &longer));
        // What was done is not done again: those are other values now.
        assert_eq!(replace(&store, &changes)[..2], [Changed, Changed]);
        assert_eq!(emails(&place), now);
    }
}

#[test]
fn a_value_that_was_changed_back_is_what_was_read_only_where_no_version_tells() {
    for place in places() {
        users(&place, 1);
        let store = place.open(table()).unwrap();
        let changes: Vec<_> = items(&store).into_iter().map(change).collect();
        let before = place.bytes(&emails(&place)[0]);
        place.run("update users set email = null");
        place.run(&format!("update users set email = {before}"));
        let answer = replace(&store, &changes);
        let whole = match place.is_postgres() {
            true => Replaced::Changed,
            // The same bytes, whose wraps these are.
            false => Replaced::Done,
        };
        assert_eq!(answer, [whole]);
        // A job reads it again.
        run(&store);
        assert_eq!(opened(&emails(&place)[0], &PAIR), "1");
    }
}

#[test]
fn a_row_that_the_database_refuses_is_one_fault_and_the_others_are_moved() {
    for place in places() {
        users(&place, 20);
        place.run(match place.is_postgres() {
            true => {
                "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not this one: %', old.note; end $$; \
                create trigger refuse before update on users for each row when (old.id = 13) execute procedure refuse()"
            }
            false => {
                "create trigger refuse before update on users when old.id = 13 begin select raise(abort, 'not this one'); end"
            }
        });
        let store = place.open(table()).unwrap();
        let before = emails(&place);
        let report = run(&store);
        assert_eq!(
            (report.counts.moved(), report.counts.faults()),
            (19, 1),
            "{report:?}"
        );
        let fault = &report.faults[0];
        assert_eq!((fault.id.as_str(), fault.class), ("13", FaultClass::Unreadable));
        assert!(
            fault.reason.contains("trigger") || fault.reason.contains("refused"),
            "{fault:?}"
        );
        let now = emails(&place);
        assert_eq!(now[12], before[12]);
        assert_eq!(opened(&now[13], &PAIR), "14");
    }
}

#[test]
fn a_row_without_its_context_is_a_fault_and_not_an_empty_value() {
    for place in places() {
        place.run("create table users (id integer primary key, email BYTES, tenant text, region integer)");
        for (row, tenant, region) in [
            (1, "'acme'", "7"),
            (2, "null", "7"),
            (3, "''", "7"),
            (4, "'acme'", "null"),
        ] {
            let named = tenant.trim_matches('\'').replace("null", "");
            let sealed = place.bytes(&seal("x", &[("tenant", &format!("{named}/7"))]));
            place.run(&format!(
                "insert into users values ({row}, {sealed}, {tenant}, {region})"
            ));
        }
        let table = Table::new("users", "email").context("tenant", "{tenant}/{region}");
        let store = place.open(table).unwrap();
        let report = run(&store);
        assert_eq!(
            (report.counts.moved(), report.counts.faults()),
            (2, 2),
            "{report:?}"
        );
        let mut faults = report.faults;
        faults.sort_by(|one, other| one.id.cmp(&other.id));
        for (fault, (id, column)) in faults.iter().zip([("2", "tenant"), ("4", "region")]) {
            assert_eq!((fault.id.as_str(), fault.class), (id, FaultClass::Unreadable));
            assert!(
                fault.reason.contains(column) && fault.reason.contains("NULL"),
                "{fault:?}"
            );
        }
    }
}

#[test]
fn a_sealer_and_a_template_make_the_same_pairs() {
    for place in places() {
        let (flag, large) = match place.is_postgres() {
            true => ("boolean", "true"),
            false => ("text", "'true'"),
        };
        let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
        let pairs = [
            ("tenant", "Ünï, {x}"),
            ("row", "users/-3"),
            ("id", uuid),
            ("flag", "true"),
            ("empty", ""),
        ];
        let sealed = place.bytes(&seal("x", &pairs));
        place.run(&format!(
            "create table users (id uuid primary key not null, email BYTES, n smallint, t text, flag {flag}); \
            insert into users values ('{uuid}', {sealed}, -3, 'Ünï', {large})"
        ));
        let table = Table::new("users", "email")
            .context("flag", "{flag}")
            .context("tenant", "{t}, {{x}}")
            .context("row", "users/{n}")
            .context("id", "{id}")
            .context("empty", "");
        let store = place.open(table).unwrap();
        assert_eq!(items(&store)[0].context(), Some(&context(&pairs)));
        assert_eq!(run(&store).counts.moved(), 1);
    }
}

#[test]
fn what_is_no_envelope_is_left_alone() {
    for place in places() {
        users(&place, 2);
        place.run(&format!(
            "insert into users values (3, {}, null), (4, {}, null), (5, {}, null)",
            place.bytes(b"no envelope"),
            place.bytes(b""),
            place.bytes(&seal("x", &PAIR)[..40])
        ));
        let store = place.open(table()).unwrap();
        let before = emails(&place);
        let report = run(&store);
        let counts = report.counts;
        assert_eq!(
            (counts.moved(), counts.foreign, counts.tampered),
            (2, 2, 1),
            "{report:?}"
        );
        assert_eq!(emails(&place)[2..], before[2..]);
    }
}

#[test]
fn headers_that_are_longer_than_the_first_read_are_read_whole() {
    for place in places() {
        place.run("create table users (id integer primary key, email BYTES)");
        let sealer = Sealer::builder().wrap_with(old()).padding(20_000).store_context();
        let sealer = sealer.build().unwrap();
        for row in 1..=3 {
            let sealed = block_on(sealer.seal(row.to_string().as_bytes(), &context(&PAIR))).unwrap();
            place.run(&format!(
                "insert into users values ({row}, {})",
                place.bytes(&sealed)
            ));
        }
        // The context is in the envelopes.
        let store = place.open(Table::new("users", "email")).unwrap();
        assert!(
            items(&store)
                .iter()
                .all(|item| item.front().len() > 20_000 && item.context().is_none())
        );
        let report = block_on(job(&store).verify(Verify::All).run()).unwrap();
        assert_eq!(
            (report.counts.moved(), report.counts.faults()),
            (3, 0),
            "{report:?}"
        );
        for (row, sealed) in (1..=3).zip(emails(&place)) {
            assert_eq!(opened(&sealed, &PAIR), row.to_string());
        }
    }
}

#[test]
fn an_id_of_a_kek_for_which_there_is_no_room_is_a_fault_and_not_cut_off() {
    for place in places() {
        let sealed = place.bytes(&seal("x", &PAIR));
        place.run(&format!(
            "create table users (id integer primary key, email BYTES, kek varchar(6) check (length(kek) <= 6)); \
            insert into users values (1, {sealed}, 'old')"
        ));
        let store = place.open(table().kek_id("kek")).unwrap();
        let before = emails(&place);
        let report = run(&store);
        assert_eq!(
            (report.counts.moved(), report.counts.faults()),
            (0, 1),
            "{report:?}"
        );
        assert_eq!(emails(&place), before);
        assert_eq!(place.ask("select kek from users"), "old");
    }
}

#[test]
fn rows_without_values_are_passed_over_however_many_they_are() {
    for place in places() {
        let numbers = match place.is_postgres() {
            true => "generate_series(1, 150000) as s(n)",
            false => {
                "(with recursive s(n) as (select 1 union all select n + 1 from s where n < 150000) select n from s)"
            }
        };
        place.run(&format!(
            "create table users (id integer primary key, email BYTES); insert into users (id) select n from {numbers}"
        ));
        let sealed = place.bytes(&seal("x", &PAIR));
        for row in [70_000, 149_999] {
            place.run(&format!("update users set email = {sealed} where id = {row}"));
        }
        let store = place.open(table()).unwrap();
        assert_eq!(ids(&store, Range::all(), 5), ["70000", "149999"]);
        assert_eq!(run(&store).counts.moved(), 2);
    }
}

#[test]
fn a_range_is_divided_into_about_equal_ones() {
    for place in places() {
        users(&place, 100);
        let store = place.open(table()).unwrap();
        let range = Range::all().from_after("20").up_to("80");
        let ranges = block_on(store.split(&range, 4)).unwrap();
        let counts: Vec<usize> = ranges
            .iter()
            .map(|range| scan(&store, range.clone(), 50).len())
            .collect();
        assert_eq!(counts, [15; 4]);
        assert_eq!((ranges[0].after(), ranges[3].until()), (Some("20"), Some("80")));
        assert!(ranges.windows(2).all(|two| two[0].until() == two[1].after()));
        // More than there are, and of nothing.
        assert!(block_on(store.split(&range, 1000)).unwrap().len() <= 61);
        let none = Range::all().from_after("100");
        assert_eq!(block_on(store.split(&none, 4)).unwrap(), [none]);
    }
}

#[test]
fn what_a_table_lacks_is_said_when_it_is_opened() {
    for place in places() {
        users(&place, 1);
        place.run(
            "create table keyless (id integer, email BYTES); \
            create table loose (a integer not null, b integer not null, email BYTES, unique (b, a)); \
            create view seen as select id, email from users",
        );
        for (table, kind, says) in [
            (
                Table::new("nobody", "email"),
                ErrorKind::Configuration,
                "no table \"nobody\"",
            ),
            (
                Table::new("users", "mail"),
                ErrorKind::Configuration,
                "no column \"mail\"; it has id, email, note",
            ),
            (Table::new("users", "note"), ErrorKind::Configuration, "\"note\""),
            (
                table().context("a", "{b}"),
                ErrorKind::Configuration,
                "no column \"b\"",
            ),
            (
                table().kek_id("kek"),
                ErrorKind::Configuration,
                "no column \"kek\"",
            ),
            (
                table().wrapped_at("kek"),
                ErrorKind::Configuration,
                "no column \"kek\"",
            ),
            (
                table().keyed_by(["note"]),
                ErrorKind::Configuration,
                "no unique index on (note)",
            ),
            (
                Table::new("keyless", "email"),
                ErrorKind::Configuration,
                "no primary key",
            ),
            (
                Table::new("loose", "email").keyed_by(["a", "b"]),
                ErrorKind::Configuration,
                "(b, a)",
            ),
            (Table::new("seen", "email"), ErrorKind::Configuration, "view"),
            (
                table().in_schema("elsewhere"),
                ErrorKind::Configuration,
                "in_schema",
            ),
            (Table::new("", "email"), ErrorKind::InvalidArgument, "no name"),
        ] {
            let error = place.open(table).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        assert!(
            place
                .open(Table::new("loose", "email").keyed_by(["b", "a"]))
                .is_ok()
        );
    }
}

#[test]
fn a_table_for_reading_is_not_written() {
    for place in places() {
        users(&place, 3);
        let before = emails(&place);
        let store = place.open(table().read_only()).unwrap();
        let report = block_on(job(&store).dry_run().run()).unwrap();
        assert_eq!((report.counts.moved(), report.counts.faults()), (3, 0));
        let changes: Vec<_> = items(&store).into_iter().map(change).collect();
        for answer in block_on(store.replace(&changes)) {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Denied);
        }
        assert_eq!(emails(&place), before);
    }
}

#[test]
fn no_value_of_a_row_is_in_an_error_or_in_debug() {
    for place in places() {
        place.run("create table users (id integer primary key, email BYTES, tenant text, kek varchar(4) check (length(kek) < 5))");
        let sealed = place.bytes(&seal("x", &[("tenant", "c4n4ry")]));
        place.run(&format!("insert into users values (1, {sealed}, 'c4n4ry', null)"));
        let table = Table::new("users", "email")
            .context("tenant", "{tenant}")
            .kek_id("kek");
        let store = place.open(table).unwrap();
        let changes: Vec<_> = items(&store).into_iter().map(change).collect();
        let error = block_on(store.replace(&changes)).remove(0).unwrap_err();
        let shown = format!(
            "{error} {error:?} {store:?} {:?}",
            block_on(job(&store).run()).unwrap()
        );
        assert!(!shown.contains("c4n4ry"), "{shown}");
    }
}

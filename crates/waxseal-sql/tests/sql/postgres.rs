//! PostgreSQL: the contract, roles, TLS, and servers that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use waxseal::ErrorKind;
use waxseal::ring::inventory::{Heartbeat, Snapshot};
use waxseal::ring::{Inventory, State};
use waxseal::testing::inventory_conformance::Subject;
use waxseal_sql::{PostgresConfig, PostgresInventory};

use crate::support::{Database, change, key};

#[test]
fn postgres_does_its_duty() {
    let Some(database) = Database::new() else { return };
    let database = Arc::new(database);
    let next = Arc::new(AtomicU32::new(0));
    let subject = Subject::new(move || {
        let ring = format!("ring {}", next.fetch_add(1, Ordering::SeqCst));
        let database = Arc::clone(&database);
        async move {
            let one = PostgresInventory::create(database.config(&ring)).await?;
            Ok((one, PostgresInventory::connect(database.config(&ring)).await?))
        }
    });
    crate::support::passes(&subject.with_canary(crate::support::CANARY));
}

#[test]
fn rings_of_one_database_do_not_see_each_other() {
    let Some(database) = Database::new() else { return };
    pollster::block_on(async {
        let one = PostgresInventory::create(database.config("one")).await.unwrap();
        let other = PostgresInventory::create(database.config("other")).await.unwrap();
        one.commit(&change(0, vec![key(1, "a", State::Active)]))
            .await
            .unwrap();
        assert_eq!(other.revision().await.unwrap(), 0);
        other
            .commit(&change(0, vec![key(1, "a", State::Retired)]))
            .await
            .unwrap();
        let beat = Heartbeat::new("r".to_owned(), "p".to_owned(), 1, Vec::new());
        one.beat(&beat).await.unwrap();
        assert_eq!(
            other
                .heartbeats(waxseal::ring::Time::from_microseconds(0).unwrap())
                .await
                .unwrap(),
            []
        );
        for (inventory, state) in [(&one, State::Active), (&other, State::Retired)] {
            let rows = inventory.read(&["a".parse().unwrap()], &[]).await.unwrap().rows;
            assert_eq!(
                rows.iter().map(|row| row.state).collect::<Vec<_>>(),
                [Some(state)]
            );
        }
        one.commit(&change(1, Vec::new())).await.unwrap();
        assert_eq!(
            (one.revision().await.unwrap(), other.revision().await.unwrap()),
            (2, 1)
        );
    });
}

#[test]
fn a_database_without_tables_and_one_that_does_not_exist_are_said_to_be() {
    let Some(database) = Database::new() else { return };
    pollster::block_on(async {
        let error = PostgresInventory::connect(database.config("r"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("make a ring"), "{error}");
        let url = database.url().replace("/postgres?", "/there-is-none?");
        let config = PostgresConfig::new(&url.into(), "r").unwrap();
        let error = PostgresInventory::connect(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    });
}

#[test]
fn several_processes_may_make_the_tables_at_once() {
    let Some(database) = Database::new() else { return };
    std::thread::scope(|scope| {
        for number in 0..8 {
            let config = database.config(&format!("ring {number}"));
            scope.spawn(move || {
                pollster::block_on(async {
                    let inventory = PostgresInventory::create(config).await.unwrap();
                    inventory.commit(&change(0, Vec::new())).await.unwrap();
                });
            });
        }
    });
}

#[test]
fn a_reader_can_call_everything_but_what_changes_the_ring() {
    let Some(database) = Database::new() else { return };
    pollster::block_on(async {
        let owner = PostgresInventory::create(database.config("r")).await.unwrap();
        owner
            .commit(&change(0, vec![key(1, "a", State::Active)]))
            .await
            .unwrap();
        let [reader, provisioner, writer] = database.roles().await;

        // Also `create`, since there is nothing to make.
        drop(
            PostgresInventory::create(database.config_as(&reader, "r"))
                .await
                .unwrap(),
        );
        let inventory = PostgresInventory::connect(database.config_as(&reader, "r"))
            .await
            .unwrap();
        assert_eq!(inventory.revision().await.unwrap(), 1);
        let start = inventory.now().await.unwrap();
        assert_eq!(
            inventory
                .read(&["a".parse().unwrap()], &[String::new()])
                .await
                .unwrap()
                .rows
                .len(),
            1
        );
        assert!(
            inventory
                .scope_of(key(1, "a", State::Active).id)
                .await
                .unwrap()
                .is_some()
        );
        assert_eq!(
            inventory
                .scopes_of_kek("conformance", "kek-1", 9)
                .await
                .unwrap()
                .len(),
            1
        );
        assert_eq!(inventory.scopes_due(start, 9).await.unwrap(), []);
        assert_eq!(inventory.next_due().await.unwrap(), None);
        assert_eq!(inventory.scopes_after(None, 9).await.unwrap().len(), 1);
        for _ in 0..2 {
            let beat = Heartbeat::new("r".to_owned(), "p".to_owned(), 1, Vec::new());
            inventory.beat(&beat).await.unwrap();
        }
        assert_eq!(inventory.heartbeats(start).await.unwrap().len(), 1);
        let denied = [
            inventory.commit(&change(1, Vec::new())).await,
            inventory.commit(&change(0, Vec::new())).await,
            inventory.restore(&owner.read(&[], &[]).await.unwrap()).await,
        ];
        for denied in denied {
            assert_eq!(denied.unwrap_err().kind(), ErrorKind::Denied);
        }
        let first = key(7, "first", State::Active);
        let denied = inventory.provision(1, &first).await.unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::Denied);
        assert!(denied.to_string().contains("waxseal_provisioner"), "{denied}");
        // A provisioner adds the first key of a scope, and no second one, and none beside a record or at another revision.
        let inventory = PostgresInventory::connect(database.config_as(&provisioner, "r"))
            .await
            .unwrap();
        assert_eq!(inventory.provision(1, &first).await.unwrap(), first);
        assert_eq!(
            inventory
                .provision(1, &key(8, "first", State::Active))
                .await
                .unwrap(),
            first
        );
        for (follows, of) in [(1, "a"), (2, "b")] {
            let refused = inventory.provision(follows, &key(9, of, State::Active)).await;
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
        }
        database
            .denies(
                &reader,
                &[
                    "update waxseal_provisioned set scope = 'x'",
                    "delete from waxseal_provisioned",
                    "truncate waxseal_provisioned",
                    "insert into waxseal_row select * from waxseal_row",
                    "select * from waxseal_ring for update",
                ],
            )
            .await;
        // It goes on.
        assert_eq!(inventory.revision().await.unwrap(), 1);

        let inventory = PostgresInventory::connect(database.config_as(&writer, "r"))
            .await
            .unwrap();
        inventory
            .commit(&change(1, vec![key(1, "a", State::Deprecated)]))
            .await
            .unwrap();
        assert_eq!(
            inventory.scopes_provisioned(None, 9).await.unwrap(),
            ["first".parse().unwrap()]
        );
        let mut gone = change(2, Vec::new());
        gone.delete = vec![key(1, "a", State::Active).id];
        gone.take = vec![first.id];
        gone.put = vec![first];
        inventory.commit(&gone).await.unwrap();
    });
}

#[test]
fn a_wrong_password_is_said_to_be_one_and_not_printed() {
    let Some(database) = Database::new() else { return };
    pollster::block_on(async {
        PostgresInventory::create(database.config("r")).await.unwrap();
        let [reader, ..] = database.roles().await;
        let url = database
            .url_as(&reader)
            .replace(crate::support::CANARY, "wr0ng-c4n4ry");
        let error = PostgresInventory::connect(PostgresConfig::new(&url.into(), "r").unwrap())
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unauthenticated, false)
        );
        let mut printed = format!("{error} {error:?} {error:#?}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            printed.push_str(&format!("{cause} {cause:?}"));
            source = cause.source();
        }
        assert!(!printed.contains("wr0ng"), "{printed}");
        let good = PostgresInventory::connect(database.config_as(&reader, "r"))
            .await
            .unwrap();
        assert!(!format!("{good:?} {good:#?}").contains(crate::support::CANARY));
    });
}

#[test]
fn a_server_is_believed_by_its_certificate() {
    let Some(database) = Database::new() else { return };
    pollster::block_on(async {
        let with =
            |more: &str| PostgresConfig::new(&format!("{}&{more}", database.url()).into(), "r").unwrap();
        let ca = std::env::var("WAXSEAL_TEST_POSTGRES_CA").unwrap();
        let good = with(&format!("sslmode=verify-full&sslrootcert={ca}"));
        PostgresInventory::create(good).await.unwrap();
        // No public authority has signed it.
        let error = PostgresInventory::connect(with("sslmode=verify-full"))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.is_retryable()),
            (ErrorKind::Unavailable, false),
            "{error}"
        );
        assert!(error.to_string().contains("sslrootcert"), "{error}");
        // It is not for this name.
        let url = database.url().replace("@127.0.0.1:", "@localhost:");
        let config =
            PostgresConfig::new(&format!("{url}&sslmode=verify-full&sslrootcert={ca}").into(), "r").unwrap();
        assert_eq!(
            PostgresInventory::connect(config).await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
    });
}

#[test]
fn a_change_is_on_the_disk_although_the_server_is_told_not_to_wait() {
    let Some(database) = Database::new() else { return };
    pollster::block_on(async {
        // The server of the tests is started so.
        assert_eq!(database.ask("show synchronous_commit").await, "off");
        PostgresInventory::create(database.config("r")).await.unwrap();
        let trigger = "create table said (setting text); \
            create function say() returns trigger language plpgsql as \
            $$ begin insert into said select current_setting('synchronous_commit'); return null; end $$; \
            create trigger say after insert on waxseal_ring execute function say();";
        database.run(trigger).await;
        let inventory = PostgresInventory::connect(database.config("r")).await.unwrap();
        inventory.commit(&change(0, Vec::new())).await.unwrap();
        assert_eq!(database.ask("select setting from said").await, "on");
    });
}

#[test]
fn a_large_ring_is_restored_in_few_statements() {
    let Some(database) = Database::new() else {
        return;
    };
    let mut whole = Snapshot::default();
    whole.revision = 1;
    whole.head = Some(crate::support::signed("head"));
    whole.rows = (0..5_007)
        .map(|number| key(number, &format!("tenant/{number}"), State::Active))
        .collect();
    let paths: Vec<String> = (0..350).map(|number| format!("{number:03x}")).collect();
    for path in &paths {
        whole.nodes.insert(path.clone(), path.clone().into_bytes());
    }
    pollster::block_on(async {
        let inventory = PostgresInventory::create(database.config("r")).await.unwrap();
        database
            .run("create table inserts (n bigint); create function note_insert() returns trigger language plpgsql as \
                $$ begin insert into inserts values (1); return null; end $$; \
                create trigger note_insert after insert on waxseal_row for each statement execute function note_insert()")
            .await;
        inventory.restore(&whole).await.unwrap();
        assert_eq!(
            database.ask("select count(*)::text from waxseal_row").await,
            "5007"
        );
        assert_eq!(database.ask("select count(*)::text from inserts").await, "107");
        // By more than one statement, of which the last ones ask for nodes alone, or for scopes alone.
        for (scopes, nodes) in [(150, 350), (350, 150), (350, 0), (0, 350)] {
            let scopes: Vec<_> = (0..scopes)
                .map(|number| format!("tenant/{number}").parse().unwrap())
                .collect();
            let snapshot = inventory.read(&scopes, &paths[..nodes]).await.unwrap();
            assert_eq!((snapshot.rows.len(), snapshot.nodes.len()), (scopes.len(), nodes));
            assert_eq!(snapshot.revision, 1);
        }
    });
}

//! Rotations of what tables hold.

use super::*;

impl Shell {
    /// A table of sealed values, made and read by Python's own SQLite. Returns what the script prints.
    fn table(&self, script: &str) -> String {
        let script = format!("import sqlite3; d = sqlite3.connect('app.db')\n{script}\nd.commit()");
        done(self.run("python3", &["-c", &script], &[]))
    }
}

#[test]
fn a_table_is_rotated_rewrapped_counted_and_its_old_key_retired() {
    let (shell, first) = Shell::with_ring(&["--overlap", "PT0S"]);
    shell.table(
        "d.execute('create table users (id integer primary key, tenant_id text, email blob)')\n\
         [d.execute('insert into users (tenant_id, email) values (?, ?)', ('acme', open(f'data/{i % 3}.wax', 'rb').read())) for i in range(600)]\n\
         d.execute('insert into users (tenant_id, email) values (?, ?)', ('acme', b'no envelope'))",
    );
    fs::remove_dir_all(shell.path("data")).unwrap();
    fs::write(
        shell.path("users.toml"),
        "kind = \"sqlite\"\nname = \"users\"\npath = \"app.db\"\ntable = \"users\"\nenvelope = \"email\"\n[context]\ntenant = \"{tenant_id}\"\n",
    )
    .unwrap();
    done(shell.tool(&["ring", "set", "--must-cover", "store:users"]));
    let rotate = |variables: &[(&str, &str)]| {
        shell.runbook_with("ring-rotate-stores", &["/", "quarterly", "users.toml"], variables)
    };
    let bodies = "[print(e[-30:].hex()) for (e,) in d.execute('select email from users order by id')]";
    let before = shell.table(bodies);
    // A dry run rotates nothing, and everything is under the active key.
    let said = done(rotate(&[("DRY_RUN", "1")]));
    assert!(said.contains("600  wrapped as configured already"), "{said}");

    let said = done(rotate(&[]));
    assert!(said.contains("1 stores, 0 of them"), "{said}");
    assert!(said.contains("store:users") && said.contains("600"), "{said}");
    assert_eq!(shell.ids("deprecated"), [first.as_str()]);
    assert_eq!(shell.table(bodies), before);
    let said = done(rotate(&[("NO_ROTATE", "1")]));
    assert!(said.contains("600  wrapped as configured already"), "{said}");

    // A count of something else is none of the table.
    age(shell.0.path());
    fs::create_dir(shell.path("data")).unwrap();
    let complained = failed(shell.runbook("ring-retire", &[&first, "data"]));
    assert!(complained.contains("store:users"), "{complained}");
    done(shell.runbook("ring-retire", &[&first, "users.toml"]));
    assert_eq!(shell.ids("retired"), [first.as_str()]);
    shell.table("[open(f'data/{i}.wax', 'wb').write(e) for i, e in d.execute('select id % 3, email from users where id > 3 and id <= 600')]");
    fs::rename(shell.path("data/0.wax"), shell.path("data/3.wax")).unwrap();
    for (file, content) in [("1", "content 0"), ("2", "content 1"), ("3", "content 2")] {
        let file = format!("data/{file}.wax");
        let opened = shell.tool(&["open", "--ring", "ring.toml", "--context", CONTEXT, &file]);
        assert_eq!(done(opened), content);
    }
}

-- Three roles for an inventory in PostgreSQL. Run this as the owner of the tables, after `PostgresInventory::create`, in the same
-- database and with the same search_path; then: grant waxseal_reader to app; grant waxseal_writer to operator; and,
-- where keys are provisioned on first use, grant waxseal_provisioner to app.
--
-- A reader uses a ring: it reads everything and writes heartbeats, and can change no key and no state.
create role waxseal_reader nologin;
grant select on waxseal_schema, waxseal_ring, waxseal_succession, waxseal_node, waxseal_row, waxseal_provisioned, waxseal_heartbeat to waxseal_reader;
grant insert, update on waxseal_heartbeat to waxseal_reader;

-- A provisioner is a reader that also inserts the first keys of scopes. It can neither change nor delete one. Only what the key of a provisioner has signed is
-- believed, but whatever else it inserts blocks that scope until somebody runs `waxseal ring drop-unbelieved`: grant it to nobody who does not need it.
create role waxseal_provisioner nologin in role waxseal_reader;
grant insert on waxseal_provisioned to waxseal_provisioner;

-- A writer administers a ring.
create role waxseal_writer nologin;
grant select on waxseal_schema to waxseal_writer;
grant select, insert, update, delete on waxseal_ring, waxseal_succession, waxseal_node, waxseal_row, waxseal_provisioned, waxseal_heartbeat to waxseal_writer;

-- A logger keeps events in an audit log, and can neither change nor delete one.
create role waxseal_logger nologin;
grant select on waxseal_schema, waxseal_log, waxseal_log_record to waxseal_logger;
grant update on waxseal_log to waxseal_logger;
grant insert on waxseal_log_record to waxseal_logger;

-- An auditor reads audit logs, and nothing else.
create role waxseal_auditor nologin;
grant select on waxseal_schema, waxseal_log, waxseal_log_record to waxseal_auditor;

-- A mover works at jobs that re-wrap rows, and pauses and cancels them. The rights to the rows themselves are granted on their tables.
create role waxseal_mover nologin;
grant select on waxseal_schema, waxseal_job, waxseal_job_part, waxseal_job_fault to waxseal_mover;
grant insert, update on waxseal_job, waxseal_job_part to waxseal_mover;
grant insert on waxseal_job_fault to waxseal_mover;

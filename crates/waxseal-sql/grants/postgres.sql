-- Two roles for an inventory in PostgreSQL. Run this as the owner of the tables, after `PostgresInventory::create`, in the same
-- database and with the same search_path; then: grant waxseal_reader to app; grant waxseal_writer to operator.
--
-- A reader uses a ring: it reads everything and writes heartbeats, and can change no key and no state. Where keys are provisioned on first
-- use, it inserts the first key of a scope, which must be signed by a provisioner, and can neither change nor delete it. Leave that grant out for readers that provision none.
create role waxseal_reader nologin;
grant select on waxseal_schema, waxseal_ring, waxseal_succession, waxseal_node, waxseal_row, waxseal_provisioned, waxseal_heartbeat to waxseal_reader;
grant insert, update on waxseal_heartbeat to waxseal_reader;
grant insert on waxseal_provisioned to waxseal_reader;

-- A writer administers a ring.
create role waxseal_writer nologin;
grant select on waxseal_schema to waxseal_writer;
grant select, insert, update, delete on waxseal_ring, waxseal_succession, waxseal_node, waxseal_row, waxseal_provisioned, waxseal_heartbeat to waxseal_writer;

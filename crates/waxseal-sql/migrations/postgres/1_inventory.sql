-- The inventory of a key ring. Times are microseconds after 1970-01-01T00:00:00Z.

create table waxseal_ring (
    ring text collate "C" not null primary key,
    revision bigint not null check (revision > 0),
    head_body bytea not null check (octet_length(head_body) between 1 and 262144),
    head_signer bytea not null check (octet_length(head_signer) = 32),
    head_signature bytea not null check (octet_length(head_signature) = 64),
    settings_body bytea check (octet_length(settings_body) between 1 and 262144),
    settings_signer bytea check (octet_length(settings_signer) = 32),
    settings_signature bytea check (octet_length(settings_signature) = 64),
    check ((settings_body is null) = (settings_signer is null) and (settings_body is null) = (settings_signature is null))
);

create table waxseal_succession (
    ring text collate "C" not null,
    position bigint not null check (position > 0),
    body bytea not null check (octet_length(body) between 1 and 262144),
    signer bytea not null check (octet_length(signer) = 32),
    signature bytea not null check (octet_length(signature) = 64),
    primary key (ring, position)
);

create table waxseal_node (
    ring text collate "C" not null,
    path text collate "C" not null check (octet_length(path) <= 3),
    body bytea not null check (octet_length(body) between 1 and 262144),
    primary key (ring, path)
);

create table waxseal_row (
    ring text collate "C" not null,
    id text collate "C" not null check (octet_length(id) = 36),
    kind text collate "C" not null check (octet_length(kind) <= 16),
    scope text collate "C" not null check (octet_length(scope) between 1 and 512),
    slot text collate "C" not null check (octet_length(slot) between 1 and 64),
    state text collate "C" check (octet_length(state) <= 16),
    revision bigint not null check (revision >= 0),
    kek_provider text collate "C" check (octet_length(kek_provider) <= 32),
    kek_id text collate "C" check (octet_length(kek_id) <= 2048),
    kek_version text collate "C" check (octet_length(kek_version) <= 255),
    due bigint,
    body bytea not null check (octet_length(body) between 1 and 262144),
    signer bytea not null check (octet_length(signer) = 32),
    signature bytea not null check (octet_length(signature) = 64),
    primary key (ring, id),
    check ((kek_provider is null) = (kek_id is null) and (kek_provider is null) = (kek_version is null))
);

create unique index waxseal_row_active on waxseal_row (ring, scope, slot) where state = 'active';
create index waxseal_row_scope on waxseal_row (ring, scope);
create index waxseal_row_pending on waxseal_row (ring, scope) where state = 'pending';
create index waxseal_row_kek on waxseal_row (ring, kek_provider, kek_id) where kek_id is not null;
create index waxseal_row_due on waxseal_row (ring, due, scope) where due is not null;

create table waxseal_heartbeat (
    ring text collate "C" not null,
    reader text collate "C" not null check (octet_length(reader) between 1 and 255),
    process text collate "C" not null check (octet_length(process) between 1 and 255),
    revision bigint not null check (revision >= 0),
    -- Ids of keys, each followed by a comma.
    probed text collate "C" not null check (octet_length(probed) <= 151552),
    failed text collate "C" not null check (octet_length(failed) <= 151552),
    -- The same, as the reader's key has signed it.
    body bytea check (octet_length(body) between 1 and 262144),
    signer bytea check (octet_length(signer) = 32),
    signature bytea check (octet_length(signature) = 64),
    written bigint not null,
    primary key (ring, reader, process),
    check ((body is null) = (signer is null) and (body is null) = (signature is null))
);

create index waxseal_heartbeat_written on waxseal_heartbeat (ring, written);

-- The first key of a scope, which a provisioner has signed, until the ring takes it over.
create table waxseal_provisioned (
    ring text collate "C" not null,
    id text collate "C" not null check (octet_length(id) = 36),
    kind text collate "C" not null check (octet_length(kind) <= 16),
    scope text collate "C" not null check (octet_length(scope) between 1 and 512),
    slot text collate "C" not null check (octet_length(slot) between 1 and 64),
    state text collate "C" check (octet_length(state) <= 16),
    revision bigint not null check (revision >= 0),
    kek_provider text collate "C" check (octet_length(kek_provider) <= 32),
    kek_id text collate "C" check (octet_length(kek_id) <= 2048),
    kek_version text collate "C" check (octet_length(kek_version) <= 255),
    due bigint,
    body bytea not null check (octet_length(body) between 1 and 262144),
    signer bytea not null check (octet_length(signer) = 32),
    signature bytea not null check (octet_length(signature) = 64),
    -- The revision of the ring that it followed.
    follows bigint not null,
    primary key (ring, scope, slot),
    check ((kek_provider is null) = (kek_id is null) and (kek_provider is null) = (kek_version is null))
);

create unique index waxseal_provisioned_id on waxseal_provisioned (ring, id);

-- Whoever inserts one may have no other right to write. So the owner of the tables looks, and locks the ring against a commit meanwhile: the
-- row comes only if the ring has the revision that it follows, its scope has no record, and no record has its id. It lasts, also if the server is told not to wait
-- for the disk. Tables of a session with the same names are not looked at.
do $do$
begin
    execute format($create$
        create function waxseal_provision() returns trigger language plpgsql security definer set search_path = %I, pg_temp as $body$
        begin
            perform from waxseal_ring where ring = new.ring and revision = new.follows for share;
            if not found then
                return null;
            end if;
            perform from waxseal_row where ring = new.ring and scope = new.scope limit 1;
            if found then
                return null;
            end if;
            perform from waxseal_row where ring = new.ring and id = new.id;
            if found then
                return null;
            end if;
            if current_setting('synchronous_commit') = 'off' then
                perform set_config('synchronous_commit', 'on', true);
            end if;
            return new;
        end
        $body$
    $create$, current_schema());
end
$do$;

create trigger waxseal_provision before insert on waxseal_provisioned for each row execute procedure waxseal_provision();

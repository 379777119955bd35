-- The inventory of a key ring. Times are microseconds after 1970-01-01T00:00:00Z.

create table waxseal_ring (
    ring text not null primary key,
    revision integer not null check (revision > 0),
    head_body blob not null check (octet_length(head_body) between 1 and 262144),
    head_signer blob not null check (octet_length(head_signer) = 32),
    head_signature blob not null check (octet_length(head_signature) = 64),
    settings_body blob check (octet_length(settings_body) between 1 and 262144),
    settings_signer blob check (octet_length(settings_signer) = 32),
    settings_signature blob check (octet_length(settings_signature) = 64),
    check ((settings_body is null) = (settings_signer is null) and (settings_body is null) = (settings_signature is null))
) strict, without rowid;

create table waxseal_succession (
    ring text not null,
    position integer not null check (position > 0),
    body blob not null check (octet_length(body) between 1 and 262144),
    signer blob not null check (octet_length(signer) = 32),
    signature blob not null check (octet_length(signature) = 64),
    primary key (ring, position)
) strict;

create table waxseal_node (
    ring text not null,
    path text not null check (octet_length(path) <= 3),
    body blob not null check (octet_length(body) between 1 and 262144),
    primary key (ring, path)
) strict;

create table waxseal_row (
    ring text not null,
    id text not null check (octet_length(id) = 36),
    kind text not null check (octet_length(kind) <= 16),
    scope text not null check (octet_length(scope) between 1 and 512),
    slot text not null check (octet_length(slot) between 1 and 64),
    state text check (octet_length(state) <= 16),
    revision integer not null check (revision >= 0),
    kek_provider text check (octet_length(kek_provider) <= 32),
    kek_id text check (octet_length(kek_id) <= 2048),
    kek_version text check (octet_length(kek_version) <= 255),
    due integer,
    body blob not null check (octet_length(body) between 1 and 262144),
    signer blob not null check (octet_length(signer) = 32),
    signature blob not null check (octet_length(signature) = 64),
    primary key (ring, id),
    check ((kek_provider is null) = (kek_id is null) and (kek_provider is null) = (kek_version is null))
) strict;

create unique index waxseal_row_active on waxseal_row (ring, scope, slot) where state = 'active';
create index waxseal_row_scope on waxseal_row (ring, scope);
create index waxseal_row_pending on waxseal_row (ring, scope) where state = 'pending';
create index waxseal_row_kek on waxseal_row (ring, kek_provider, kek_id) where kek_id is not null;
create index waxseal_row_due on waxseal_row (ring, due, scope) where due is not null;

create table waxseal_heartbeat (
    ring text not null,
    reader text not null check (octet_length(reader) between 1 and 255),
    process text not null check (octet_length(process) between 1 and 255),
    revision integer not null check (revision >= 0),
    -- Ids of keys, each followed by a comma.
    probed text not null check (octet_length(probed) <= 151552),
    failed text not null check (octet_length(failed) <= 151552),
    -- The same, as the reader's key has signed it.
    body blob check (octet_length(body) between 1 and 262144),
    signer blob check (octet_length(signer) = 32),
    signature blob check (octet_length(signature) = 64),
    written integer not null,
    primary key (ring, reader, process),
    check ((body is null) = (signer is null) and (body is null) = (signature is null))
) strict;

create index waxseal_heartbeat_written on waxseal_heartbeat (ring, written);

-- The first key of a scope, which a provisioner has signed, until the ring takes it over.
create table waxseal_provisioned (
    ring text not null,
    id text not null check (octet_length(id) = 36),
    kind text not null check (octet_length(kind) <= 16),
    scope text not null check (octet_length(scope) between 1 and 512),
    slot text not null check (octet_length(slot) between 1 and 64),
    state text check (octet_length(state) <= 16),
    revision integer not null check (revision >= 0),
    kek_provider text check (octet_length(kek_provider) <= 32),
    kek_id text check (octet_length(kek_id) <= 2048),
    kek_version text check (octet_length(kek_version) <= 255),
    due integer,
    body blob not null check (octet_length(body) between 1 and 262144),
    signer blob not null check (octet_length(signer) = 32),
    signature blob not null check (octet_length(signature) = 64),
    -- The revision of the ring that it followed.
    follows integer not null,
    primary key (ring, scope, slot),
    check ((kek_provider is null) = (kek_id is null) and (kek_provider is null) = (kek_version is null))
) strict;

create unique index waxseal_provisioned_id on waxseal_provisioned (ring, id);

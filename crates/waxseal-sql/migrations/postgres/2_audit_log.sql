-- Audit logs that several processes write: for each, its signed checkpoint with the right edge of its tree, and its records.

create table waxseal_log (
    origin text collate "C" not null primary key check (octet_length(origin) between 1 and 255),
    size bigint not null check (size >= 0),
    checkpoint bytea not null check (octet_length(checkpoint) between 1 and 131072),
    edge bytea not null check (octet_length(edge) <= 65280)
);

create table waxseal_log_record (
    origin text collate "C" not null references waxseal_log,
    number bigint not null check (number >= 0),
    leaf bytea not null check (octet_length(leaf) = 32),
    record bytea not null check (octet_length(record) <= 65535),
    primary key (origin, number)
);

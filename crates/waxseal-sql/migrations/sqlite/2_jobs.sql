-- Where jobs are that go through a store: for each its plan and state, its parts, and what could not be moved. Times are microseconds after 1970-01-01T00:00:00Z.

create table waxseal_job (
    job text not null primary key check (octet_length(job) between 1 and 255),
    -- JSON.
    plan text not null check (octet_length(plan) between 1 and 65536),
    state text not null check (state in ('running', 'paused', 'canceled')),
    begun integer not null
) strict, without rowid;

create table waxseal_job_part (
    job text not null references waxseal_job,
    part integer not null check (part >= 0),
    range_after text,
    range_until text,
    last_id text,
    is_done integer not null check (is_done in (0, 1)),
    -- JSON.
    counts text not null check (octet_length(counts) between 1 and 65536),
    fence integer not null check (fence >= 0),
    worker text,
    leased_until integer,
    primary key (job, part)
) strict, without rowid;

create table waxseal_job_fault (
    job text not null,
    part integer not null,
    number integer not null check (number > 0),
    id text not null,
    class text not null check (octet_length(class) between 1 and 64),
    reason text not null,
    primary key (job, part, number),
    foreign key (job, part) references waxseal_job_part
) strict, without rowid;

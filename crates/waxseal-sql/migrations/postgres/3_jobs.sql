-- Where jobs are that go through a store: for each its plan and state, its parts, and what could not be moved. Times are microseconds after 1970-01-01T00:00:00Z.

create table waxseal_job (
    job text collate "C" not null primary key check (octet_length(job) between 1 and 255),
    -- JSON.
    plan text collate "C" not null check (octet_length(plan) between 1 and 65536),
    state text collate "C" not null check (state in ('running', 'paused', 'canceled')),
    begun bigint not null
);

create table waxseal_job_part (
    job text collate "C" not null references waxseal_job,
    part bigint not null check (part >= 0),
    range_after text collate "C",
    range_until text collate "C",
    last_id text collate "C",
    is_done bigint not null check (is_done in (0, 1)),
    -- JSON.
    counts text collate "C" not null check (octet_length(counts) between 1 and 65536),
    fence bigint not null check (fence >= 0),
    worker text collate "C",
    leased_until bigint,
    primary key (job, part)
);

create table waxseal_job_fault (
    job text collate "C" not null,
    part bigint not null,
    number bigint not null check (number > 0),
    id text collate "C" not null,
    class text collate "C" not null check (octet_length(class) between 1 and 64),
    reason text collate "C" not null,
    primary key (job, part, number),
    foreign key (job, part) references waxseal_job_part
);

-- Sessions in the native layout. id is the SHA-256 of the session id: a stolen copy opens no session.
create table sessions (
    id            bytea   not null primary key check (octet_length(id) = 32),
    "user"        text    collate "C",
    label         text,
    created       bigint  not null, -- all times in milliseconds since the Unix epoch
    authenticated bigint,
    seen          bigint  not null,
    idle          bigint  not null,
    until         bigint,
    persistent    boolean not null,
    expires       bigint  not null, -- least(seen + idle, until), kept for the sweeper's index
    revision      bigint  not null,
    document      text    not null  -- not json: what Node wrote is kept byte for byte
);
create index sessions_of_user on sessions ("user") where "user" is not null;
create index sessions_expires on sessions (expires);

create table users (
    id                  text    collate "C" not null primary key,
    email               text    collate "C" not null unique,
    name                text,
    password            text,
    roles               text[]  not null,
    disabled            boolean not null,
    created             bigint  not null,
    session_epoch       bigint  not null
);

create table records (
    kind    text   collate "C" not null,
    id      text   collate "C" not null,
    owner   text   collate "C",
    body    text   not null,
    expires bigint,
    version bigint not null,
    primary key (kind, id)
);
create index records_of_owner on records (owner, kind) where owner is not null;
create index records_expires on records (expires) where expires is not null;

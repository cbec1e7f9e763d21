-- Sessions in the native layout. `id` is the SHA-256 of the session id: a stolen file opens no session.
create table sessions (
    id            blob    not null primary key check (length(id) = 32),
    user          text,
    label         text,
    created       integer not null, -- all times in milliseconds since the Unix epoch
    authenticated integer,
    seen          integer not null,
    idle          integer not null,
    until         integer,
    persistent    integer not null,
    expires       integer not null, -- min(seen + idle, until), kept for the sweeper's index
    revision      integer not null,
    document      text    not null
) strict;
create index sessions_of_user on sessions (user) where user is not null;
create index sessions_expires on sessions (expires);

create table users (
    id                  text    not null primary key,
    email               text    not null unique,
    name                text,
    password            text,
    roles               text    not null, -- a JSON array
    disabled            integer not null,
    created             integer not null,
    session_epoch       integer not null
) strict;

create table records (
    kind    text    not null,
    id      text    not null,
    owner   text,
    body    text    not null,
    expires integer,
    version integer not null,
    primary key (kind, id)
) strict, without rowid;
create index records_of_owner on records (owner, kind) where owner is not null;
create index records_expires on records (expires) where expires is not null;

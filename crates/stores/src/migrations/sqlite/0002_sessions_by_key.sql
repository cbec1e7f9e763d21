-- A session is found by `key` in the table itself, without the way through an index of ids: half as many pages of a large file to read,
-- and one fewer to write.
create table sessions_by_key (
    key           integer not null primary key, -- the first eight bytes of `id`, such that keys are in the order of ids
    id            blob    not null check (length(id) = 32),
    user          text,
    label         text,
    created       integer not null,
    authenticated integer,
    seen          integer not null,
    idle          integer not null,
    until         integer,
    persistent    integer not null,
    expires       integer not null,
    revision      integer not null,
    document      text    not null
) strict;
insert into sessions_by_key
    select hallpass_key(id), id, user, label, created, authenticated, seen, idle, until, persistent, expires, revision, document
    from sessions order by id;
drop table sessions;
alter table sessions_by_key rename to sessions;
create index sessions_of_user on sessions (user) where user is not null;
create index sessions_expires on sessions (expires);

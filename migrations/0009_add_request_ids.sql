-- The id of the request that asked for a run: log lines of the request, the run and its process carry the same one.
alter table runs add column request_id text check (request_id ~ '^[A-Za-z0-9_.-]{1,64}$');

-- The newest migration of this schema, for programs that must not serve an older one. Null where the schema was not
-- made by the migrator. By name at run time: the migrator's table belongs to it.
create function schema_version() returns bigint
    language plpgsql stable security definer set search_path = pg_catalog, public
as $$
declare
    version bigint;
begin
    if to_regclass('public._sqlx_migrations') is not null then
        execute 'select max(version) from public._sqlx_migrations where success' into version;
    end if;
    return version;
end
$$;
revoke all on function schema_version() from public;
grant execute on function schema_version() to docbrain_api;

-- Secrets at rest: each tenant has a data key, which seals its secrets and is itself wrapped by a key of the
-- installation's ring (core::keyring). Neither kind of key is in the database in the clear.

create table tenant_keys (
    tenant_id uuid primary key references tenants on delete cascade,
    -- Which key of the ring wraps the data key.
    key_id text not null check (key_id ~ '^[a-z0-9-]{1,32}$'),
    wrapped bytea not null,
    wrapped_at timestamptz not null default now()
);

create table secrets (
    tenant_id uuid not null references tenant_keys on delete cascade,
    name text not null check (length(name) between 1 and 120),
    sealed bytea not null,
    -- The last characters, for people to tell secrets apart; empty for a short secret.
    hint text not null check (length(hint) <= 4),
    updated_at timestamptz not null default now(),
    revision bigint not null default 1,
    primary key (tenant_id, name)
);

-- Which model servers a tenant uses instead of the installation's; their keys are secrets.
create table provider_settings (
    tenant_id uuid primary key references tenants on delete cascade,
    settings jsonb not null,
    -- Counts the changes, those of the keys included.
    revision bigint not null default 1,
    updated_at timestamptz not null default now()
);

do $$
declare
    t text;
begin
    foreach t in array array['tenant_keys', 'secrets', 'provider_settings'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format(
            'create policy tenant_isolation on %I using (tenant_id = docbrain_tenant()) with check (tenant_id = docbrain_tenant())', t);
    end loop;
end
$$;
grant select, insert, update, delete on tenant_keys, secrets, provider_settings to docbrain_api;

create policy definer_reads on tenant_keys for select to docbrain_definer using (true);
grant select on tenant_keys to docbrain_definer;
grant create on schema public to docbrain_definer;

-- Which key wraps which tenant's data key, for whoever rotates the ring.
create function tenant_keys_in_use() returns table (tenant_id uuid, key_id text)
    language sql stable security definer set search_path = pg_catalog, public
    begin atomic
        select k.tenant_id, k.key_id from public.tenant_keys k order by k.tenant_id;
    end;
alter function tenant_keys_in_use() owner to docbrain_definer;
revoke all on function tenant_keys_in_use() from public;
do $$
begin
    execute format('grant execute on function tenant_keys_in_use() to %I', current_user);
end
$$;
revoke create on schema public from docbrain_definer;

-- A tenant's providers, in one round trip; row-level security holds inside as everywhere.
create function provider_settings_of(tenant uuid) returns table (settings jsonb, revision bigint)
    language plpgsql rows 1
as $$
#variable_conflict use_column
begin
    perform docbrain_bind(tenant);
    return query select p.settings, p.revision from provider_settings p where p.tenant_id = tenant;
end
$$;
revoke all on function provider_settings_of(uuid) from public;
grant execute on function provider_settings_of(uuid) to docbrain_api;

-- How often and how much: permits by the minute, and what was used up by the day. Both are counted for all processes
-- together; each process takes permits in batches, and tells and learns what was used up once a second (core::limits).

-- Permits that were handed out in a minute. Lost with a crash of Postgres, as is the minute.
create unlogged table permits (
    tenant_id uuid not null references tenants on delete cascade,
    -- Minutes since 1970.
    minute bigint not null,
    -- A hash: no address and no visitor can be read from it.
    key bytea not null check (length(key) = 16),
    -- What the last process to ask was given.
    granted integer not null,
    leased integer not null,
    primary key (tenant_id, minute, key)
) with (fillfactor = 50);

-- What was used up in a day of UTC: by a chatbot (also one that is deleted since), or by the tenant (under its own id).
create table spending (
    tenant_id uuid not null references tenants on delete cascade,
    subject uuid not null,
    day date not null,
    tokens bigint not null,
    -- Millionths of a US dollar.
    cost_micros bigint not null,
    primary key (tenant_id, subject, day)
);

do $$
declare
    t text;
begin
    foreach t in array array['permits', 'spending'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format(
            'create policy tenant_isolation on %I using (tenant_id = docbrain_tenant()) with check (tenant_id = docbrain_tenant())', t);
    end loop;
end
$$;
grant select, insert, update, delete on permits, spending to docbrain_api;

-- Hands out permits of a minute: for each key as many as are wanted, as long as all that were handed out stay within
-- the key's limit. `tidy`: forget earlier minutes.
create function lease_permits(tenant uuid, this_minute bigint, keys bytea[], limits integer[], wanted integer[], tidy boolean)
    returns table (key bytea, granted integer, leased integer)
    language plpgsql rows 4
as $$
#variable_conflict use_column
begin
    perform docbrain_bind(tenant), set_config('synchronous_commit', 'off', true);
    if tidy then
        -- The minute before stays for a process whose clock is behind.
        delete from permits where tenant_id = tenant and minute < this_minute - 1;
    end if;
    return query
        insert into permits as p (tenant_id, minute, key, granted, leased)
        select tenant, this_minute, k.key, least(k.wanted, k.most), least(k.wanted, k.most)
            from unnest(keys, limits, wanted) k (key, most, wanted) order by k.key
        on conflict (tenant_id, minute, key) do update set
            granted = greatest(least(excluded.granted, limits[array_position(keys, p.key)] - p.leased), 0),
            leased = p.leased + greatest(least(excluded.granted, limits[array_position(keys, p.key)] - p.leased), 0)
        returning p.key, p.granted, p.leased;
end
$$;

-- Adds what chatbots have used up, to them and to the tenant; and says what the subjects have used up on a day, and
-- from the first of its month to that day, in all.
create function spend(tenant uuid, chatbots uuid[], days date[], tokens_used bigint[], micros_used bigint[], subjects uuid[], today date)
    returns table (subject uuid, day_tokens bigint, day_micros bigint, month_tokens bigint, month_micros bigint)
    language plpgsql rows 4
as $$
#variable_conflict use_column
begin
    perform docbrain_bind(tenant), set_config('synchronous_commit', 'off', true);
    if cardinality(chatbots) > 0 then
        insert into spending as s (tenant_id, subject, day, tokens, cost_micros)
        select tenant, u.subject, u.day, sum(u.tokens), sum(u.micros)
            from unnest(chatbots || array_fill(tenant, array[cardinality(chatbots)]), days || days,
                tokens_used || tokens_used, micros_used || micros_used) u (subject, day, tokens, micros)
            group by u.subject, u.day order by u.subject, u.day
        on conflict (tenant_id, subject, day) do update set
            tokens = s.tokens + excluded.tokens, cost_micros = s.cost_micros + excluded.cost_micros;
        delete from spending where tenant_id = tenant and day < date_trunc('month', today) - interval '1 month';
    end if;
    return query
        select w.subject,
            coalesce(sum(s.tokens) filter (where s.day = today), 0)::bigint,
            coalesce(sum(s.cost_micros) filter (where s.day = today), 0)::bigint,
            coalesce(sum(s.tokens), 0)::bigint,
            coalesce(sum(s.cost_micros), 0)::bigint
        from unnest(subjects) w (subject)
        left join spending s on s.tenant_id = tenant and s.subject = w.subject
            and s.day between date_trunc('month', today)::date and today
        group by w.subject;
end
$$;

-- As before, and with the tenant's quota.
drop function chatbot_of(uuid, uuid, text);
create function chatbot_of(tenant uuid, wanted_id uuid, wanted_name text) returns table (
    id uuid, name text, spec jsonb, suspended boolean, sources uuid[], generations uuid[], languages text[], quota jsonb
)
    language plpgsql rows 1
as $$
#variable_conflict use_column
begin
    perform docbrain_bind(tenant);
    return query
        select c.id, c.name, c.spec, c.suspended or t.suspended, k.sources, k.generations, k.languages, t.spec -> 'quota'
        from chatbots c
        join tenants t using (tenant_id)
        cross join lateral (
            select array_agg(distinct s.id) as sources,
                   array_agg(distinct g.id) filter (where g.id is not null) as generations,
                   array_agg(distinct l.language) filter (where l.language is not null) as languages
            from chatbot_sources b
            join knowledge_sources s on s.tenant_id = b.tenant_id and s.name = b.source_name
            left join generations g on g.tenant_id = s.tenant_id and g.knowledge_source_id = s.id and g.state = 'active'
            left join lateral unnest(g.languages) l (language) on true
            where b.tenant_id = c.tenant_id and b.chatbot_id = c.id
        ) k
        where c.tenant_id = tenant and (c.id = wanted_id or c.name = wanted_name);
end
$$;

-- How many chunks a tenant has in its indexes: those of the knowledge sources' active generations, of one source
-- those of `building` instead.
create function chunks_in_use(building uuid) returns bigint
    language sql stable
    return (
        select coalesce(sum(g.chunks), 0) from generations g
        where g.tenant_id = docbrain_tenant() and (g.id = building or (g.state = 'active' and g.knowledge_source_id is distinct from (
            select b.knowledge_source_id from generations b where b.tenant_id = docbrain_tenant() and b.id = building))));

revoke all on function lease_permits(uuid, bigint, bytea[], integer[], integer[], boolean) from public;
revoke all on function spend(uuid, uuid[], date[], bigint[], bigint[], uuid[], date) from public;
revoke all on function chatbot_of(uuid, uuid, text) from public;
revoke all on function chunks_in_use(uuid) from public;
grant execute on function lease_permits(uuid, bigint, bytea[], integer[], integer[], boolean) to docbrain_api;
grant execute on function spend(uuid, uuid[], date[], bigint[], bigint[], uuid[], date) to docbrain_api;
grant execute on function chatbot_of(uuid, uuid, text) to docbrain_api;
grant execute on function chunks_in_use(uuid) to docbrain_api, docbrain_ingest;

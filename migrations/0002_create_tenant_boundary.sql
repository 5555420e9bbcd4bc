-- Row-level security on every table that carries a tenant_id, and who may touch what.

do $$
declare
    t text;
begin
    for t in
        select c.relname
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
        where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format(
            'create policy tenant_isolation on %I using (tenant_id = docbrain_tenant()) with check (tenant_id = docbrain_tenant())', t);
    end loop;
end
$$;

grant select, insert, update, delete on
    tenants, accounts, knowledge_sources, chatbots, chatbot_sources, originals, documents, generations,
    indexed_documents, chunks, generation_terms, runs, run_documents, conversations, messages, usage
    to docbrain_api;

-- An ingestion run reads its source and originals and writes its index. It sees no account and no conversation.
grant select on tenants, knowledge_sources, originals to docbrain_ingest;
grant select, update on documents, runs to docbrain_ingest;
grant select, insert, update, delete on
    generations, indexed_documents, chunks, generation_terms, run_documents to docbrain_ingest;
grant insert on usage to docbrain_ingest;

-- The functions of docbrain_definer see all rows of these tables and filter by tenant themselves.
create policy definer_reads on chunks for select to docbrain_definer using (true);
create policy definer_reads on generations for select to docbrain_definer using (true);
create policy definer_reads on generation_terms for select to docbrain_definer using (true);
create policy definer_reads on tenants for select to docbrain_definer using (true);
create policy definer_reads on documents for select to docbrain_definer using (true);
create policy definer_reads on runs for select to docbrain_definer using (true);
grant select on chunks, documents, generations, generation_terms, tenants, runs to docbrain_definer;
grant create on schema public to docbrain_definer;

-- Which tenant has this name: the first step of a request, when no tenant is set yet.
create function tenant_named(wanted text) returns uuid
    language sql stable security definer set search_path = pg_catalog, public
    return (select tenant_id from public.tenants where name = wanted);
alter function tenant_named(text) owner to docbrain_definer;
revoke all on function tenant_named(text) from public;
grant execute on function tenant_named(text) to docbrain_api;

-- The names of all tenants, for the hand tools on one machine.
create function tenant_names() returns setof text
    language sql stable security definer set search_path = pg_catalog, public
    begin atomic
        select name from public.tenants order by name;
    end;
alter function tenant_names() owner to docbrain_definer;
revoke all on function tenant_names() from public;
grant execute on function tenant_names() to docbrain_api;

-- Runs that wait for a process, oldest first: queued ones whose source has no live run, and running ones whose lease ran out.
create function runs_due() returns table (tenant_id uuid, run_id uuid)
    language sql stable security definer set search_path = pg_catalog, public
    begin atomic
        select r.tenant_id, r.id
        from public.runs r
        where (r.state = 'running' and r.lease_expires_at < now())
           or (r.state = 'queued' and not exists (
                select 1 from public.runs o
                where o.tenant_id = r.tenant_id and o.knowledge_source_id = r.knowledge_source_id
                  and (o.state = 'running' or (o.state = 'queued' and (o.created_at, o.id) < (r.created_at, r.id)))))
        order by r.created_at, r.id;
    end;
alter function runs_due() owner to docbrain_definer;
revoke all on function runs_due() from public;
-- Execution is left to the owner of the schema, who launches runs on one machine.
do $$
begin
    execute format('grant execute on function runs_due() to %I', current_user);
    execute format('grant execute on function tenant_named(text), tenant_names() to %I', current_user);
end
$$;

-- Moves a generation into a table of its own and builds its vector index (docs/adr/0003-own-table-per-large-generation.md).
-- Runs as the schema's owner, whom row-level security binds to the caller's tenant like everybody else.
create function generation_give_own_table(wanted uuid, dimensions integer) returns void
    language plpgsql security definer set search_path = pg_catalog, public
as $$
declare
    own text := 'chunks_' || replace(wanted::text, '-', '');
begin
    perform 1 from public.generations g
        where g.id = wanted and g.tenant_id = public.docbrain_tenant() and not g.own_table for update;
    if not found then
        raise exception 'generation % is not one of this tenant''s generations in the shared table', wanted using errcode = 'no_data_found';
    end if;
    if dimensions not between 1 and 4000 then
        raise exception 'a vector index takes 1 to 4000 dimensions, not %', dimensions using errcode = 'invalid_parameter_value';
    end if;

    execute format('create table public.%I (like public.chunks including defaults including constraints including storage)', own);
    execute format('insert into public.%I select * from public.chunks where generation_id = $1', own) using wanted;
    delete from public.chunks where generation_id = wanted;
    execute format('alter table public.%I
        add primary key (generation_id, document_id, ordinal),
        add check (generation_id = %L),
        add foreign key (tenant_id, generation_id) references public.generations on delete cascade,
        add foreign key (tenant_id, document_id) references public.documents on delete cascade', own, wanted);
    execute format('create index on public.%I (tenant_id, document_id)', own);
    execute format('create index on public.%I using gin (terms)', own);
    execute format('create index on public.%I using hnsw ((embedding::public.halfvec(%s)) public.halfvec_cosine_ops)', own, dimensions);
    execute format('alter table public.%I enable row level security', own);
    execute format('alter table public.%I force row level security', own);
    execute format('create policy tenant_isolation on public.%I using (tenant_id = public.docbrain_tenant()) with check (tenant_id = public.docbrain_tenant())', own);
    execute format('create policy definer_reads on public.%I for select to docbrain_definer using (true)', own);
    execute format('grant select, insert, update, delete on public.%I to docbrain_api, docbrain_ingest', own);
    execute format('grant select on public.%I to docbrain_definer', own);
    update public.generations set own_table = true where id = wanted;
end
$$;
revoke all on function generation_give_own_table(uuid, integer) from public;
grant execute on function generation_give_own_table(uuid, integer) to docbrain_api, docbrain_ingest;

-- Removes a generation with its chunks and its table.
create function generation_drop(wanted uuid) returns void
    language plpgsql security definer set search_path = pg_catalog, public
as $$
declare
    had_own_table boolean;
begin
    select g.own_table into had_own_table from public.generations g
        where g.id = wanted and g.tenant_id = public.docbrain_tenant() and g.state <> 'active' for update;
    if not found then
        raise exception 'generation % is not one of this tenant''s retired or unfinished generations', wanted using errcode = 'no_data_found';
    end if;
    if had_own_table then
        execute format('drop table public.%I', 'chunks_' || replace(wanted::text, '-', ''));
    end if;
    delete from public.generations where id = wanted;
end
$$;
revoke all on function generation_drop(uuid) from public;
grant execute on function generation_drop(uuid) to docbrain_api, docbrain_ingest;

revoke create on schema public from docbrain_definer;

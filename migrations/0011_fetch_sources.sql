-- Knowledge sources that fetch their documents: web sites and git repositories. Their runs put and remove documents as the
-- ingestion role of the tenant, whose border is the policy of each table.

-- A page that a run has read: what a later run needs to ask whether it changed, and to follow its links without reading it
-- again. Without a document: read for its links alone.
create table fetched_pages (
    tenant_id uuid not null,
    knowledge_source_id uuid not null,
    -- The page's URL without its scheme.
    address text not null,
    document_id uuid,
    etag text,
    last_modified text,
    links text[] not null default '{}',
    -- The run that saw it last.
    run_id uuid not null,
    primary key (tenant_id, knowledge_source_id, address),
    foreign key (tenant_id, knowledge_source_id) references knowledge_sources on delete cascade,
    foreign key (tenant_id, document_id) references documents on delete cascade
);
create index fetched_pages_document on fetched_pages (tenant_id, document_id);
alter table fetched_pages enable row level security;
alter table fetched_pages force row level security;
create policy tenant_isolation on fetched_pages using (tenant_id = docbrain_tenant()) with check (tenant_id = docbrain_tenant());
grant select, insert, update, delete on fetched_pages to docbrain_api, docbrain_ingest;

-- What a source was fetched at as a whole, such as a commit; null: look at everything.
alter table knowledge_sources add column fetched_state text;
-- What the document's origin says it is, such as text/html; null: its path's extension says it.
alter table documents add column media_type text;
-- What is to be said of a run that went well, such as that a limit was reached.
alter table runs add column note text;

grant update (fetched_state) on knowledge_sources to docbrain_ingest;
grant insert, delete on documents, originals to docbrain_ingest;
grant insert on runs to docbrain_ingest;

-- Runs that wait for a process, as before, but for those of a source or tenant that is suspended.
create or replace function runs_due() returns table (tenant_id uuid, run_id uuid)
    language sql stable security definer set search_path = pg_catalog, public
    begin atomic
        select r.tenant_id, r.id
        from public.runs r
        where ((r.state = 'running' and r.lease_expires_at < now())
           or (r.state = 'queued' and not exists (
                select 1 from public.runs o
                where o.tenant_id = r.tenant_id and o.knowledge_source_id = r.knowledge_source_id
                  and (o.state = 'running' or (o.state = 'queued' and (o.created_at, o.id) < (r.created_at, r.id))))))
          and not exists (
                select 1 from public.knowledge_sources s join public.tenants t on t.tenant_id = s.tenant_id
                where s.tenant_id = r.tenant_id and s.id = r.knowledge_source_id and (s.suspended or t.suspended))
        order by r.created_at, r.id;
    end;

-- Sources that are fetched by a schedule, for whoever keeps it on one machine: since when their spec stands, and the
-- scheduled run that was asked for last.
create policy definer_reads on knowledge_sources for select to docbrain_definer using (true);
grant select on knowledge_sources to docbrain_definer;
grant create on schema public to docbrain_definer;
create function sources_scheduled()
    returns table (tenant_id uuid, source_id uuid, schedule text, time_zone text, since timestamptz, last_trigger text)
    language sql stable security definer set search_path = pg_catalog, public
    begin atomic
        select s.tenant_id, s.id, s.spec ->> 'schedule', s.spec ->> 'timeZone', s.updated_at,
            (select max(r.trigger) from public.runs r
             where r.tenant_id = s.tenant_id and r.knowledge_source_id = s.id and r.trigger like 'schedule:%')
        from public.knowledge_sources s join public.tenants t on t.tenant_id = s.tenant_id
        where s.spec ? 'schedule' and not s.suspended and not t.suspended;
    end;
alter function sources_scheduled() owner to docbrain_definer;
revoke all on function sources_scheduled() from public;
do $$
begin
    execute format('grant execute on function sources_scheduled() to %I', current_user);
end
$$;
revoke create on schema public from docbrain_definer;

-- In a cluster a row is the projection of a custom resource. Which one, and which state of it, so that a writer that is
-- late never undoes a newer one. Null on one machine.
alter table tenants add column resource_uid uuid, add column resource_generation bigint not null default 0;
alter table chatbots add column resource_uid uuid, add column resource_generation bigint not null default 0;
alter table knowledge_sources add column resource_uid uuid, add column resource_generation bigint not null default 0;

-- Tells whoever starts processes for runs, and reports them, that a run has come or changed its state: `namespace/name` of
-- its knowledge source. A listener that was away looks at runs_due() once it is back.
create function runs_announce() returns trigger
    language plpgsql set search_path = pg_catalog, public
as $$
begin
    perform pg_notify('docbrain_runs', t.name || '/' || s.name)
    from public.knowledge_sources s join public.tenants t using (tenant_id)
    where s.tenant_id = new.tenant_id and s.id = new.knowledge_source_id;
    return null;
end
$$;
create trigger runs_inserted after insert on runs for each row execute function runs_announce();
create trigger runs_changed after update of state on runs for each row
    when (old.state is distinct from new.state) execute function runs_announce();

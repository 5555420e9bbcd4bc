-- The whole schema of DocBrain. Needs PostgreSQL 16+ and the extension `vector` 0.7+.
--
-- The tenant boundary (docs/adr/0002-tenant-boundary.md):
--   * every table with a tenant_id has ENABLE + FORCE ROW LEVEL SECURITY and the policy tenant_isolation;
--   * docbrain_tenant() says who the tenant is: an ingestion role carries its tenant in its own name,
--     everybody else sets `docbrain.tenant` for one transaction; no tenant, no rows;
--   * docbrain_definer owns the few functions that must look wider, and filters by tenant itself.

create extension if not exists vector;

-- Roles belong to the whole server, so another database may have created them, even this instant.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['docbrain_api', 'docbrain_ingest', 'docbrain_definer'] loop
        begin
            execute format('create role %I nologin', wanted);
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
    begin
        execute format('grant docbrain_definer to %I', current_user);
    exception when others then
        raise notice 'role docbrain_definer is granted already';
    end;
end
$$;

revoke create on schema public from public;
grant usage on schema public to docbrain_api, docbrain_ingest, docbrain_definer;

create function docbrain_tenant() returns uuid
    language sql stable parallel safe
    return case
        when starts_with(session_user::text, 'docbrain_ingest_') then substr(session_user::text, 17)::uuid
        else nullif(current_setting('docbrain.tenant', true), '')::uuid
    end;

-- ---------------------------------------------------------------- configuration, projected from custom resources

create table tenants (
    tenant_id uuid primary key,
    name text not null unique check (name ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' and length(name) <= 40),
    spec jsonb not null,
    suspended boolean not null default false,
    conditions jsonb not null default '[]',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table accounts (
    tenant_id uuid not null references tenants on delete cascade,
    id uuid not null,
    email text not null,
    password_hash text not null,
    role text not null check (role in ('admin', 'member')),
    created_at timestamptz not null default now(),
    primary key (tenant_id, id)
);
create unique index accounts_email_key on accounts (lower(email));

create table knowledge_sources (
    tenant_id uuid not null references tenants on delete cascade,
    id uuid not null,
    name text not null,
    spec jsonb not null,
    suspended boolean not null default false,
    conditions jsonb not null default '[]',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, name)
);

create table chatbots (
    tenant_id uuid not null references tenants on delete cascade,
    id uuid not null,
    name text not null,
    spec jsonb not null,
    suspended boolean not null default false,
    conditions jsonb not null default '[]',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, name)
);

-- Names, not ids: a chatbot may be applied before the knowledge source it names.
create table chatbot_sources (
    tenant_id uuid not null,
    chatbot_id uuid not null,
    source_name text not null,
    primary key (tenant_id, chatbot_id, source_name),
    foreign key (tenant_id, chatbot_id) references chatbots on delete cascade
);

-- ---------------------------------------------------------------- documents and their originals

create table originals (
    tenant_id uuid not null references tenants on delete cascade,
    sha256 bytea not null check (length(sha256) = 32),
    bytes bytea not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, sha256)
);
alter table originals alter column bytes set storage external;

create table documents (
    tenant_id uuid not null,
    id uuid not null,
    knowledge_source_id uuid not null,
    path text not null,
    title text not null,
    url text,
    content_sha256 bytea not null,
    size_bytes bigint not null,
    status text not null default 'pending' check (status in ('pending', 'indexed', 'failed')),
    error_code text,
    error_detail text,
    attempts integer not null default 0,
    language text,
    pages integer,
    chunks integer not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    indexed_at timestamptz,
    primary key (tenant_id, id),
    unique (tenant_id, knowledge_source_id, path),
    foreign key (tenant_id, knowledge_source_id) references knowledge_sources on delete cascade,
    check ((status = 'failed') = (error_code is not null))
);
create index documents_pending on documents (tenant_id, knowledge_source_id, id) where status = 'pending';
create index documents_content on documents (tenant_id, content_sha256);

-- ---------------------------------------------------------------- index generations and chunks

create table generations (
    tenant_id uuid not null,
    id uuid not null,
    knowledge_source_id uuid not null,
    settings jsonb not null,
    settings_hash text not null,
    state text not null check (state in ('building', 'active', 'retired')),
    own_table boolean not null default false,
    languages text[] not null default '{en}',
    chunks integer not null default 0,
    created_at timestamptz not null default now(),
    activated_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, knowledge_source_id) references knowledge_sources on delete cascade
);
create unique index generations_one_active on generations (tenant_id, knowledge_source_id) where state = 'active';
create unique index generations_one_building on generations (tenant_id, knowledge_source_id) where state = 'building';

-- What a generation holds: the content of each document that was indexed into it.
create table indexed_documents (
    tenant_id uuid not null,
    generation_id uuid not null,
    document_id uuid not null,
    content_sha256 bytea not null,
    chunks integer not null,
    primary key (tenant_id, generation_id, document_id),
    foreign key (tenant_id, generation_id) references generations on delete cascade,
    foreign key (tenant_id, document_id) references documents on delete cascade
);
create index indexed_documents_document on indexed_documents (tenant_id, document_id);

-- Chunks of small generations, which are searched exactly. A larger generation has a table of its own
-- with the same columns (chunks_<generation id>), made by generation_give_own_table().
create table chunks (
    tenant_id uuid not null,
    generation_id uuid not null,
    document_id uuid not null,
    ordinal integer not null,
    id uuid not null,
    text text not null,
    heading_path text[] not null,
    page_first integer,
    page_last integer,
    span_start integer not null,
    span_end integer not null,
    tokens integer not null,
    terms integer[] not null,
    weights sparsevec(1048576) not null,
    embedding halfvec not null,
    primary key (generation_id, document_id, ordinal),
    foreign key (tenant_id, generation_id) references generations on delete cascade,
    foreign key (tenant_id, document_id) references documents on delete cascade
);
create index chunks_document on chunks (tenant_id, document_id);
-- The exact scan reads both vectors of every row: keep them in the row, and let the text go out of line.
alter table chunks alter column embedding set storage plain;
alter table chunks alter column weights set storage main;
alter table chunks alter column terms set storage main;

-- In how many chunks of the generation a term (a 20-bit hash, core::lexical) occurs: the N and n of BM25's idf.
create table generation_terms (
    tenant_id uuid not null,
    generation_id uuid not null,
    term integer not null,
    chunks integer not null,
    primary key (generation_id, term),
    foreign key (tenant_id, generation_id) references generations on delete cascade
);

-- ---------------------------------------------------------------- runs of ingestion

create table runs (
    tenant_id uuid not null,
    id uuid not null,
    knowledge_source_id uuid not null,
    trigger text not null,
    state text not null default 'queued' check (state in ('queued', 'running', 'succeeded', 'failed')),
    reason text,
    generation_id uuid,
    fence bigint not null default 0,
    lease_expires_at timestamptz,
    documents_total integer not null default 0,
    documents_indexed integer not null default 0,
    documents_unchanged integer not null default 0,
    documents_failed integer not null default 0,
    chunks integer not null default 0,
    bytes bigint not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    primary key (tenant_id, id),
    foreign key (tenant_id, knowledge_source_id) references knowledge_sources on delete cascade,
    check ((state in ('succeeded', 'failed')) = (finished_at is not null)),
    check (state <> 'failed' or reason is not null)
);
create unique index runs_one_running on runs (tenant_id, knowledge_source_id) where state = 'running';
create index runs_due on runs (state, lease_expires_at) where state in ('queued', 'running');

create table run_documents (
    tenant_id uuid not null,
    run_id uuid not null,
    document_id uuid not null,
    path text not null,
    outcome text not null check (outcome in ('indexed', 'unchanged', 'failed')),
    reason text,
    chunks integer not null default 0,
    milliseconds integer not null default 0,
    primary key (tenant_id, run_id, document_id),
    foreign key (tenant_id, run_id) references runs on delete cascade
);

-- ---------------------------------------------------------------- conversations and usage

create table conversations (
    tenant_id uuid not null,
    id uuid not null,
    chatbot_id uuid not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, chatbot_id) references chatbots on delete cascade
);
create index conversations_chatbot on conversations (tenant_id, chatbot_id, id);

create table messages (
    tenant_id uuid not null,
    id uuid not null,
    conversation_id uuid not null,
    role text not null check (role in ('visitor', 'assistant')),
    content text not null,
    kind text check (kind in ('generated', 'extractive', 'fallback')),
    answerable boolean,
    best_score real,
    citations jsonb,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, conversation_id) references conversations on delete cascade
);
create index messages_conversation on messages (tenant_id, conversation_id, id);

create table usage (
    tenant_id uuid not null references tenants on delete cascade,
    id uuid not null,
    chatbot_id uuid,
    kind text not null check (kind in ('chat', 'ingestion')),
    prompt_tokens integer not null default 0,
    completion_tokens integer not null default 0,
    chunks integer not null default 0,
    milliseconds integer not null default 0,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id)
);
create index usage_created on usage (tenant_id, created_at);

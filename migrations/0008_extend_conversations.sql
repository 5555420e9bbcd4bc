-- Who talked over which channel, what visitors thought of the answers, what they cost, and how much there was a day.

alter table conversations
    -- An opaque word of the channel's choice; null where nobody tells visitors apart.
    add column visitor text check (length(visitor) between 1 and 128),
    -- Who the embedding site says it is.
    add column visitor_identity jsonb,
    add column channel text not null default 'api' check (channel in ('api', 'widget', 'openai', 'mcp', 'cli')),
    add column messages integer not null default 0,
    add column last_at timestamptz not null default now();

alter table messages
    add column feedback text check (feedback in ('up', 'down')),
    add column feedback_comment text check (length(feedback_comment) <= 2000),
    add column feedback_at timestamptz,
    add check ((feedback is null) = (feedback_at is null));
create index messages_feedback on messages (tenant_id, conversation_id) where feedback is not null;
create index messages_unanswered on messages (tenant_id, id) where not answerable;

-- The usage of an answer has the id of its message, and outlives it: what statistics need stands here, without any text.
alter table usage
    -- Null: no model was asked.
    add column model text,
    -- Millionths of a US dollar; null: the model's price is not known.
    add column cost_micros bigint,
    add column answerable boolean,
    -- Whether a conversation began with it.
    add column began boolean not null default false,
    add column feedback text check (feedback in ('up', 'down'));
create index usage_feedback on usage (tenant_id, created_at) include (chatbot_id, feedback) where feedback is not null;

do $$
declare
    tenant uuid;
begin
    for tenant in select tenant_named(n) from tenant_names() n loop
        perform set_config('docbrain.tenant', tenant::text, true);
        update conversations c set (messages, last_at) = (
            select count(*), coalesce(max(m.created_at), c.created_at) from messages m
            where m.tenant_id = c.tenant_id and m.conversation_id = c.id);
        update usage u set answerable = m.answerable, began = m.created_at = c.created_at
            from messages m join conversations c on c.tenant_id = m.tenant_id and c.id = m.conversation_id
            where m.tenant_id = u.tenant_id and m.id = u.id;
    end loop;
    perform set_config('docbrain.tenant', '', true);
end
$$;

-- A question with its answer. It returns before it is on disk: after a crash of Postgres it may be missing, whole.
drop function append_exchange(uuid, uuid, uuid, uuid, text, uuid, text, text, boolean, real, jsonb, integer, integer, integer);
create function append_exchange(
    tenant uuid, chatbot uuid, conversation uuid, channel text, visitor text, visitor_identity jsonb, question_id uuid, question text,
    answer_id uuid, answer text, kind text, answerable boolean, best_score real, citations jsonb,
    model text, prompt_tokens integer, completion_tokens integer, cost_micros bigint, milliseconds integer
) returns void
    language plpgsql
as $$
declare
    begins boolean;
begin
    perform docbrain_bind(tenant), set_config('synchronous_commit', 'off', true);
    insert into conversations as c (tenant_id, id, chatbot_id, channel, visitor, visitor_identity, messages)
        values (tenant, conversation, chatbot, channel, visitor, visitor_identity, 2)
        on conflict on constraint conversations_pkey do update set messages = c.messages + 2, last_at = now()
        returning c.messages = 2 into begins;
    insert into messages (tenant_id, id, conversation_id, role, content) values (tenant, question_id, conversation, 'visitor', question);
    insert into messages (tenant_id, id, conversation_id, role, content, kind, answerable, best_score, citations)
        values (tenant, answer_id, conversation, 'assistant', answer, kind, answerable, best_score, citations);
    insert into usage (tenant_id, id, chatbot_id, kind, model, prompt_tokens, completion_tokens, cost_micros, milliseconds, answerable, began)
        values (tenant, answer_id, chatbot, 'chat', model, prompt_tokens, completion_tokens, cost_micros, milliseconds, answerable, begins);
end
$$;
revoke all on function append_exchange(
    uuid, uuid, uuid, text, text, jsonb, uuid, text, uuid, text, text, boolean, real, jsonb, text, integer, integer, bigint, integer) from public;
grant execute on function append_exchange(
    uuid, uuid, uuid, text, text, jsonb, uuid, text, uuid, text, text, boolean, real, jsonb, text, integer, integer, bigint, integer) to docbrain_api;

-- ---------------------------------------------------------------- days that are over, counted (store::stats::close_days)

create table usage_days (
    tenant_id uuid not null references tenants on delete cascade,
    -- In UTC.
    day date not null,
    chatbot_id uuid not null,
    -- Empty: no model was asked.
    model text not null,
    chats integer not null,
    conversations integer not null,
    answered integer not null,
    prompt_tokens bigint not null,
    completion_tokens bigint not null,
    cost_micros bigint,
    primary key (tenant_id, day, chatbot_id, model)
);

create table latency_days (
    tenant_id uuid not null references tenants on delete cascade,
    day date not null,
    chatbot_id uuid not null,
    bucket smallint not null,
    chats integer not null,
    primary key (tenant_id, day, chatbot_id, bucket)
);

-- Answering times that differ by less than 9 % share a bucket: eight to a doubling.
create function latency_bucket(milliseconds integer) returns smallint
    language sql immutable parallel safe
    return floor(8 * ln(greatest(milliseconds, 1)::float8) / ln(2::float8))::smallint;

-- The first day that is not counted yet.
create function usage_open_since(tenant uuid) returns date
    language sql stable parallel safe
    return coalesce((select max(d.day) + 1 from usage_days d where d.tenant_id = tenant), '-infinity');

-- Chats by day, chatbot and model: days that are over as they were counted, the others from their rows. By index alone:
-- it is then checked once for a scan, not for each row, that the rows are the tenant's.
create function usage_by_day(tenant uuid, first date, last date, chatbot uuid) returns table (
    day date, chatbot_id uuid, model text, chats bigint, conversations bigint, answered bigint,
    prompt_tokens bigint, completion_tokens bigint, cost_micros bigint
)
    language plpgsql stable set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    open date := greatest(usage_open_since(tenant), first);
begin
    return query
        select d.day, d.chatbot_id, d.model, d.chats::bigint, d.conversations::bigint, d.answered::bigint,
               d.prompt_tokens, d.completion_tokens, d.cost_micros
        from usage_days d
        where d.tenant_id = tenant and d.day between first and last and (chatbot is null or d.chatbot_id = chatbot);
    return query
        select (u.created_at at time zone 'UTC')::date, u.chatbot_id, coalesce(u.model, ''), count(*),
               count(*) filter (where u.began), count(*) filter (where u.answerable),
               sum(u.prompt_tokens), sum(u.completion_tokens), sum(u.cost_micros)::bigint
        from usage u
        where u.tenant_id = tenant and u.created_at >= open::timestamp at time zone 'UTC'
          and u.created_at < (last + 1)::timestamp at time zone 'UTC'
          and u.kind = 'chat' and u.chatbot_id is not null and (chatbot is null or u.chatbot_id = chatbot)
        group by 1, 2, 3;
end
$$;

-- How long answers took: how many in each bucket.
create function latencies_of(tenant uuid, first date, last date, chatbot uuid) returns table (bucket smallint, chats bigint)
    language plpgsql stable rows 100 set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    open date := greatest(usage_open_since(tenant), first);
begin
    return query
        select a.bucket, sum(a.chats)::bigint from (
            select d.bucket, d.chats::bigint
            from latency_days d
            where d.tenant_id = tenant and d.day between first and last and (chatbot is null or d.chatbot_id = chatbot)
            union all
            select latency_bucket(u.milliseconds), count(*)
            from usage u
            where u.tenant_id = tenant and u.created_at >= open::timestamp at time zone 'UTC'
              and u.created_at < (last + 1)::timestamp at time zone 'UTC'
              and u.kind = 'chat' and u.chatbot_id is not null and (chatbot is null or u.chatbot_id = chatbot)
            group by 1) a (bucket, chats)
        group by 1 order by 1;
end
$$;

-- Counts the days before `today` that are not counted yet.
create function close_days(tenant uuid, today date) returns void
    language plpgsql set enable_seqscan = off
as $$
declare
    open date := usage_open_since(tenant);
begin
    insert into latency_days (tenant_id, day, chatbot_id, bucket, chats)
        select tenant, (u.created_at at time zone 'UTC')::date, u.chatbot_id, latency_bucket(u.milliseconds), count(*)
        from usage u
        where u.tenant_id = tenant and u.created_at >= open::timestamp at time zone 'UTC' and u.created_at < today::timestamp at time zone 'UTC'
          and u.kind = 'chat' and u.chatbot_id is not null
        group by 2, 3, 4;
    insert into usage_days (tenant_id, day, chatbot_id, model, chats, conversations, answered, prompt_tokens, completion_tokens, cost_micros)
        select tenant, d.* from usage_by_day(tenant, open, today - 1, null) d;
end
$$;

do $$
declare
    t text;
begin
    foreach t in array array['usage_days', 'latency_days'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format(
            'create policy tenant_isolation on %I using (tenant_id = docbrain_tenant()) with check (tenant_id = docbrain_tenant())', t);
    end loop;
end
$$;
grant select, insert, delete on usage_days, latency_days to docbrain_api;
revoke all on function usage_open_since(uuid), usage_by_day(uuid, date, date, uuid), latencies_of(uuid, date, date, uuid), close_days(uuid, date)
    from public;
grant execute on function usage_open_since(uuid), usage_by_day(uuid, date, date, uuid), latencies_of(uuid, date, date, uuid), close_days(uuid, date)
    to docbrain_api;

-- ---------------------------------------------------------------- runs, by source and by document

create index runs_source on runs (tenant_id, knowledge_source_id, created_at desc, id desc);
create index run_documents_document on run_documents (tenant_id, document_id);

-- The two ends of a question to a chatbot, each in one round trip. Row-level security holds inside as everywhere.

-- The chatbot of this id or name, and all that a question to it needs to know.
create function chatbot_of(tenant uuid, wanted_id uuid, wanted_name text) returns table (
    id uuid, name text, spec jsonb, suspended boolean, sources uuid[], generations uuid[], languages text[]
)
    language plpgsql rows 1
as $$
#variable_conflict use_column
begin
    perform docbrain_bind(tenant);
    return query
        select c.id, c.name, c.spec, c.suspended or t.suspended, k.sources, k.generations, k.languages
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

-- A question with its answer. It returns before it is on disk: after a crash of Postgres it may be missing, whole.
create function append_exchange(
    tenant uuid, chatbot uuid, conversation uuid, question_id uuid, question text, answer_id uuid, answer text, kind text,
    answerable boolean, best_score real, citations jsonb, prompt_tokens integer, completion_tokens integer, milliseconds integer
) returns void
    language plpgsql
as $$
begin
    perform docbrain_bind(tenant), set_config('synchronous_commit', 'off', true);
    insert into conversations (tenant_id, id, chatbot_id) values (tenant, conversation, chatbot) on conflict do nothing;
    insert into messages (tenant_id, id, conversation_id, role, content) values (tenant, question_id, conversation, 'visitor', question);
    insert into messages (tenant_id, id, conversation_id, role, content, kind, answerable, best_score, citations)
        values (tenant, answer_id, conversation, 'assistant', answer, kind, answerable, best_score, citations);
    insert into usage (tenant_id, id, chatbot_id, kind, prompt_tokens, completion_tokens, milliseconds)
        values (tenant, answer_id, chatbot, 'chat', prompt_tokens, completion_tokens, milliseconds);
end
$$;

revoke all on function chatbot_of(uuid, uuid, text) from public;
revoke all on function append_exchange(uuid, uuid, uuid, uuid, text, uuid, text, text, boolean, real, jsonb, integer, integer, integer) from public;
grant execute on function chatbot_of(uuid, uuid, text) to docbrain_api;
grant execute on function append_exchange(uuid, uuid, uuid, uuid, text, uuid, text, text, boolean, real, jsonb, integer, integer, integer) to docbrain_api;

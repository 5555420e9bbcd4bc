-- Binds the statement that calls it to a tenant, as store::TenantTx binds a transaction; a transaction that is bound to
-- another one stays so.
create function docbrain_bind(tenant uuid) returns void
    language plpgsql
as $$
begin
    if docbrain_tenant() <> tenant then
        raise insufficient_privilege using message = 'this transaction is bound to another tenant';
    end if;
    perform set_config('docbrain.tenant', tenant::text, true);
end
$$;

-- Hybrid search over some generations of one tenant, both arms and their fusion in one round trip.
--
-- Under row-level security an index is not used for an operator that is not leakproof (`terms && …`), so the
-- search runs as docbrain_definer and keeps to one tenant itself: the generations are looked up with it, and nothing but
-- these generations is read (docs/adr/0002-tenant-boundary.md).
--
--   tenant          whose generations are searched
--   wanted          generations to search; those of other tenants are ignored
--   question        its embedding, or null for a search by words alone; a generation of other dimensions is passed over
--   question_terms  its terms (core::lexical), empty for a search by meaning alone
--   candidates      how many of the best each arm contributes; their scores span each arm's 0..1
--   results         how many rows come back
--   dense_weight    share of the dense arm in the fused score, 0..1
create function search_chunks(
    tenant uuid, wanted uuid[], question halfvec, question_terms integer[], candidates integer, results integer, dense_weight real
) returns table (
    chunk_id uuid, document_id uuid, heading_path text[], page_first integer, page_last integer,
    span_start integer, span_end integer, text text, title text, url text, path text, dense real, lexical real, score real
)
    language plpgsql stable security definer rows 15
    set search_path = pg_catalog, public
    set hnsw.ef_search = 100
    -- Below some thousand rows the planner would rather read a whole table than ask its vector index.
    set enable_seqscan = off
    set random_page_cost = 1
as $$
declare
    shared uuid[];
    own uuid[];
    total real;
    question_weights sparsevec;
    rarest integer[];
    own_name text;
    scores constant text :=
        'c.ctid, coalesce(1 - (c.embedding <=> $1), 0)::real, coalesce(-(c.weights <#> $2), 0)::real';
    columns constant text :=
        'c.id, c.document_id, c.heading_path, c.page_first, c.page_last, c.span_start, c.span_end, c.text, t.dense, t.lexical, t.score';
    scans text[] := '{}';
    fetches text[] := '{}';
    -- Rows found: which table (0 is the shared one), where in it, and the score of each arm.
    tables integer[];
    places tid[];
    dense_scores real[];
    lexical_scores real[];
    fused_scores real[];
begin
    perform docbrain_bind(tenant);
    select array_agg(g.id) filter (where not g.own_table), array_agg(g.id) filter (where g.own_table), coalesce(sum(g.chunks), 0)
        into shared, own, total
        from generations g
        where g.id = any (wanted) and g.tenant_id = tenant
          and (question is null or (g.settings ->> 'dimensions')::integer = vector_dims(question));

    -- Lucene's idf, and the terms an index is asked for: the rarest ones, five at most, as long as no more than 500
    -- chunks hold them; a chunk with none of them is hardly among the best (docs/benchmarks.md).
    select ('{' || string_agg((f.term + 1) || ':' || ln(1 + (greatest(total, f.n) - f.n + 0.5) / (f.n + 0.5)), ',') || '}/1048576')::sparsevec,
           (array_agg(f.term order by f.n, f.term) filter (where f.n > 0 and (f.holding <= 500 or f.holding = f.n)))[1:5]
        into question_weights, rarest
        from (
            select c.term, c.n, sum(c.n) over (order by c.n, c.term) as holding
            from (
                select q.term, coalesce(sum(s.chunks), 0)::real as n
                from unnest(question_terms) q (term)
                left join generation_terms s on s.term = q.term and s.generation_id = any (shared || own)
                group by q.term
            ) c
        ) f;

    -- Statements over tables whose names are data are planned every time: they are kept as plain as can be.
    if shared is not null then
        scans := scans || format('select 0, %s from chunks c where c.generation_id = any ($3)', scores);
        fetches := fetches || format('select %s from found t join chunks c on c.ctid = t.place where t.in_table = 0', columns);
    end if;
    for number in 1..coalesce(cardinality(own), 0) loop
        own_name := 'chunks_' || replace(own[number]::text, '-', '');
        if question is not null then
            scans := scans || format('select %s, %s from (select ctid, embedding, weights from %I order by embedding::halfvec(%s) <=> $1::halfvec(%s) limit $4) c',
                number, scores, own_name, vector_dims(question), vector_dims(question));
        end if;
        if rarest is not null then
            scans := scans || format('select %s, %s from (select ctid, embedding, weights from %I where terms && $5 order by weights <#> $2 limit $4) c',
                number, scores, own_name);
        end if;
        fetches := fetches || format('select %s from found t join %I c on c.ctid = t.place where t.in_table = %s',
            columns, own_name, number);
    end loop;
    if cardinality(scans) = 0 then
        return;
    end if;
    execute format('select array_agg(s.t), array_agg(s.p), array_agg(s.d), array_agg(s.l) from (%s) s (t, p, d, l)',
            array_to_string(scans, ' union all '))
        into tables, places, dense_scores, lexical_scores
        using question, question_weights, shared, candidates, rarest;

    with scanned as materialized (
            select distinct * from unnest(tables, places, dense_scores, lexical_scores) s (in_table, place, dense, lexical)),
        dense_arm as (select min(a.dense) as low, max(a.dense) as high
            from (select s.dense from scanned s order by s.dense desc limit candidates) a),
        lexical_arm as (select min(a.lexical) as low, max(a.lexical) as high
            from (select s.lexical from scanned s where s.lexical > 0 order by s.lexical desc limit candidates) a)
        select array_agg(f.in_table), array_agg(f.place), array_agg(f.dense), array_agg(f.lexical), array_agg(f.score)
        into tables, places, dense_scores, lexical_scores, fused_scores
        from (
            select s.*, (
                dense_weight * case when d.high > d.low then greatest((s.dense - d.low) / (d.high - d.low), 0) when s.dense = d.high then 1 else 0 end
                + (1 - dense_weight) * case when l.high > l.low then greatest((s.lexical - l.low) / (l.high - l.low), 0) when s.lexical = l.high then 1 else 0 end
            )::real as score
            from scanned s, dense_arm d, lexical_arm l
            where (dense_weight > 0 and s.dense >= d.low) or (dense_weight < 1 and s.lexical > 0 and s.lexical >= l.low)
            order by score desc, s.in_table, s.place
            limit results
        ) f;

    -- A row stays where it is found for as long as the snapshot of the query that called this lasts.
    return query execute format(
            'with found as (select * from unnest($1, $2, $3, $4, $5) f (in_table, place, dense, lexical, score)), chunk as (%s)
             select c.id, c.document_id, c.heading_path, c.page_first, c.page_last, c.span_start, c.span_end, c.text,
                d.title, d.url, d.path, c.dense, c.lexical, c.score
             from chunk c join documents d on d.tenant_id = $6 and d.id = c.document_id
             order by c.score desc, c.document_id, c.span_start',
            array_to_string(fetches, ' union all '))
        using tables, places, dense_scores, lexical_scores, fused_scores, tenant;
end
$$;
grant create on schema public to docbrain_definer;
alter function search_chunks(uuid, uuid[], halfvec, integer[], integer, integer, real) owner to docbrain_definer;
revoke create on schema public from docbrain_definer;
revoke all on function search_chunks(uuid, uuid[], halfvec, integer[], integer, integer, real) from public;
grant execute on function search_chunks(uuid, uuid[], halfvec, integer[], integer, integer, real) to docbrain_api;

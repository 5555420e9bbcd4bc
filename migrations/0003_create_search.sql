-- Hybrid search over some generations of one tenant, both arms and their fusion in one round trip.
--
-- Under row-level security an index is not used for an operator that is not leakproof (`terms && …`), so the
-- search runs as docbrain_definer and keeps to the caller's tenant itself: the generations are looked up with
-- docbrain_tenant(), and nothing but these generations is read (docs/adr/0002-tenant-boundary.md).
--
--   wanted          generations to search; those of other tenants are ignored
--   question        its embedding, or null for a search by words alone; a generation of other dimensions is passed over
--   question_terms  its terms (core::lexical), empty for a search by meaning alone
--   candidates      how many of the best each arm contributes; their scores span each arm's 0..1
--   results         how many rows come back
--   dense_weight    share of the dense arm in the fused score, 0..1
create function search_chunks(
    wanted uuid[], question halfvec, question_terms integer[], candidates integer, results integer, dense_weight real
) returns table (
    chunk_id uuid, document_id uuid, heading_path text[], page_first integer, page_last integer,
    span_start integer, span_end integer, text text, dense real, lexical real, score real
)
    language plpgsql stable security definer
    set search_path = pg_catalog, public
    set hnsw.ef_search = 100
as $$
declare
    shared uuid[];
    own uuid[];
    total real;
    question_weights sparsevec;
    rarest integer[];
    generation uuid;
    own_name text;
    scores constant text :=
        'coalesce(1 - (c.embedding <=> $1), 0)::real as dense, coalesce(-(c.weights <#> $2), 0)::real as lexical';
    columns constant text :=
        'c.id, t.document_id, c.heading_path, c.page_first, c.page_last, c.span_start, c.span_end, c.text, t.dense, t.lexical, t.score';
    scans text[] := '{}';
    fetches text[] := '{}';
begin
    select array_agg(g.id) filter (where not g.own_table), array_agg(g.id) filter (where g.own_table), coalesce(sum(g.chunks), 0)
        into shared, own, total
        from generations g
        where g.id = any (wanted) and g.tenant_id = docbrain_tenant()
          and (question is null or (g.settings ->> 'dimensions')::integer = vector_dims(question));

    -- Lucene's idf, and the terms an index is asked for: the rarest ones suffice (docs/benchmarks.md).
    select ('{' || string_agg((f.term + 1) || ':' || ln(1 + (greatest(total, f.n) - f.n + 0.5) / (f.n + 0.5)), ',') || '}/1048576')::sparsevec,
           (array_agg(f.term order by f.n) filter (where f.n > 0))[1:5]
        into question_weights, rarest
        from (
            select q.term, coalesce(sum(s.chunks), 0)::real as n
            from unnest(question_terms) q (term)
            left join generation_terms s on s.term = q.term and s.generation_id = any (shared || own)
            group by q.term
        ) f;

    if shared is not null then
        scans := scans || format('select c.generation_id, c.document_id, c.ordinal, %s from chunks c where c.generation_id = any ($3)', scores);
        fetches := fetches || format('select %s from best t join chunks c using (generation_id, document_id, ordinal)', columns);
    end if;
    foreach generation in array coalesce(own, '{}') loop
        own_name := 'chunks_' || replace(generation::text, '-', '');
        if question is not null then
            scans := scans || format('(select c.generation_id, c.document_id, c.ordinal, %s from %I c order by c.embedding::halfvec(%s) <=> $1::halfvec(%s) limit $4)',
                scores, own_name, vector_dims(question), vector_dims(question));
        end if;
        if rarest is not null then
            scans := scans || format('(select c.generation_id, c.document_id, c.ordinal, %s from %I c where c.terms && $7 order by c.weights <#> $2 limit $4)',
                scores, own_name);
        end if;
        fetches := fetches || format('select %s from best t join %I c using (generation_id, document_id, ordinal)', columns, own_name);
    end loop;
    if cardinality(scans) = 0 then
        return;
    end if;

    return query execute format($query$
        with scanned as materialized (%s),
        dense_arm as (select min(a.dense) as low, max(a.dense) as high
            from (select distinct s.document_id, s.ordinal, s.dense from scanned s order by s.dense desc limit $4) a),
        lexical_arm as (select min(a.lexical) as low, max(a.lexical) as high
            from (select distinct s.document_id, s.ordinal, s.lexical from scanned s where s.lexical > 0 order by s.lexical desc limit $4) a),
        fused as (
            select distinct s.generation_id, s.document_id, s.ordinal, s.dense, s.lexical, (
                $6 * case when d.high > d.low then greatest((s.dense - d.low) / (d.high - d.low), 0) when s.dense = d.high then 1 else 0 end
                + (1 - $6) * case when l.high > l.low then greatest((s.lexical - l.low) / (l.high - l.low), 0) when s.lexical = l.high then 1 else 0 end
            )::real as score
            from scanned s, dense_arm d, lexical_arm l
            where ($6 > 0 and s.dense >= d.low) or ($6 < 1 and s.lexical > 0 and s.lexical >= l.low)
        ),
        best as materialized (select * from fused f order by f.score desc, f.document_id, f.ordinal limit $5)
        %s order by score desc, document_id, span_start
    $query$, array_to_string(scans, ' union all '), array_to_string(fetches, ' union all '))
    using question, question_weights, shared, candidates, results, dense_weight, rarest;
end
$$;
grant create on schema public to docbrain_definer;
alter function search_chunks(uuid[], halfvec, integer[], integer, integer, real) owner to docbrain_definer;
revoke create on schema public from docbrain_definer;
revoke all on function search_chunks(uuid[], halfvec, integer[], integer, integer, real) from public;
grant execute on function search_chunks(uuid[], halfvec, integer[], integer, integer, real) to docbrain_api;

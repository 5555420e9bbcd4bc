-- What the last manifest said of a resource, as it was written: fields that it has dropped are told from fields that were
-- set through the API. Null where no manifest was applied.

alter table tenants add column applied jsonb;
alter table chatbots add column applied jsonb;
alter table knowledge_sources add column applied jsonb;

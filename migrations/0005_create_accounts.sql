-- People and programs that sign in, and what they changed.
--
-- An account belongs to a person, not to a tenant: its memberships say where it may do what. What is found before a
-- tenant or an account is known (an e-mail, a session, a token, an invitation) is found by functions of docbrain_definer,
-- each of which asks for a secret or for an exact name.

-- Nothing has written to it before.
drop table accounts;

-- The account a transaction acts for, as docbrain_tenant() says the tenant.
create function docbrain_account() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('docbrain.account', true), '')::uuid;

create table accounts (
    id uuid primary key,
    email text not null check (length(email) <= 254),
    name text not null default '' check (length(name) <= 120),
    -- Argon2id in PHC form; null for an account that signs in by OpenID Connect alone.
    password_hash text,
    oidc_issuer text,
    oidc_subject text,
    superuser boolean not null default false,
    created_at timestamptz not null default now()
);
create unique index accounts_email_key on accounts (lower(email));
create unique index accounts_oidc_key on accounts (oidc_issuer, oidc_subject);

create table memberships (
    tenant_id uuid not null references tenants on delete cascade,
    account_id uuid not null references accounts on delete cascade,
    role text not null check (role in ('viewer', 'editor', 'admin')),
    created_at timestamptz not null default now(),
    primary key (tenant_id, account_id)
);
create index memberships_account on memberships (account_id);

create table invitations (
    tenant_id uuid not null references tenants on delete cascade,
    id uuid not null,
    email text not null check (length(email) <= 254),
    role text not null check (role in ('viewer', 'editor', 'admin')),
    secret_sha256 bytea not null unique check (length(secret_sha256) = 32),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (tenant_id, id)
);
create unique index invitations_email_key on invitations (tenant_id, lower(email));

-- A browser's session, or the refresh token of a program. The secret changes at each refresh.
create table sessions (
    id uuid primary key,
    account_id uuid not null references accounts on delete cascade,
    kind text not null check (kind in ('cookie', 'refresh')),
    secret_sha256 bytea not null unique check (length(secret_sha256) = 32),
    -- The secret before the last refresh: whoever shows it has stolen it, or was stolen from.
    spent_sha256 bytea,
    user_agent text not null default '',
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index sessions_account on sessions (account_id);
create index sessions_spent on sessions (spent_sha256) where spent_sha256 is not null;

-- Attempts to sign in since the last that succeeded, by the hash of what was tried: an account that does not exist is
-- locked like one that does.
create table login_attempts (
    key_sha256 bytea primary key check (length(key_sha256) = 32),
    attempts integer not null,
    locked_until timestamptz not null,
    updated_at timestamptz not null
);

create table api_tokens (
    tenant_id uuid not null references tenants on delete cascade,
    id uuid not null,
    name text not null check (length(name) between 1 and 120),
    secret_sha256 bytea not null unique check (length(secret_sha256) = 32),
    -- The last four characters, for people to tell tokens apart.
    hint text not null,
    scopes text[] not null check (scopes <@ array['chat', 'read', 'write', 'manage'] and cardinality(scopes) > 0),
    created_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    primary key (tenant_id, id)
);

-- Who changed what, when, from where. Rows are only ever added.
create table audit_log (
    tenant_id uuid not null references tenants on delete cascade,
    id uuid not null,
    at timestamptz not null default now(),
    -- `account`, `token` or `installation`, and which one.
    actor_kind text not null check (actor_kind in ('account', 'token', 'installation')),
    actor_id uuid,
    actor text not null,
    -- A noun and a verb, such as `chatbot.update`.
    action text not null,
    target text not null,
    -- What changed, without any secret.
    detail jsonb not null default '{}',
    ip inet,
    request_id text not null,
    primary key (tenant_id, id)
);

-- What a create was answered with, so that sending it again answers the same.
create table idempotency_keys (
    tenant_id uuid not null references tenants on delete cascade,
    key text not null check (length(key) between 1 and 128),
    request_sha256 bytea not null,
    -- Null while the first request is under way.
    status integer,
    body jsonb,
    created_at timestamptz not null default now(),
    primary key (tenant_id, key)
);

-- Counts the changes of a configuration: its ETag.
alter table tenants add column revision bigint not null default 1;
alter table chatbots add column revision bigint not null default 1;
alter table knowledge_sources add column revision bigint not null default 1;

do $$
declare
    t text;
begin
    foreach t in array array['memberships', 'invitations', 'api_tokens', 'audit_log', 'idempotency_keys'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format(
            'create policy tenant_isolation on %I using (tenant_id = docbrain_tenant()) with check (tenant_id = docbrain_tenant())', t);
    end loop;
    foreach t in array array['accounts', 'sessions', 'login_attempts'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
    end loop;
end
$$;
create policy own_account on accounts using (id = docbrain_account()) with check (id = docbrain_account());
create policy own_sessions on sessions using (account_id = docbrain_account()) with check (account_id = docbrain_account());
create policy own_memberships on memberships for select using (account_id = docbrain_account());

-- The people of a tenant are known to the tenant.
create policy fellows on accounts for select
    using (exists (select 1 from memberships m where m.account_id = accounts.id and m.tenant_id = docbrain_tenant()));

grant select, insert, update, delete on memberships, invitations, sessions, api_tokens, idempotency_keys to docbrain_api;
grant select, insert on audit_log to docbrain_api;
-- The API cannot make a superuser.
grant select, delete on accounts to docbrain_api;
grant insert (id, email, name, password_hash, oidc_issuer, oidc_subject) on accounts to docbrain_api;
grant update (email, name, password_hash, oidc_issuer, oidc_subject) on accounts to docbrain_api;

create policy definer_reads on accounts for select to docbrain_definer using (true);
create policy definer_reads on sessions for select to docbrain_definer using (true);
create policy definer_reads on memberships for select to docbrain_definer using (true);
create policy definer_reads on invitations for select to docbrain_definer using (true);
create policy definer_reads on api_tokens for select to docbrain_definer using (true);
create policy definer_reads on chatbots for select to docbrain_definer using (true);
create policy definer_counts on login_attempts to docbrain_definer using (true) with check (true);
grant select on accounts, sessions, memberships, invitations, api_tokens, chatbots to docbrain_definer;
grant select, insert, update, delete on login_attempts to docbrain_definer;
grant create on schema public to docbrain_definer;

-- The account with this e-mail, for a sign-in.
create function account_of_email(wanted text) returns table (id uuid, password_hash text)
    language sql stable security definer rows 1 set search_path = pg_catalog, public
    begin atomic
        select a.id, a.password_hash from public.accounts a where lower(a.email) = lower(wanted);
    end;

-- Counts an attempt to sign in under each key, before the password is looked at; how many seconds the caller must wait
-- instead, 0 if it may try. Each key gives `free` attempts; from then on the pause doubles from a second to 15 minutes.
create function login_attempt(keys bytea[], free integer[]) returns integer
    language plpgsql security definer set search_path = pg_catalog, public
as $$
declare
    wait integer;
begin
    delete from login_attempts where updated_at < now() - interval '1 day';
    select coalesce(ceil(extract(epoch from max(a.locked_until) - now())), 0) into wait
        from login_attempts a where a.key_sha256 = any (keys) and a.locked_until > now();
    if wait > 0 then
        return wait;
    end if;
    insert into login_attempts as a (key_sha256, attempts, locked_until, updated_at)
        select k.key, 1, now(), now() from unnest(keys) k (key) order by k.key
        on conflict (key_sha256) do update set
            attempts = a.attempts + 1,
            locked_until = now() + least(900, power(2, least(a.attempts + 1 - free[array_position(keys, a.key_sha256)], 10))) * interval '1 second'
                * (a.attempts + 1 >= free[array_position(keys, a.key_sha256)])::integer,
            updated_at = now();
    return 0;
end
$$;

-- Forgets the attempts under these keys.
create function login_succeeded(keys bytea[]) returns void
    language sql security definer set search_path = pg_catalog, public
    begin atomic
        delete from public.login_attempts a where a.key_sha256 = any (keys);
    end;

-- The account of a subject at an issuer (OpenID Connect).
create function account_of_subject(issuer text, subject text) returns uuid
    language sql stable security definer set search_path = pg_catalog, public
    return (select a.id from public.accounts a where a.oidc_issuer = issuer and a.oidc_subject = subject);

-- The session with this secret; `spent`: the secret was replaced by a refresh already.
create function session_of(secret bytea) returns table (id uuid, account_id uuid, kind text, expires_at timestamptz, spent boolean)
    language sql stable security definer rows 1 set search_path = pg_catalog, public
    begin atomic
        select s.id, s.account_id, s.kind, s.expires_at, s.secret_sha256 <> secret from public.sessions s
        where s.secret_sha256 = secret or s.spent_sha256 = secret;
    end;

create function api_token_of(secret bytea) returns table (
    tenant_id uuid, id uuid, name text, scopes text[], expires_at timestamptz
)
    language sql stable security definer rows 1 set search_path = pg_catalog, public
    begin atomic
        select t.tenant_id, t.id, t.name, t.scopes, t.expires_at from public.api_tokens t where t.secret_sha256 = secret;
    end;

create function invitation_of(secret bytea) returns table (
    tenant_id uuid, id uuid, tenant text, email text, role text, expires_at timestamptz
)
    language sql stable security definer rows 1 set search_path = pg_catalog, public
    begin atomic
        select i.tenant_id, i.id, t.name, i.email, i.role, i.expires_at
        from public.invitations i join public.tenants t using (tenant_id) where i.secret_sha256 = secret;
    end;

-- What a signed-in account may do: its memberships; a session that is no longer there has none.
create function memberships_of(account uuid, session uuid) returns table (
    email text, superuser boolean, tenant_id uuid, tenant text, display_name text, role text
)
    language sql stable security definer rows 2 set search_path = pg_catalog, public
    begin atomic
        select a.email, a.superuser, m.tenant_id, t.name, t.spec ->> 'displayName', m.role
        from public.sessions s
        join public.accounts a on a.id = s.account_id
        left join public.memberships m on m.account_id = a.id
        left join public.tenants t on t.tenant_id = m.tenant_id
        where s.id = session and s.account_id = account and s.expires_at > now()
        order by m.created_at, m.tenant_id;
    end;

-- Which tenant a chatbot belongs to: a widget knows nothing but the chatbot's id.
create function tenant_of_chatbot(chatbot uuid) returns uuid
    language sql stable security definer set search_path = pg_catalog, public
    return (select c.tenant_id from public.chatbots c where c.id = chatbot);

-- Whether any chatbot may be embedded by pages of this origin: all that a preflight request can be judged by.
create function origin_is_known(origin text) returns boolean
    language sql stable security definer set search_path = pg_catalog, public
    return (select exists (select 1 from public.chatbots c where c.spec -> 'allowedOrigins' @> to_jsonb(origin)));
create index chatbots_origins on chatbots using gin ((spec -> 'allowedOrigins') jsonb_path_ops);

-- Tenants and what they use, for whoever runs the installation.
create policy definer_reads on usage for select to docbrain_definer using (true);
grant select on usage to docbrain_definer;
create function tenant_usage(wanted text) returns table (
    id uuid, name text, display_name text, suspended boolean, created_at timestamptz,
    members bigint, chatbots bigint, documents bigint, chunks bigint, chats bigint, tokens bigint
)
    language sql stable security definer set search_path = pg_catalog, public
    begin atomic
        select t.tenant_id, t.name, t.spec ->> 'displayName', t.suspended, t.created_at,
            (select count(*) from public.memberships m where m.tenant_id = t.tenant_id),
            (select count(*) from public.chatbots c where c.tenant_id = t.tenant_id),
            d.documents, d.chunks, u.chats, u.tokens
        from public.tenants t
        cross join lateral (
            select count(*) as documents, coalesce(sum(d.chunks), 0) as chunks from public.documents d where d.tenant_id = t.tenant_id) d
        cross join lateral (
            select count(*) as chats, coalesce(sum(u.prompt_tokens::bigint + u.completion_tokens), 0)::bigint as tokens
            from public.usage u
            where u.tenant_id = t.tenant_id and u.kind = 'chat' and u.created_at > now() - interval '30 days') u
        where wanted is null or t.name = wanted
        order by t.name;
    end;

do $$
declare
    f text;
begin
    foreach f in array array[
        'account_of_email(text)', 'account_of_subject(text, text)', 'session_of(bytea)', 'api_token_of(bytea)', 'invitation_of(bytea)',
        'memberships_of(uuid, uuid)', 'login_attempt(bytea[], integer[])', 'login_succeeded(bytea[])', 'tenant_usage(text)', 'tenant_of_chatbot(uuid)', 'origin_is_known(text)'
    ] loop
        execute format('alter function %s owner to docbrain_definer', f);
        execute format('revoke all on function %s from public', f);
        execute format('grant execute on function %s to docbrain_api', f);
    end loop;
end
$$;
revoke create on schema public from docbrain_definer;

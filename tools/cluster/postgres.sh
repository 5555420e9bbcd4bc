#!/usr/bin/env bash
# Starts or stops a PostgreSQL for a test cluster; where the cluster has a node, its pods reach it at 10.88.0.1:
#   tools/cluster/postgres.sh start|stop|kill
# `start` prints the URL of the database's owner, who is no superuser; $CLUSTER/postgres/superuser-url holds the other.
# It is safe against being killed, not against a loss of power.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
. "$(dirname "$0")/processes.sh"
folder=$CLUSTER/postgres

# PostgreSQL refuses to run as root.
unprivileged=(env -i PATH=/usr/bin:/bin LC_ALL=C.UTF-8)
[ "$(id -u)" != 0 ] || unprivileged=(setpriv --reuid 65534 --regid 65534 --clear-groups "${unprivileged[@]}")

initialise() {
  rm -rf "$folder"
  mkdir -p "$folder"
  (umask 077 && openssl rand -hex 24 >"$folder/password")
  [ "$(id -u)" != 0 ] || chown -R 65534:65534 "$folder"
  cd "$folder"
  "${unprivileged[@]}" "$POSTGRES/bin/initdb" --locale=C.UTF-8 --encoding=UTF8 --username=postgres --auth=scram-sha-256 \
    --no-instructions --no-sync --pwfile="$folder/password" --pgdata="$folder/data.new" >"$folder/initdb.log" 2>&1 ||
    { tail -n 5 "$folder/initdb.log" >&2; fail "PostgreSQL could not be initialised in $folder"; }
  echo "host all all $PODS scram-sha-256" >>"$folder/data.new/pg_hba.conf"
  mv "$folder/data.new" "$folder/data"
}

# The children of a killed server end a moment after it, and until then nobody else may have its data.
await_survivors() {
  local id
  for _ in {1..100}; do
    id=$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null || true)
    if [ -z "$id" ] || [ ! -e "/proc/$id" ]; then
      find /proc/[0-9]*/cwd -maxdepth 0 -lname "$folder/data" 2>/dev/null | grep -q . || return 0
    fi
    sleep 0.1
  done
}

run() {
  local addresses=127.0.0.1
  [ "$(tier)" != node ] || addresses+=",$HOST"
  cd /
  start postgres "${unprivileged[@]}" "$POSTGRES/bin/postgres" -D "$folder/data" -k "" -p "$(postgres_port)" \
    -c listen_addresses=$addresses -c max_connections=200 -c shared_buffers=128MB -c jit=off \
    -c fsync=off -c full_page_writes=off -c synchronous_commit=off
}

sql() { # database, statement…
  local database=$1
  shift
  PGPASSWORD=$(cat "$folder/password") "$POSTGRES/bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 \
    -h 127.0.0.1 -p "$(postgres_port)" -U postgres -d "$database" -c "$@"
}

# Each step may have been done before.
create_database() {
  local password
  password=$(cat "$folder/password")
  [ -n "$(sql postgres "select 1 from pg_roles where rolname = 'docbrain_owner'")" ] ||
    sql postgres "create role docbrain_owner login createrole password '$password'"
  [ -n "$(sql postgres "select 1 from pg_database where datname = 'docbrain'")" ] ||
    sql postgres "create database docbrain owner docbrain_owner"
  PGOPTIONS='-c client_min_messages=warning' sql docbrain "create extension if not exists vector"
  (umask 077 && echo "postgres://postgres:$password@$(address):$(postgres_port)/postgres" >"$folder/superuser-url")
  echo "postgres://docbrain_owner:$password@$(address):$(postgres_port)/docbrain"
}

take_turn
case ${1:-} in
start)
  [ -s "$CLUSTER/port" ] || fail "there is no cluster in $CLUSTER: tools/cluster/up.sh makes one"
  [ -x "$POSTGRES/bin/postgres" ] || fail "there is no PostgreSQL in $POSTGRES: make tools"
  [ -e "$folder/data/PG_VERSION" ] || initialise
  process postgres >/dev/null || await_survivors
  run
  await 60 postgres ready sql postgres "select 1"
  create_database
  ;;
stop) stop postgres 30 INT ;;
kill) stop postgres 30 KILL ;;
*) fail "usage: tools/cluster/postgres.sh start|stop|kill" ;;
esac

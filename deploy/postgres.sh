#!/bin/sh
# Starts the PostgreSQL of the image docbrain/postgres; the first time, makes its database. Settings, by environment:
#   POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE  the password of both roles; a changed one holds from the next start
#   POSTGRES_DB                                  the database (docbrain)
# The roles are `docbrain_owner`, who owns the database and is no superuser, and the superuser `postgres`.
# Arguments go to the server, such as `-c max_connections=500`.
set -eu
umask 077
database=${POSTGRES_DB:-docbrain}
password=${POSTGRES_PASSWORD:-}
if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
  password=$(cat "$POSTGRES_PASSWORD_FILE")
fi
unset POSTGRES_PASSWORD
if [ -z "$password" ]; then
  echo "error: set POSTGRES_PASSWORD, or POSTGRES_PASSWORD_FILE" >&2
  exit 2
fi
case $database in
*[!a-z0-9_]* | [0-9]*)
  echo "error: POSTGRES_DB may hold small letters, digits and underscores" >&2
  exit 2
  ;;
esac
case $password in
*"
"*)
  echo "error: the password may not hold a line break" >&2
  exit 2
  ;;
esac
quoted=$(printf %s "$password" | sed "s/'/''/g")
folder=$(dirname "$PGDATA")

sql() { # folder of the data, database; without a server, statements from standard input, each ended by an empty line
  # A killed container leaves a lock that names its own number, which is this script's: 1 in both.
  PG_GRANDPARENT_PID=$$ postgres --single -j -D "$1" -c log_min_messages=fatal -c exit_on_error=on "$2" >/dev/null
}

if [ ! -e "$PGDATA/PG_VERSION" ]; then
  # A killed initialisation leaves a folder without meaning; only a complete one gets the name of the data.
  new=$folder/new
  rm -rf "$new"
  printf '%s\n' "$password" >"$folder/password"
  initdb --locale=C.UTF-8 --encoding=UTF8 --username=postgres --auth=scram-sha-256 --no-instructions \
    --pwfile="$folder/password" --pgdata="$new" >&2
  rm "$folder/password"
  echo "host all all all scram-sha-256" >>"$new/pg_hba.conf"
  printf '%s;\n\n' "create role docbrain_owner login createrole" "create database $database owner docbrain_owner" | sql "$new" postgres
  printf '%s;\n\n' "create extension vector" | sql "$new" "$database"
  mv "$new" "$PGDATA"
fi
printf '%s;\n\n' "alter role postgres password '$quoted'" "alter role docbrain_owner password '$quoted'" | sql "$PGDATA" postgres
exec postgres -D "$PGDATA" -k "" -c listen_addresses='*' -c max_connections=300 -c jit=off "$@"

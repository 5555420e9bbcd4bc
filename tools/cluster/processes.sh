# Starts, awaits and stops the processes of a test cluster, for the scripts beside this one, which read it with `.`.
# A process has a name, a log in $CLUSTER/logs and a file in $CLUSTER/run with its id and the time of its birth,
# since ids are given again.
# shellcheck shell=bash

birth() { # id
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # What stands before the last parenthesis is the program's name, which may hold anything.
  set -- ${stat##*) }
  [ "$1" != Z ] && echo "${20}"
}

process() { # name, folder of its cluster; prints its id when it runs
  local id born
  read -r id born 2>/dev/null <"${2:-$CLUSTER}/run/$1.pid" || return 1
  [ "$(birth "$id")" = "$born" ] && echo "$id"
}

start() { # name, command…
  local name=$1 id
  shift
  process "$name" >/dev/null && return
  mkdir -p "$CLUSTER/run" "$CLUSTER/logs"
  # Of its own session, so that a terminal's Ctrl-C does not reach it; without the lock of this script.
  setsid "$@" >>"$CLUSTER/logs/$name.log" 2>&1 </dev/null 8>&- 9>&- &
  id=$!
  echo "$id $(birth "$id")" >"$CLUSTER/run/$name.pid"
  disown
}

await() { # seconds, name, what it shall be, command that tells
  local seconds=$1 name=$2 goal=$3 deadline
  shift 3
  deadline=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    if ! process "$name" >/dev/null; then
      tail -n 20 "$CLUSTER/logs/$name.log" >&2
      fail "$name ended instead of being $goal; its log is $CLUSTER/logs/$name.log"
    fi
    if [ $SECONDS -ge $deadline ]; then
      tail -n 20 "$CLUSTER/logs/$name.log" >&2
      fail "$name was not $goal within $seconds s; its log is $CLUSTER/logs/$name.log"
    fi
    sleep 0.1
  done
}

stop() { # name, seconds it may take, signal
  local id deadline=$((SECONDS + ${2:-10}))
  id=$(process "$1") || return 0
  kill -s "${3:-TERM}" "$id" 2>/dev/null || true
  while process "$1" >/dev/null; do
    [ $SECONDS -lt $deadline ] || kill -s KILL "$id" 2>/dev/null || true
    sleep 0.05
  done
  rm -f "$CLUSTER/run/$1.pid"
}

is_open() { # address, port
  (: <"/dev/tcp/$1/$2") 2>/dev/null
}

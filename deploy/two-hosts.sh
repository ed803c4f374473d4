#!/bin/bash
# Runs a command on the first of two hosts, with a worker on the second: two network namespaces of this machine, which
# share nothing but a cable and the file system. It needs root, iproute2 and Beam on PATH.
#
#   deploy/two-hosts.sh sonogloss caption --audio DIR --datastore DIR --output DIR \
#       --runner PortableRunner --job_endpoint localhost:8099 \
#       --environment_type EXTERNAL --environment_config worker-host:50000
#
# On real hosts the same two services do it: the pool on each worker host, the job service where the command runs.
set -euo pipefail

near=${TWO_HOSTS:-sonogloss}-near far=${TWO_HOSTS:-sonogloss}-far
cable=sg$$

clean() {
    for host in "$near" "$far"; do
        ip netns pids "$host" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
        ip netns delete "$host" 2>/dev/null || true
        rm -rf "/etc/netns/$host"
    done
}
trap clean EXIT
clean

for host in "$near" "$far"; do
    mkdir -p "/etc/netns/$host"
    printf '%s\n' '127.0.0.1 localhost' '10.77.0.1 job-host' '10.77.0.2 worker-host' > "/etc/netns/$host/hosts"
    ip netns add "$host"
    ip -n "$host" link set lo up
done
ip link add "${cable}n" netns "$near" type veth peer name "${cable}f" netns "$far"
ip -n "$near" address add 10.77.0.1/24 dev "${cable}n"
ip -n "$far" address add 10.77.0.2/24 dev "${cable}f"
ip -n "$near" link set "${cable}n" up
ip -n "$far" link set "${cable}f" up

# on NAMESPACE HOSTNAME COMMAND...: workers are told to call back at the name of the job's host.
on() {
    ip netns exec "$1" unshare --uts sh -c 'hostname "$0" && exec "$@"' "${@:2}"
}

# answers HOST PORT: once somebody listens there.
answers() {
    for _ in $(seq 300); do
        ip netns exec "$near" bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null && return
        sleep 0.2
    done
    echo "two-hosts: nobody listens at $1:$2" >&2
    return 1
}

on "$far" worker-host python -m apache_beam.runners.worker.worker_pool_main --service_port 50000 &
on "$near" job-host python -m apache_beam.runners.portability.local_job_service_main --port 8099 &
disown -a  # that they are killed in the end is no news
answers worker-host 50000
answers localhost 8099
on "$near" job-host "$@"

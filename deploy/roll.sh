#!/bin/sh
# Puts another version or configuration to work without an error for a caller:
# VERSION=v1.2.3 deploy/roll.sh. One replica after the other is taken out of
# nginx, ends what it is doing, begins anew, and is put back once it is healthy;
# then the workers, whose tasks go on where they were.
set -eu
compose="docker compose -f $(dirname "$0")/compose.yaml"

# nginx has calls go to all replicas but the one that is named, once it returns.
# Calls that are under way stay where they are.
without() {
	$compose exec -T nginx sh -c "sed 's/server $1:[0-9]*/& down/' /etc/nginx/nginx.conf >/run/nginx.conf"
	$compose exec -T nginx sh -c '
		# An old one says that it is shutting down; busybox shows blanks behind a name.
		taking() { pgrep -P "$(cat /run/nginx.pid)" -f "worker process *$"; }
		nginx -t -q -c /run/nginx.conf || exit
		old=$(taking) || exit
		nginx -s reload -c /run/nginx.conf || exit
		for _ in $(seq 300); do
			taking | grep -qxF "$old" || exit 0
			sleep 0.1
		done
		echo "nginx goes on with its old configuration" >&2
		exit 1'
}

for replica in api-1 api-2; do
	without $replica
	$compose up -d --no-deps --wait --wait-timeout 180 $replica
done
without nobody
$compose up -d --no-deps --wait --wait-timeout 180 worker

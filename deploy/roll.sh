#!/bin/sh
# Puts another version or configuration to work without an error for a caller:
# VERSION=v1.2.3 deploy/roll.sh. One replica after the other is taken out of
# nginx, ends what it is doing, begins anew, and is put back once it is healthy;
# then the workers, whose tasks go on where they were.
set -eu
compose="docker compose -f $(dirname "$0")/compose.yaml"

# nginx has calls go to all replicas but the one that is named. Calls that are
# under way stay where they are.
without() {
	$compose exec -T nginx sh -c "sed 's/server $1:[0-9]*/& down/' /etc/nginx/nginx.conf >/run/nginx.conf &&
		nginx -t -q -c /run/nginx.conf && nginx -s reload -c /run/nginx.conf"
}

for replica in api-1 api-2; do
	without $replica
	$compose up -d --no-deps --wait --wait-timeout 180 $replica
done
without nobody
$compose up -d --no-deps --wait --wait-timeout 180 worker

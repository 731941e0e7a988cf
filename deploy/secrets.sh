#!/bin/sh
# Makes the secrets of compose.yaml that are not there yet, each new and random,
# in the folder secrets beside it or the one that is named. The certificate is
# one for trying out, for localhost: put your own in its place.
set -eu
umask 077
dir=${1:-$(dirname "$0")/secrets}
mkdir -p "$dir"
cd "$dir"

missing() { [ ! -e "$1" ]; }
random() { openssl rand -hex 24; }

if missing postgres-password; then
	random >postgres-password
	echo "postgres:5432:runwire:runwire:$(cat postgres-password)" >pgpass
fi
if missing nats.env; then
	nats=$(random)
	route=$(random)
	{
		echo "NATS_PASSWORD=$nats"
		echo "NATS_ROUTE_PASSWORD=$route"
		for n in 1 2 3; do echo "NATS_ROUTE_$n=nats-route://route:$route@nats-$n:6222"; done
	} >nats.env
	echo "RUNWIRE_NATS_URL=nats://runwire:$nats@nats-1:4222,nats://runwire:$nats@nats-2:4222,nats://runwire:$nats@nats-3:4222" >runwire-nats.env
fi
if missing runwire.env; then
	key=rw_$(random)
	echo "$key" >api-key
	{
		echo "RUNWIRE_KEY_SHA256=$(printf %s "$key" | openssl dgst -sha256 -r | cut -d' ' -f1)"
		echo "RUNWIRE_WEBHOOK_SECRET=whsec_$(openssl rand -base64 32)"
		echo "# OPENAI_API_KEY="
		echo "# ANTHROPIC_API_KEY="
	} >runwire.env
fi
if missing tls-cert; then
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj /CN=localhost \
		-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout tls-key -out tls-cert 2>/dev/null
fi
# Containers have other users; the folder keeps everybody else out.
chmod 444 postgres-password pgpass tls-cert tls-key

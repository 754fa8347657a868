#!/usr/bin/env bats
# Stores: a directory and an S3 server at once; and what stock tools make of what lies there.

load pipelines

teardown() {
    [ -z "${S3_PID:-}" ] || kill "$S3_PID"
    "$PROJECT/scripts/scratch-postgres" stop "$SCRATCH/fresh"
}

@test "one pipe fills a directory and a bucket, and either brings the database back" {
    start_s3
    export DR_TO=$PWD/store,s3://acme-dr/pg
    back_up
    restores
    DR_FROM=s3://acme-dr/pg restores
    cmp "$(object .age)" "$(object .age s3)"
}

@test "f25 a server that is gone is 69, names the store, and publishes nothing" {
    start_s3
    kill "$S3_PID"
    wait "$S3_PID" || true
    unset S3_PID
    export DR_TO=$PWD/store,s3://acme-dr/pg
    dr-dump shop | dr-encrypt >bytes
    run -69 --separate-stderr dr-push <bytes
    [[ $stderr == *s3://acme-dr/pg* ]]
    run -66 dr-seal <"$DR_RECEIPT"
    [ "$(backups)" = 0 ]
}

@test "sha256sum and minisign accept what lies in the store" {
    back_up
    manifest=$(object .json store/main)
    minisign -Vm "$manifest" -p "$KEYS/signs.pub"
    cd "$(dirname "$manifest")"
    jq -r '"\(.sha256)  \(.object)"' "$(basename "$manifest")" | sha256sum -c
}

# Follows the RECOVERY.txt of a folder like main/, for its one backup, on a server that has only just been made, where there are no
# programs of ours; holds what comes out against `shop`, or another database.
recover() {
    local object at=$SCRATCH/fresh from=${2:-shop}
    object=$(object .age "$1")
    sed -n '/^--8<-- restore-dump.sh$/,/^-->8--$/p' "$1/RECOVERY.txt" | sed '1d;$d' >restore-dump.sh
    [ -e "$at" ] || "$PROJECT/scripts/scratch-postgres" start "$at"
    env -i PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin PGHOST="$at" PGUSER=postgres \
        OBJECT="$object" KEY="$KEYS/identity" PUBLIC_KEY="$KEYS/forges.pub,$KEYS/signs.pub" NEWDB=back WORK="$PWD/work" sh restore-dump.sh
    dr-fingerprint "$from" >before.jsonl
    PGHOST=$at run dr-fingerprint back --against before.jsonl
    pg_dump --schema-only "$from" | grep -av '^.\(un\)\?restrict' >before.sql
    PGHOST=$at pg_dump --schema-only back | grep -av '^.\(un\)\?restrict' >after.sql
    [ "$status" = 0 ]
    diff before.sql after.sql
}

@test "RECOVERY.txt brings the database back from a directory with age, zstd, tar and psql alone" {
    back_up
    recover store/main
}

@test "RECOVERY.txt brings tables back whose rows are in binary" {
    DR_BINARY=true back_up
    recover store/main
    [ -n "$(find work/data -name '*.bin')" ]
    [ -n "$(find work/data -name '*.copy')" ]
}

@test "f62 RECOVERY.txt brings a database back that is not in UTF-8, with names that are not in ASCII" {
    createdb -T template0 -E LATIN1 --locale=C latin
    PGCLIENTENCODING=UTF8 psql -qX -v ON_ERROR_STOP=1 latin <<'END'
CREATE SCHEMA "schéma";
CREATE TABLE "schéma"."té" ("é" text, n int);
INSERT INTO "schéma"."té" SELECT 'à la carte', n FROM generate_series(1, 100) n;
CREATE TABLE "two
	lines ""\" AS SELECT 'é' AS x;
CREATE SEQUENCE "sé" START 7;
COMMENT ON TABLE "schéma"."té" IS 'né';
SELECT lo_from_bytea(4711, 'x') \g /dev/null
COMMENT ON LARGE OBJECT 4711 IS 'né';
END
    for binary in false true; do
        rm -rf store/main "$DR_RECEIPT" work
        DR_BINARY=$binary bash -c "$(pipe | sed 's/dr-dump shop/dr-dump latin/')" >/dev/null
        recover store/main latin
        PGHOST=$SCRATCH/fresh psql -AtXc "SELECT obj_description(4711, 'pg_largeobject') = U&'n\00e9'" back | grep -x t
        PGHOST=$SCRATCH/fresh dropdb back
    done
}

@test "RECOVERY.txt brings the database back from a bucket, with any S3 client" {
    start_s3
    DR_TO=s3://acme-dr/pg back_up
    "$HOME/.cache/dr/venv/bin/python" - <<'END'
import boto3, os
bucket = boto3.resource("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).Bucket("acme-dr")
for found in bucket.objects.filter(Prefix="pg/main/"):
    os.makedirs(os.path.dirname("fetched/" + found.key), exist_ok=True)
    bucket.download_file(found.key, "fetched/" + found.key)
END
    recover fetched/pg/main
}

@test "RECOVERY.txt stops at a signature that is wrong" {
    back_up
    minisign -S -W -s "$KEYS/forges.key" -m "$(object .json store/main)" -x "$(object .minisig)"
    run recover store/main
    [ "$status" != 0 ]
    [ ! -e work ]
}

# What all pipelines share: a PostgreSQL 15 with the sample in the database `shop`, keys, and the programs on the path.

setup_suite() {
    PROJECT=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
    SCRATCH=$(mktemp -d /tmp/dr-bats.XXXXXX)
    chmod 711 "$SCRATCH"
    export PROJECT SCRATCH PGHOST=$SCRATCH/pg PGUSER=postgres KEYS=$SCRATCH/keys
    local target=${CARGO_TARGET_DIR:-$HOME/.cache/dr/target}
    export PATH=$target/debug:/usr/lib/postgresql/15/bin:$PATH:$HOME/.cache/dr/tools/bin
    "$PROJECT/scripts/scratch-postgres" start "$PGHOST"
    createdb shop
    cat "$PROJECT"/tests/sample/hotel/*.sql | psql -X -q -v ON_ERROR_STOP=1 -v rows=3000 shop

    mkdir "$KEYS"
    age-keygen -o "$KEYS/identity" 2>/dev/null
    age-keygen -o "$KEYS/safe" 2>/dev/null
    age-keygen -o "$KEYS/stranger" 2>/dev/null
    age-keygen -y "$KEYS/identity" >"$KEYS/recipients"
    age-keygen -y "$KEYS/safe" >>"$KEYS/recipients"
    minisign -GW -p "$KEYS/signs.pub" -s "$KEYS/signs.key" >/dev/null
    minisign -GW -p "$KEYS/forges.pub" -s "$KEYS/forges.key" >/dev/null
}

teardown_suite() {
    "$PROJECT/scripts/scratch-postgres" stop "$PGHOST"
    rm -rf "$SCRATCH"
}

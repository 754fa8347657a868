#!/usr/bin/env bats
# The policies of deploy/s3: what each role may do is done, and nothing else. Enforced by moto, which knows actions and resources;
# it knows no conditions, so statements that deny on a condition are left out here, and conditions of those that allow.

load pipelines

setup_file() {
    export POLICIES=$PROJECT/deploy/s3 PYTHON=$HOME/.cache/dr/venv/bin/python SERVED=$BATS_FILE_TMPDIR
    "$PYTHON" -m moto.server -p 0 >"$SERVED/log" 2>&1 3>&- &
    echo $! >"$SERVED/pid"
    until grep -q 'Running on http://127' "$SERVED/log"; do kill -0 "$(<"$SERVED/pid")"; done
    AWS_ENDPOINT_URL=$(grep -o 'http://127[^ ]*' "$SERVED/log" | head -n 1) && export AWS_ENDPOINT_URL
    export AWS_REGION=us-east-1 DR_INSECURE_HTTP=true DR_PATH_STYLE=always
    # A user for each role, and a bucket; from then on, policies are enforced.
    AWS_ACCESS_KEY_ID=root AWS_SECRET_ACCESS_KEY=root "$PYTHON" - <<'END'
import boto3, json, os, pathlib, urllib.request
s3, iam = boto3.client("s3"), boto3.client("iam", region_name="us-east-1")
s3.create_bucket(Bucket="acme-dr", ObjectLockEnabledForBucket=True)
for role in ("writer", "auditor", "restorer", "pruner", "root"):
    statements = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    if role != "root":
        statements = json.loads(pathlib.Path(os.environ["POLICIES"], role + ".json").read_text())["Statement"]
    statements = [s for s in statements if s["Effect"] == "Allow" or "Condition" not in s]
    for statement in statements:
        statement.pop("Condition", None)
    iam.create_user(UserName=role)
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName=role, PolicyName=role, PolicyDocument=document)
    key = iam.create_access_key(UserName=role)["AccessKey"]
    text = "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n" % (key["AccessKeyId"], key["SecretAccessKey"])
    pathlib.Path(os.environ["SERVED"], role).write_text(text)
url = os.environ["AWS_ENDPOINT_URL"] + "/moto-api/reset-auth"
urllib.request.urlopen(urllib.request.Request(url, b"0", {"Content-Type": "text/plain"}, method="POST"))
END
}

teardown_file() {
    kill "$(<"$SERVED/pid")"
}

# Runs a command with the credential of a role:  as ROLE COMMAND…
as() {
    AWS_SHARED_CREDENTIALS_FILE=$SERVED/$1 "${@:2}"
}

# Backups, of another second each.
make() {
    local number
    for ((number = 0; number < $1; number++)); do
        rm -f "$DR_RECEIPT"
        dr-run --database shop -- echo "dump $number" | as writer dr-push || return
        as writer dr-seal <"$DR_RECEIPT" >/dev/null || return
    done
}

push_as() {
    dr-run -- echo x | as "$1" dr-push "${@:2}"
}

setup_roles() {
    unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    export DR_TO=s3://acme-dr/pg DR_FROM=s3://acme-dr/pg DR_PATIENCE=5
    minisign -GW -p delete.pub -s delete.key >/dev/null
    export DR_PUBLIC_KEY=$KEYS/signs.pub,$PWD/delete.pub
}

@test "a writer writes, and neither lists, reads nor deletes" {
    setup_roles
    make 1
    run -77 as writer dr-list
    name=$(as auditor dr-list --latest --json | jq -r .name)
    run -77 as writer dr-pull "$name"
    run -77 as writer dr-verify --json
    run ! as writer "$PYTHON" -c "import boto3; boto3.client('s3').delete_object(Bucket='acme-dr', Key='pg/main/dump/$name.json')"
    # Another cluster's place is not its own.
    rm -f "$DR_RECEIPT"
    run -77 push_as writer --cluster other
}

@test "an auditor lists and verifies, a restorer reads, and neither writes" {
    setup_roles
    make 1
    as auditor dr-verify --json >verified
    [ "$(jq -r 'select(.type == "verified") | .good' verified | sort -u)" = true ]
    as restorer dr-pull latest | cmp - <(echo "dump 0")
    for role in auditor restorer; do
        rm -f "$DR_RECEIPT"
        run -77 push_as "$role"
    done
}

@test "a pruner marks what may go, and can undo no lock" {
    setup_roles
    make 6
    as pruner dr-verify --json >facts
    as pruner dr-list --json >>facts
    dr-prune --keep-last $(($(as pruner dr-list --json | wc -l) - 1)) <facts >decisions
    as pruner dr-delete --signing-key delete.key <decisions >deleted
    [ "$(jq -r .state deleted | sort -u)" = marked ]
    run -77 as auditor dr-delete --signing-key delete.key --undelete "$(jq -r .name deleted)"
    run ! as pruner "$PYTHON" - <<'END'
import boto3, botocore, sys
s3 = boto3.client("s3")
version = s3.list_object_versions(Bucket="acme-dr")["Versions"][0]
try:
    s3.delete_object(Bucket="acme-dr", Key=version["Key"], VersionId=version["VersionId"])
except botocore.exceptions.ClientError as error:
    sys.exit(error.response["Error"]["Code"])
END
    [[ $output == *AccessDenied* ]]
}

@test "every policy is one, and all of them demand the same" {
    for policy in "$POLICIES"/*.json; do jq -e . "$policy" >/dev/null; done
    # Who may put an object may put none over another.
    for policy in writer pruner bucket-policy; do
        jq -e '.Statement[] | select(.Sid == "OnlyWhatIsNotThereYet") | .Effect == "Deny" and .Action == "s3:PutObject"
            and .Condition == {Null: {"s3:if-none-match": "true"}, Bool: {"s3:ObjectCreationOperation": "true"}}' "$POLICIES/$policy.json"
    done
    # Nobody is allowed what only an administrator needs.
    run ! grep -l '"s3:\*"' "$POLICIES"/{writer,auditor,restorer,pruner}.json
    [ "$(jq -r '.Statement[] | select(.Effect == "Allow") | .Action | if type == "array" then .[] else . end' "$POLICIES"/*r.json |
        grep -c 'DeleteObjectVersion\|Bypass\|PutBucket\|Retention$' | tr -d '\n')" = 3 ]
    [ "$(jq '[.Rules[].AbortIncompleteMultipartUpload.DaysAfterInitiation // empty] == [7]' "$POLICIES/lifecycle.json")" = true ]
}

#!/usr/bin/env bats
# What deploy/kubernetes has is what Kubernetes takes, by its own schemas; starts programs that are there; and gives no pod more than
# it needs.

load pipelines

# Asks all documents of deploy/kubernetes something:  documents PYTHON   (which knows `every` document, and `jobs` and `pods` by name)
documents() {
    "$HOME/.cache/dr/venv/bin/python" - "$PROJECT/deploy/kubernetes" <<END
import pathlib, sys, yaml, kubernetes_validate
files = sorted(path for path in pathlib.Path(sys.argv[1]).glob("*.yaml") if path.name != "kustomization.yaml")
every = [document for file in files for document in yaml.safe_load_all(file.read_text())]
jobs = {one["metadata"]["name"]: one["spec"] for one in every if one["kind"] == "CronJob"}
pods = {name: job["jobTemplate"]["spec"]["template"]["spec"] for name, job in jobs.items()}
$1
END
}

@test "every document is one that Kubernetes knows, with no field that it does not" {
    documents '
for document in every:
    kubernetes_validate.validate(document, "1.29", strict=True)
    kubernetes_validate.validate(document, "1.33", strict=True)
assert len(jobs) == 7, jobs.keys()'
    # The schemas can say no.
    run ! documents 'every[0]["metadata"]["nam"] = "x"; kubernetes_validate.validate(every[0], "1.29", strict=True)'
}

@test "kustomize is told of every document but the examples" {
    [ "$(sed -n 's/^  - \(.*\.yaml\)$/\1/p' "$PROJECT/deploy/kubernetes/kustomization.yaml" | sort)" \
        = "$(cd "$PROJECT/deploy/kubernetes" && printf '%s\n' [!k]*.yaml | grep -v example | sort)" ]
}

@test "f95 no job runs twice at once, none forever, none in an hour that comes twice" {
    documents '
for name, job in jobs.items():
    assert job["concurrencyPolicy"] == "Forbid" and job["timeZone"] == "Etc/UTC" and job["startingDeadlineSeconds"] >= 3600, name
    assert job["failedJobsHistoryLimit"] >= 3 and job["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= 86400, name
    assert job.get("suspend", False) == (name == "dr-main-restore"), name
    rules = job["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "Count", "FailJob"] and rules[1]["onExitCodes"]["values"] == [69, 75], name
    assert pods[name]["restartPolicy"] == "Never", name'
}

@test "no pod has a right that it does not need, nor a secret of another role" {
    documents '
given = {"backup": "writer", "backup-base": "writer", "copy-offsite": "copier", "verify": "auditor", "prune": "pruner",
         "drill": "restorer", "restore": "restorer"}
for name, pod in pods.items():
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
    assert pod["automountServiceAccountToken"] is False, name
    for container in pod["containers"] + pod["initContainers"]:
        held = container["securityContext"]
        assert held["readOnlyRootFilesystem"] and not held["allowPrivilegeEscalation"] and held["capabilities"]["drop"] == ["ALL"], name
        assert container["resources"]["limits"]["memory"] and container["resources"]["requests"], name
    secrets = [source["secret"]["name"] for volume in pod["volumes"] for source in volume.get("projected", {}).get("sources", []) if "secret" in source]
    assert secrets == ["dr-main-" + given[name.removeprefix("dr-main-")]], (name, secrets)
known = {one["metadata"]["name"] for one in every if one["kind"] in ("Secret", "ConfigMap", "PersistentVolumeClaim")}
assert known == {"dr-main", "dr-main-restore", "dr-main-state"} | {"dr-main-" + role for role in given.values()}, known
keys = {one["metadata"]["name"]: set(one["stringData"]) for one in every if one["kind"] == "Secret"}
assert all("main.identity" not in held for name, held in keys.items() if name != "dr-main-restorer")'
}

@test "every pod starts what is there" {
    documents '
for pod in pods.values():
    for word in pod["containers"][0]["command"]:
        if word.startswith(("/usr/local/lib/dr/", "dr-")):
            print(word.rsplit("/", 1)[-1])' | sort -u >started
    [ "$(wc -l <started)" -ge 8 ]
    while read -r program; do [ -x "$PROJECT/scripts/$program" ] || [ -e "$PROJECT/tools/$program/src/main.rs" ]; done <started
}

@test "what a pod is given it can use, and only it can" {
    # As Kubernetes shows it: links to files that a group may read.
    mkdir given etc && echo secret >given/..data && chmod 440 given/..data && ln -s ..data given/main.key
    keys=$(documents 'print(pods["dr-main-backup"]["initContainers"][0]["command"][2])')
    sh -c "$(sed "s|/etc/dr|$PWD/etc|; s|/given|$PWD/given|" <<<"$keys")"
    [ "$(stat -c %a etc/main.key)" = 600 ]
    [ "$(<etc/main.key)" = secret ]
}

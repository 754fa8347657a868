#!/usr/bin/env bats
# The Debian package: what is in it, that lintian has nothing to say, and that two of the same sources are the same. Nothing is
# built: cargo is a stand-in, and each program is a small one that becomes the one on the path.

load pipelines

setup_file() {
    cd "$BATS_FILE_TMPDIR" && mkdir bin home debug first second
    printf '#!/bin/sh\n' >bin/cargo && chmod +x bin/cargo
    gcc -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -Wl,-z,relro,-z,now -x c -o stand-in - <<'END'
#include <string.h>
#include <unistd.h>
int main(int n, char **words) { char *name = strrchr(words[0], '/'); return n ? execvp(name ? name + 1 : words[0], words) : 1; }
END
    local tool
    for tool in "$PROJECT"/tools/*/src/main.rs; do cp stand-in "debug/$(basename "${tool%/src/main.rs}")"; done
    package first
    DEB=$PWD/$(ls first/*.deb) && export DEB
}

package() {
    HOME=$PWD/home PATH=$PWD/bin:$PATH CARGO_TARGET_DIR=$PWD PROFILE=dev SOURCE_DATE_EPOCH=1767225600 "$PROJECT/scripts/package" "$1"
}

@test "the package has all that an installation has, enables nothing, and puts nothing into /etc" {
    [[ $DEB == */dr_*_$(dpkg --print-architecture).deb ]]
    dpkg-deb -x "$DEB" root
    [ "$(ls root)" = usr ]
    [ -x root/usr/bin/dr-dump ]
    [ -x root/usr/lib/dr/backup ]
    [ -e root/usr/lib/systemd/system/dr-backup@.timer ]
    [ -e root/usr/share/dr/cron/dr ]
    [ -e root/usr/share/dr/s3/writer.json ]
    grep -q '^ExecStart=/usr/bin/dr-heartbeat .* /usr/lib/dr/backup ' root/usr/lib/systemd/system/dr-backup@.service
    grep -q ' /usr/lib/dr/backup main' root/usr/share/dr/cron/dr
    [ "$(find root/usr/share/man -name '*.gz' | wc -l)" = "$(find "$PROJECT/man" -type f | wc -l)" ]
    [ "$(dpkg-deb -f "$DEB" Version)" = "$(sed -n 's/^version = "\(.*\)"/\1/p' "$PROJECT/Cargo.toml" | head -n 1)" ]
    [[ $(dpkg-deb -f "$DEB" Depends) == *libc6* ]]
    (cd root && dpkg-deb -I "$DEB" md5sums | md5sum --quiet -c)
}

@test "lintian has nothing to say" {
    run -0 lintian --allow-root --fail-on error,warning "$DEB"
    run ! grep -v '^$\|root privileges' <<<"$output"
}

@test "the same sources make the same package" {
    cd "$BATS_FILE_TMPDIR"
    package second
    cmp first/*.deb second/*.deb
}

@test "systemd knows the units once it is installed, runs none, and forgets them" {
    [ "$(id -u)" = 0 ] || skip "a systemd of its own takes root"
    mkdir box && cp "$DEB" box/dr.deb
    cat >box/commands <<END
set -e
dpkg --force-depends -i $PWD/box/dr.deb >/dev/null
systemctl cat dr-backup@main.timer | grep ^OnCalendar
systemctl is-enabled dr-backup@main.timer || true
systemctl list-units --no-legend 'dr-*' | wc -l
systemctl enable --now dr-backup@main.timer 2>/dev/null
systemctl show -P NextElapseUSecRealtime dr-backup@main.timer | grep -c UTC
systemctl disable --now dr-backup@main.timer 2>/dev/null
dpkg -r dr >/dev/null
systemctl cat dr-backup@main.timer 2>&1 | tail -n 1
END
    run -0 "$BATS_TEST_DIRNAME/booted" "$PWD/box/commands" "$PWD/box" 3>&-
    echo "$output"
    [ "$output" = $'OnCalendar=*-*-* 02:00:00 UTC\ndisabled\n0\n1\nNo files found for dr-backup@main.timer.' ]
}

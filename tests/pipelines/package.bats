#!/usr/bin/env bats
# The Debian package: what is in it, that lintian has nothing to say, and that two of the same sources are the same. Nothing is
# built: cargo is a stand-in, and each program is a small one that becomes the one on the path.

load pipelines

setup_file() {
    cd "$BATS_FILE_TMPDIR" && mkdir bin home release first second
    # What cargo-deb asks of it, it answers.
    printf '#!/bin/sh\n[ "$1" != metadata ] || HOME=%q exec %q "$@"\n' "$HOME" "$(type -P cargo)" >bin/cargo && chmod +x bin/cargo
    gcc -O2 -D_FORTIFY_SOURCE=2 -fstack-protector-strong -Wl,-z,relro,-z,now -x c -o stand-in - <<'END'
#include <string.h>
#include <unistd.h>
int main(int n, char **words) { char *name = strrchr(words[0], '/'); return n ? execvp(name ? name + 1 : words[0], words) : 1; }
END
    local tool
    for tool in "$PROJECT"/tools/*/src/main.rs; do cp stand-in "release/$(basename "${tool%/src/main.rs}")"; done
    ln -s release debug
    package first 2>sizes
    DEB=$PWD/$(ls first/*.deb) && export DEB
}

# Runs a script of the project where nothing is built:  with_stand_ins SCRIPT [WORD…]
with_stand_ins() {
    HOME=$PWD/home PATH=$PWD/bin:$PATH CARGO_TARGET_DIR=$PWD SOURCE_DATE_EPOCH=1767225600 "$PROJECT/scripts/$1" "${@:2}"
}

package() {
    with_stand_ins package "$1"
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
    [ "$(dpkg-deb --ctrl-tarfile "$DEB" | tar -t | sort)" = $'./control\n./postinst\n./postrm' ]
}

@test "what scripts/install installs is in the package, where it is and as it is, and nothing else but what Debian wants" {
    dpkg-deb -x "$DEB" packaged && rm -r packaged/usr/share/doc/dr && rmdir packaged/usr/share/doc
    gunzip -r packaged/usr/share/man
    cd "$BATS_FILE_TMPDIR"
    (umask 022 && DESTDIR=$BATS_TEST_TMPDIR/installed with_stand_ins install /usr)
    cd "$BATS_TEST_TMPDIR" && strip installed/usr/bin/*
    diff <(cd installed && find usr -printf '%P %M\n' | sort) <(cd packaged && find usr -printf '%P %M\n' | sort)
    diff -r --exclude=bin installed packaged
    [ "$(find packaged/usr/bin -type f | wc -l)" = "$(find installed/usr/bin -type f | wc -l)" ]
}

@test "the sizes of the programs are told: all of them, and the largest" {
    grep -Ex '[0-9]+ programs, [0-9.]+ MB: dr-[a-z-]+ [0-9.]+ MB, dr-[a-z-]+ [0-9.]+ MB, dr-[a-z-]+ [0-9.]+ MB' "$BATS_FILE_TMPDIR/sizes"
    grep -q "^$(find "$PROJECT"/tools/*/src/main.rs | wc -l) programs" "$BATS_FILE_TMPDIR/sizes"
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

@test "a package that became torn is not put in the place of one that is whole" {
    mkdir bin && printf '#!/bin/sh\nxz "$@" | head -c 9000\nexit 1\n' | sed "s:xz:$(type -P xz):" >bin/xz && chmod +x bin/xz
    mkdir third && echo whole >"third/${DEB##*/}"
    third=$PWD/third PATH=$PWD/bin:$PATH && cd "$BATS_FILE_TMPDIR"
    run ! package "$third"
    echo "$output"
    [ "$(ls -A "$third")" = "${DEB##*/}" ]
    [ "$(cat "$third"/*)" = whole ]
}

@test "PROFILE=dev packs sooner, and the same" {
    to=$PWD && cd "$BATS_FILE_TMPDIR"
    PROFILE=dev package "$to"
    cd "$to"
    [[ $(ar t "${DEB##*/}") == *data.tar.gz ]]
    [[ $(ar t "$DEB") == *data.tar.xz ]]
    diff <(dpkg-deb -c "${DEB##*/}") <(dpkg-deb -c "$DEB")
}

@test "systemd knows the units once it is installed, runs none but those enabled, also after an upgrade, and forgets them" {
    [ "$(id -u)" = 0 ] || skip "a systemd of its own takes root"
    mkdir box && cp "$DEB" box/dr.deb
    cat >box/commands <<END
set -e
dpkg --force-depends -i $PWD/box/dr.deb >/dev/null
dpkg --verify dr
echo "\$(wc -l </var/lib/dpkg/info/dr.md5sums) of \$(dpkg-deb -c $PWD/box/dr.deb | grep -c ^-)"
systemctl cat dr-backup@main.timer | grep ^OnCalendar
systemctl is-enabled dr-backup@main.timer || true
systemctl list-units --no-legend 'dr-*' | wc -l
systemctl enable --now dr-backup@main.timer 2>/dev/null
systemctl show -P NextElapseUSecRealtime dr-backup@main.timer | grep -c UTC
dpkg --force-depends -i $PWD/box/dr.deb >/dev/null
systemctl is-active dr-backup@main.timer
systemctl disable --now dr-backup@main.timer 2>/dev/null
dpkg -P dr >/dev/null
systemctl cat dr-backup@main.timer 2>&1 | tail -n 1
ls -d /usr/bin/dr-dump /usr/lib/dr /usr/share/dr /usr/share/doc/dr 2>/dev/null | wc -l
END
    run -0 "$BATS_TEST_DIRNAME/booted" "$PWD/box/commands" "$PWD/box" 3>&-
    echo "$output"
    # Whoever made the package, dpkg knows the digest of each file.
    files=$(dpkg-deb -c "$DEB" | grep -c ^-)
    [ "$output" = "$files of $files"$'\nOnCalendar=*-*-* 02:00:00 UTC\ndisabled\n0\n1\nactive\nNo files found for dr-backup@main.timer.\n0' ]
}

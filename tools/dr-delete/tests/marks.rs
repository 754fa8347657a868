//! A backup is marked, can be rescued, and goes when its time has come; and marks of others count for nothing.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use support::{World, decision, delete_first, deleted, dump, states, stderr_of};

#[test]
fn a_backup_is_marked_hidden_found_by_its_name_and_rescued() {
    let (world, dumps) = World::daily(12);
    let names: Vec<_> = dumps.iter().map(|made| made.manifest.name.clone()).collect();
    assert_eq!(world.listed(), names);
    let output = world.decide("", &delete_first(2, &dumps));
    assert_eq!(stderr_of(&output, 0), "");
    let told = deleted(&output);
    assert_eq!(states(&output), ["marked", "marked"]);
    assert_eq!((told[0].name.as_deref(), told[0].objects), (Some(&*names[0]), 0));
    assert_eq!((told[0].not_before_at.unwrap() - support::now()).num_hours(), 71);
    assert_eq!(world.listed(), names[2..]);

    // Whoever names it gets it, and is told; nobody else does.
    for named in [names[0].as_str(), &names[0][..24]] {
        let pulled = world.tool("dr-pull").arg(named).output().unwrap();
        let said = stderr_of(&pulled, 0);
        assert!(said.contains(&format!("warning: {} is marked for deletion on ", names[0])), "{said}");
        assert_eq!(pulled.stdout, dumps[0].bytes);
    }
    let at = dumps[1].manifest.taken_at.to_rfc3339();
    stderr_of(&world.tool("dr-list").args(["--at", &at]).output().unwrap(), 66);

    // The same decisions again do no harm; finishing is too early; minisign agrees with the signature.
    let again = world.decide("", &delete_first(2, &dumps));
    assert_eq!((stderr_of(&again, 0), states(&again)), (String::new(), vec!["waiting".to_owned(); 2]));
    let early = world.delete("--finish").output().unwrap();
    assert_eq!((stderr_of(&early, 0), states(&early)), (String::new(), vec!["waiting".to_owned(); 2]));
    let tombstone = world.path("store/main/dump").join(format!("{}.tombstone", names[0]));
    let mut minisign = std::process::Command::new("minisign");
    let checked = minisign.args(["-VQ", "-p"]).arg(world.path("delete.pub")).arg("-m").arg(&tombstone).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&checked.stdout), format!("dr tombstone main/dump/{}\n", names[0]));

    let rescued = world.delete(&format!("--undelete {}", names[0])).output().unwrap();
    assert!(stderr_of(&rescued, 0).contains("marks it again unless it is pinned: --pin NAME"));
    assert!(String::from_utf8_lossy(&rescued.stdout).starts_with("{\"type\":\"backup\""));
    assert!(!tombstone.exists());
    assert_eq!(world.listed().len(), 11);
    let nothing = world.delete(&format!("--undelete {}", names[0])).output().unwrap();
    assert!(stderr_of(&nothing, 66).contains("is marked for deletion"));
}

#[test]
fn what_is_due_goes_and_nothing_else() {
    let (world, dumps) = World::daily(12);
    stderr_of(&world.decide("", &delete_first(2, &dumps)), 0);
    // Files that nobody knows stay, whatever they are called.
    let unknown = ["main/dump/notes.txt", "main/notes.tombstone", &format!("main/dump/{}.old", dumps[0].manifest.object)];
    unknown.iter().for_each(|key| world.write("store", key, b"mine"));
    world.put("store", &dump(-72));
    let before = world.files("store");
    let output = world.delete_at("+73h", "--finish").output().unwrap();
    assert_eq!(stderr_of(&output, 0), "");
    let told = deleted(&output);
    assert_eq!(states(&output), ["removed", "removed"]);
    assert_eq!(told[0].objects, 3);
    let gone =
        |key: &str| dumps[..2].iter().any(|made| key.contains(&format!("{}.", made.manifest.name)) && !key.ends_with(".old"));
    let after = world.files("store");
    assert!(before.keys().filter(|key| !gone(key)).eq(after.keys()), "{:?}", after.keys());
    assert_eq!(before.len() - after.len(), 10);
    let bytes: usize = before.iter().filter(|(key, _)| gone(key) && !key.contains("tombstone")).map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(told.iter().map(|deleted| deleted.bytes).sum::<u64>(), bytes as u64);
    // Once more: nothing is left to do.
    let again = world.delete_at("+73h", "--finish").output().unwrap();
    assert_eq!((stderr_of(&again, 0), again.stdout), (String::new(), Vec::new()));
}

#[test]
fn a_tombstone_that_is_put_back_waits_anew() {
    let (world, dumps) = World::daily(6);
    stderr_of(&world.decide("", &delete_first(1, &dumps)), 0);
    let name = &dumps[0].manifest.name;
    let keys = ["tombstone", "tombstone.minisig"].map(|suffix| format!("main/dump/{name}.{suffix}"));
    let old = keys.each_ref().map(|key| fs::read(world.path("store").join(key)).unwrap());
    stderr_of(&world.delete(&format!("--undelete {name}")).output().unwrap(), 0);
    for (key, bytes) in keys.iter().zip(&old) {
        world.write("store", key, bytes);
        let file = fs::File::options().write(true).open(world.path("store").join(key)).unwrap();
        file.set_modified((support::now() + chrono::TimeDelta::hours(79)).into()).unwrap();
    }
    let before = world.files("store");
    let early = world.delete_at("+80h", "--finish --max-age 30d").output().unwrap();
    assert!(stderr_of(&early, 0).contains(&format!("{name} was marked before its tombstone came to lie there: it waits until ")));
    assert_eq!(states(&early), ["waiting"]);
    assert!(world.files("store") == before);
    let late = world.delete_at("+152h", "--finish --max-age 30d").output().unwrap();
    assert_eq!((stderr_of(&late, 0), states(&late)), (String::new(), vec!["removed".to_owned()]));
}

#[test]
fn a_tombstone_that_is_put_back_with_its_old_time_waits_anew() {
    let world = World::new();
    let dumps: Vec<_> = (0..6).rev().map(|day| dump(100 + 24 * day)).collect();
    dumps.iter().for_each(|made| world.put("store", made));
    let hours_ago = |hours: u64| std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
    let set = |key: &str, hours| {
        let file = fs::File::options().write(true).open(world.path("store").join(key)).unwrap();
        file.set_modified(hours_ago(hours)).unwrap();
    };
    world.files("store").keys().for_each(|key| set(key.as_str(), 99));
    // Marked 80 hours ago, and rescued, but somebody has kept the tombstone, time and all.
    let then = (support::now() - chrono::TimeDelta::hours(80)).to_rfc3339();
    let told = delete_first(1, &dumps);
    let told: Vec<_> = told.lines().map(|line| format!("{}\"{then}\"}}\n", &line[..line.rfind("\"20").unwrap()])).collect();
    let marked = support::fed(world.delete_at("-80h", ""), &told.concat());
    assert_eq!((stderr_of(&marked, 0), states(&marked)), (String::new(), vec!["marked".to_owned()]));
    let name = &dumps[0].manifest.name;
    let keys = ["tombstone", "tombstone.minisig"].map(|suffix| format!("main/dump/{name}.{suffix}"));
    keys.iter().for_each(|key| set(key.as_str(), 80));
    let copy = |from: &str, to: &str| {
        let copied =
            std::process::Command::new("sh").args(["-c", &format!("cp -p {from} {to}")]).current_dir(world.path("")).status();
        assert!(copied.unwrap().success());
    };
    fs::create_dir(world.path("kept")).unwrap();
    copy(&format!("store/main/dump/{name}.tombstone*"), "kept/");
    stderr_of(&world.delete(&format!("--undelete {name}")).output().unwrap(), 0);
    copy("kept/*", "store/main/dump/");
    let before = world.files("store");
    let early = world.delete("--finish --max-age 30d").output().unwrap();
    let said = stderr_of(&early, 0);
    assert!(said.contains(&format!("{name} was marked before its tombstone came to lie there: it waits until ")), "{said}");
    assert_eq!(states(&early), ["waiting"]);
    assert!(world.files("store") == before);
    let late = world.delete_at("+73h", "--finish --max-age 30d").output().unwrap();
    assert_eq!((stderr_of(&late, 0), states(&late)), (String::new(), vec!["removed".to_owned()]));
}

#[test]
fn a_tombstone_whose_manifest_is_gone_waits_like_any_other() {
    let (world, dumps) = World::daily(6);
    stderr_of(&world.decide("", &delete_first(1, &dumps)), 0);
    let name = &dumps[0].manifest.name;
    ["json", "json.minisig"]
        .iter()
        .for_each(|suffix| fs::remove_file(world.path("store/main/dump").join(format!("{name}.{suffix}"))).unwrap());
    let before = world.files("store");
    assert_eq!(states(&world.delete("--finish").output().unwrap()), ["waiting"]);
    assert!(world.files("store") == before);
    let late = world.delete_at("+73h", "--finish --max-age 30d").output().unwrap();
    assert_eq!((states(&late), deleted(&late)[0].objects), (vec!["removed".to_owned()], 1));
}

#[test]
fn what_is_due_goes_before_anything_is_marked() {
    let (world, dumps) = World::daily(6);
    stderr_of(&world.decide("", &delete_first(1, &dumps)), 0);
    let later = (support::now() + chrono::TimeDelta::hours(73)).to_rfc3339();
    let told = delete_first(2, &dumps);
    let told: Vec<_> = told.lines().map(|line| format!("{}\"{later}\"}}\n", &line[..line.rfind("\"20").unwrap()])).collect();
    let output = support::fed(world.delete_at("+73h", "--max-age 30d"), &told.concat());
    assert_eq!((stderr_of(&output, 0), states(&output)), (String::new(), vec!["removed".to_owned(), "marked".to_owned()]));
}

#[test]
fn a_store_that_keeps_a_backup_for_longer_shows_it() {
    let (world, dumps) = World::daily(6);
    world.store("far");
    dumps.iter().for_each(|made| world.put("far", made));
    stderr_of(&world.decide("", &delete_first(1, &dumps)), 0);
    let both = |from: &str| {
        let output = world.tool("dr-list").args(["--from", from]).output().unwrap();
        stderr_of(&output, 0);
        output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count()
    };
    assert_eq!((both("store"), both("far"), both("store,far"), both("far,store")), (5, 6, 6, 6));
}

#[test]
fn nothing_at_once_without_its_number() {
    let (world, dumps) = World::daily(6);
    let decisions = delete_first(2, &dumps);
    world.refuses(world.delete("--grace 0"), &decisions, 64);
    assert!(world.refuses(world.delete("--grace 1h"), &decisions, 80).contains("if that is meant: --confirm 2;"));
    world.refuses(world.delete("--grace 0 --confirm 3"), &decisions, 80);
    let output = world.decide("--grace 0 --confirm 2", &decisions);
    assert_eq!(stderr_of(&output, 0), "");
    assert_eq!(states(&output), ["marked", "marked", "removed", "removed"]);
    assert!(world.files("store").keys().all(|key| !dumps[..2].iter().any(|made| key.contains(&made.manifest.name))));
    // The same call again finds its work done.
    assert_eq!(stderr_of(&world.decide("--grace 0 --confirm 2", &decisions), 0), "");
}

#[test]
fn the_host_that_backs_up_cannot_mark_what_it_has_made() {
    let (world, dumps) = World::daily(6);
    let decisions = delete_first(1, &dumps);
    let said = world.refuses(world.delete("-s main.key"), &decisions, 78);
    assert!(said.contains("--signing-key is the key that made"), "{said}");

    // It writes the tombstone all the same: what counts for a backup of another host is turned around here.
    stderr_of(&world.decide("", &decisions), 0);
    let name = &dumps[0].manifest.name;
    let tombstone = world.path("store/main/dump").join(format!("{name}.tombstone"));
    let forged = std::process::Command::new("minisign")
        .args(["-S", "-s", "main.key", "-t", &format!("dr tombstone main/dump/{name}"), "-m"])
        .arg(&tombstone)
        .current_dir(world.path(""))
        .output()
        .unwrap();
    assert!(forged.status.success(), "{}", String::from_utf8_lossy(&forged.stderr));
    assert!(world.listed_with_warning("it hides nothing").contains(name));
    // Nor is it carried out, when its time has come.
    let all = world.files("store");
    let output = world.delete_at("+80h", "--finish --max-age 30d").output().unwrap();
    assert!(stderr_of(&output, 0).contains("it hides nothing") && output.stdout.is_empty());
    assert!(world.files("store") == all);
    fs::remove_file(world.path("state/clock.json")).unwrap();
    // Until somebody has looked at it, it is not marked by us either.
    assert!(world.refuses(world.delete(""), &decisions, 81).contains("has a tombstone that does not count"));
    stderr_of(&world.delete(&format!("--undelete {name}")).output().unwrap(), 0);
    assert_eq!(states(&world.decide("", &decisions)), ["marked"]);
}

#[test]
fn a_tombstone_that_is_not_what_it_should_be_hides_nothing() {
    let (world, dumps) = World::daily(6);
    stderr_of(&world.decide("", &delete_first(1, &dumps)), 0);
    let name = &dumps[0].manifest.name;
    let folder = world.path("store/main/dump");
    let (tombstone, signature) = (folder.join(format!("{name}.tombstone")), folder.join(format!("{name}.tombstone.minisig")));
    let (text, signed) = (fs::read(&tombstone).unwrap(), fs::read(&signature).unwrap());
    assert_eq!(world.listed().len(), 5);

    fs::remove_file(&signature).unwrap();
    assert!(world.listed_with_warning("it has no signature; it hides nothing").contains(name));
    fs::write(&signature, &signed).unwrap();
    fs::write(&tombstone, [&text[..], b"\n"].concat()).unwrap();
    assert!(world.listed_with_warning("the tombstone was changed or forged; it hides nothing").contains(name));
    // Moved to another backup.
    fs::remove_file(&tombstone).unwrap();
    fs::remove_file(&signature).unwrap();
    let other = &dumps[1].manifest.name;
    fs::write(folder.join(format!("{other}.tombstone")), &text).unwrap();
    fs::write(folder.join(format!("{other}.tombstone.minisig")), &signed).unwrap();
    assert!(world.listed_with_warning("the signature is that of another tombstone; it hides nothing").contains(other));
    // Without any key it is believed, as everything is.
    fs::remove_file(folder.join(format!("{other}.tombstone"))).unwrap();
    fs::write(&tombstone, &text).unwrap();
    fs::write(&signature, &signed).unwrap();
    let unchecked = world.tool("dr-list").env_remove("DR_PUBLIC_KEY").output().unwrap();
    assert!(stderr_of(&unchecked, 0).is_empty() && !String::from_utf8_lossy(&unchecked.stdout).contains(name.as_str()));
    // With the host's key alone, nobody knows whose it is.
    let output = world.tool("dr-list").env("DR_PUBLIC_KEY", "main.pub").output().unwrap();
    assert!(stderr_of(&output, 0).contains("no key is trusted but that of the backup"));
    assert!(String::from_utf8_lossy(&output.stdout).contains(name.as_str()));
}

#[test]
fn a_catalogue_whose_newest_is_marked_is_not_rolled_back() {
    let (world, dumps) = World::daily(6);
    let newest = dumps.last().unwrap();
    assert_eq!(world.listed().len(), 6);
    // dr-delete itself never marks the newest.
    let decisions: String = dumps.iter().map(|made| decision("keep", made, true)).collect();
    let decisions = decisions.replace(&decision("keep", newest, true), &decision("delete", newest, false));
    assert!(world.refuses(world.delete(""), &decisions, 80).contains("is the newest dump backup of main"));
    // Another may have.
    stderr_of(&world.decide("", &delete_first(1, &dumps)), 0);
    let world_of_one = World::new();
    world_of_one.put("store", &dumps[0]);
    assert_eq!(world_of_one.listed().len(), 1);
    for suffix in ["tombstone", "tombstone.minisig"] {
        let key = format!("main/dump/{}.{suffix}", dumps[0].manifest.name);
        world_of_one.write("store", &key, &fs::read(world.path("store").join(&key)).unwrap());
    }
    assert_eq!(world_of_one.listed(), Vec::<String>::new());
    let latest = world_of_one.tool("dr-list").arg("--latest").output().unwrap();
    assert!(stderr_of(&latest, 66).contains("no backup is there, but 1 that are marked for deletion, and can be named"));
}

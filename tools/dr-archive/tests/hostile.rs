//! Archives with right digests whose maker lies: each lie is refused, with and without a root.
#![allow(clippy::unwrap_used)]

mod forge;

use dr_archive::{Contents, Error, verify};
use dr_pipe::{Exit, Failure};
use forge::{Forge, frame, header, member};
use serde_json::{Value, json};

/// A change, and the words that refuse it.
type Lie<'w, T> = (fn(&mut T), &'w str);

/// Why the archive is refused, which must be for what it says and not for a digest.
fn refusal(forge: Forge) -> String {
    let (archive, root) = forge.build();
    let [signed, unsigned] = [Some(&root), None].map(|root| {
        let error = verify(&mut &archive[..], archive.len() as u64, root).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. } | Error::UnknownFormat { .. }), "{error}");
        let failure = Failure::from(error);
        assert_eq!(failure.exit, Exit::Damaged);
        failure.message
    });
    assert_eq!(signed, unsigned);
    signed
}

fn with(change: impl FnOnce(&mut Forge)) -> Forge {
    let mut forge = Forge::honest();
    change(&mut forge);
    forge
}

#[test]
fn an_archive_made_from_the_manual_alone_is_accepted() {
    let (archive, root) = Forge::honest().build();
    for root in [Some(&root), None] {
        assert_eq!(verify(&mut &archive[..], archive.len() as u64, root).unwrap().members, 2);
    }
    let (archive, _) = with(|forge| {
        for line in &mut forge.lines {
            line["new_field"] = json!("of a later version");
        }
    })
    .build();
    verify(&mut &archive[..], archive.len() as u64, None).unwrap();
}

#[test]
fn f76_hostile_paths_in_a_table_of_contents_are_refused() {
    for path in ["/etc/passwd", "../../x", "a/../b", "", "toc.jsonl", "a", "a/below", "b", "b/c", "x\u{0}y", "x\ny"] {
        let refused = refusal(with(|forge| {
            forge.add_frame(&member(&path.replace('\0', ""), b""));
            forge.add_member(path, 2, 512, 0);
        }));
        assert!(refused.contains("is wrong in line 6: member"), "{path:?}: {refused}");
    }
}

#[test]
fn f76_members_that_overlap_or_leave_gaps_are_refused() {
    let lies: [fn(&mut Forge); 9] = [
        |forge| forge.lines[3]["frame"] = json!(0),
        |forge| forge.lines[3]["frame"] = json!(u64::MAX),
        |forge| forge.lines[3]["offset"] = json!(0),
        |forge| forge.lines[3]["offset"] = json!(511),
        |forge| forge.lines[3]["offset"] = json!(513),
        |forge| forge.lines[3]["offset"] = json!(u64::MAX),
        |forge| forge.lines[1]["bytes"] = json!(513),
        |forge| forge.lines[3]["bytes"] = json!(u64::MAX),
        |forge| drop(forge.lines.remove(1)),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        assert!(refusal(with(lie)).contains("does not lie where it must"), "{number}");
    }
    assert!(refusal(with(|forge| drop(forge.lines.pop()))).contains("do not fill the frames"));
    assert!(refusal(with(|forge| forge.lines[3]["bytes"] = json!(513))).contains("do not fill the frames"));
}

#[test]
fn f76_a_tar_that_differs_from_its_table_of_contents_is_refused() {
    let mut link = tar::Header::from_byte_slice(&header("c", 0)).clone();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_link_name("/etc/passwd").unwrap();
    link.set_cksum();
    let mut setuid = tar::Header::from_byte_slice(&header("c", 0)).clone();
    setuid.set_mode(0o4755);
    setuid.set_cksum();
    let other_name = header("d", 0);
    let other_size = header("c", 1);
    for lie in [&link.as_bytes()[..], setuid.as_bytes(), &other_name, &other_size, &[0; 512]] {
        let refused = refusal(with(|forge| {
            forge.add_frame(lie);
            forge.add_member("c", 2, 512, 0);
        }));
        assert!(refused.starts_with("frame 2 holds a tar that is not the one"), "{refused}");
    }
    let refused = refusal(with(|forge| {
        let mut padded = member("c", b"x");
        *padded.last_mut().unwrap() = 1;
        forge.add_frame(&padded);
        forge.add_member("c", 2, 512, 1);
    }));
    assert!(refused.starts_with("frame 2 holds a tar"), "hidden bytes behind a member: {refused}");
}

#[test]
fn frames_that_do_not_lie_one_behind_the_other_are_refused() {
    let lies: [Lie<Forge>; 7] = [
        (|forge| forge.lines[2]["offset"] = json!(0), "does not start where"),
        (|forge| forge.lines[2]["bytes"] = json!(12), "a size that no frame can have"),
        (|forge| forge.lines[2]["bytes"] = json!(5000), "ends behind the start"),
        (|forge| forge.lines[2]["raw_bytes"] = json!(0), "a size that no frame can have"),
        (|forge| forge.lines[2]["raw_bytes"] = json!((64 << 20) + 1), "a size that no frame can have"),
        (|forge| forge.lines[2]["raw_bytes"] = json!(1536), "do not fill the frames"),
        (|forge| forge.frames.push((frame(b"hidden"), 6)), "bytes between the last frame and the table"),
    ];
    for (lie, expected) in lies {
        let refused = refusal(with(lie));
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn lies_of_the_end_are_refused() {
    let lies: [Lie<Value>; 10] = [
        (|end| end["format"] = json!(2), "format 2"),
        (|end| end["type"] = json!("start"), "is wrong"),
        (|end| end["frames"] = json!(1), "counts its frames in two ways"),
        (|end| end["members"] = json!(1), "a member too many"),
        (|end| end["members"] = json!(3), "other numbers than the end says"),
        (|end| end["rows"] = json!(3), "other numbers than the end says"),
        (|end| end["toc"]["offset"] = json!(0), "does not lie before it"),
        (|end| end["toc"]["offset"] = json!(u64::MAX), "does not lie before it"),
        (|end| end["toc"]["raw_bytes"] = json!(1536), "another size than the end says"),
        (|end| end["toc"]["raw_bytes"] = json!(1u64 << 40), "too large to be read"),
    ];
    for (lie, expected) in lies {
        let refused = refusal(with(|forge| forge.edit_end = lie));
        assert!(refused.contains(expected), "{refused}");
    }
    for tail in [vec![], vec![0; 512], vec![0; 1536], vec![1; 1024], member("more", b"")] {
        assert!(refusal(with(|forge| forge.tail = tail)).contains("not as a dr archive has it"));
    }
}

#[test]
fn a_table_of_contents_with_other_bytes_around_it_is_refused() {
    let text = |forge: &Forge| forge.lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let honest = member("toc.jsonl", text(&Forge::honest()).as_bytes());
    let mut hidden = honest.clone();
    *hidden.last_mut().unwrap() = b'x';
    let unended = member("toc.jsonl", text(&Forge::honest()).trim_end().as_bytes());
    let renamed = member("toc.json", text(&Forge::honest()).as_bytes());
    let long_line = member("toc.jsonl", format!("{{\"type\":\"frame\",\"x\":\"{}\"}}\n", "x".repeat(9000)).as_bytes());
    let unknown = member("toc.jsonl", b"{\"type\":\"symlink\"}\n");
    for (toc, expected) in [
        (vec![hidden], "something behind its last line"),
        (vec![honest.clone(), vec![0; 512]], "another size than the end says"),
        (vec![unended], "too long, or cut short"),
        (vec![long_line], "too long, or cut short"),
        (vec![renamed], "another header"),
        (vec![unknown], "unknown variant"),
        (vec![], "does not lie before it"),
    ] {
        let refused = refusal(with(|forge| forge.toc = Some(toc)));
        assert!(refused.contains(expected), "{refused}");
    }
    let halves = vec![honest[..100].to_vec(), honest[100..].to_vec()];
    let (archive, _) = with(|forge| forge.toc = Some(halves)).build();
    Contents::open(&mut &archive[..], archive.len() as u64, None).expect("it may be in several frames");
}

#[test]
fn f75_claims_and_bombs_are_refused() {
    let entry =
        json!({"type": "frame", "offset": 0, "bytes": 13, "raw_bytes": 64 << 20, "sha256": "0".repeat(64)}).to_string() + "\n";
    let bomb = || vec![member("toc.jsonl", entry.repeat((40 << 20) / entry.len()).as_bytes())];
    let lies: [Lie<Value>; 4] = [
        (|end| end["frames"] = json!(u64::MAX), "counts more frames or members"),
        (|end| end["members"] = json!(u64::MAX), "counts more frames or members"),
        (|end| end["frames"] = json!(4 << 20), "counts more frames or members"),
        (|end| end["toc"]["bytes"] = json!(1u64 << 40), "does not lie before it"),
    ];
    for (lie, expected) in lies {
        let refused = refusal(with(|forge| {
            forge.toc = Some(bomb());
            forge.edit_end = lie;
        }));
        assert!(refused.contains(expected), "{refused}");
    }
    let refused = refusal(with(|forge| forge.toc = Some(bomb())));
    assert!(refused.contains("is wrong in line 2"), "{refused}");
    let end_bomb = refusal(with(|forge| forge.tail = vec![0; 60 << 20]));
    assert!(end_bomb.contains("larger than 64 KiB"), "{end_bomb}");
}

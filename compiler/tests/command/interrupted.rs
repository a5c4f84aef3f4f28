//! Whatever ends a training, the file that it was to replace stays whole until the new one is.
#![cfg(unix)]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bakelite_compiler::import::KerasFile;

use crate::run::Folder;

const TRAIN: [&str; 9] = ["train", "digits.keras", "-d", "digits.npz", "-o", "out.keras", "-q", "--history", "h.json"];

/// How many processes a test kills, this many unless the environment says otherwise.
fn kills(usual: u32) -> u32 {
    std::env::var("BAKELITE_KILLS").map_or(usual, |count| count.parse().unwrap())
}

/// The file parses, and has weights that its own description takes.
fn whole(folder: &Folder) {
    let file = KerasFile::open(folder.path("out.keras")).unwrap_or_else(|d| panic!("{d}"));
    assert!(file.model().build().is_ok());
    let output = folder.run(&["evaluate", "out.keras", "--data", "digits.npz"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_file() {
    let folder = Folder::new();
    let start = Instant::now();
    folder.ok(&TRAIN);
    let takes = start.elapsed();
    let old = fs::read(folder.path("out.keras")).unwrap();
    let (mut before, mut after) = (0, 0);
    let kills = kills(14);
    for i in 0..kills {
        fs::write(folder.path("out.keras"), &old).unwrap();
        let mut child = folder.command(&TRAIN).stderr(Stdio::null()).spawn().unwrap();
        // Any part of the time that it takes, and a little more than all of it.
        std::thread::sleep(takes * (i * 37 % 91) / 84 + Duration::from_millis(1));
        child.kill().unwrap();
        child.wait().unwrap();
        let new = fs::read(folder.path("out.keras")).unwrap();
        if new == old {
            before += 1
        } else {
            after += 1
        }
        KerasFile::open(folder.path("out.keras")).unwrap_or_else(|d| panic!("kill {i}: {d}"));
        if let Ok(text) = fs::read_to_string(folder.path("h.json")) {
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        }
    }
    assert!(before > 0, "every training ended before it was killed: {after}");
    eprintln!("{kills} kills: {before} left the old file, {after} the new one");
    // What those that were killed left beside the files, the next one removes.
    folder.ok(&TRAIN);
    assert!(folder.files().iter().all(|file| !file.ends_with(".tmp")), "{:?}", folder.files());
    whole(&folder);
}

/// Each file of a library is that of one of two models, and a header finds its functions in no library but its own.
#[test]
fn a_kill_of_compile_leaves_whole_files() {
    let folder = Folder::new();
    let arguments = |model: &'static str| ["compile", model, "--output", "library", "--name", "net", "--quiet"];
    let read = |name: &str| fs::read(folder.path("library").join(name)).unwrap();
    let files = ["libnet.a", "net.c", "net.h", "net-config.cmake", "net.rs", "net.bk", "net.safetensors"];
    let compiled = |model| {
        folder.ok(&arguments(model));
        files.map(read)
    };
    let new = compiled("pair.keras");
    let start = Instant::now();
    let old = compiled("digits.keras");
    let takes = start.elapsed();
    assert!(old[0] != new[0] && old[2] != new[2]);
    let names = || -> Vec<String> {
        let entries = fs::read_dir(folder.path("library")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let usual = names().len();
    let (mut before, mut mixed, mut after) = (0, 0, 0);
    for i in 0..kills(12) {
        for (name, bytes) in files.iter().zip(&old) {
            fs::write(folder.path("library").join(name), bytes).unwrap();
        }
        let mut child = folder.command(&arguments("pair.keras")).stderr(Stdio::null()).spawn().unwrap();
        let part = i * 37 % 91;
        if i % 3 == 0 {
            std::thread::sleep(takes * part / 84);
        } else {
            // While it writes: since the first of its files has been seen, as whole or as a temporary one.
            while child.try_wait().unwrap().is_none() && names().len() == usual && read("libnet.a") == old[0] {}
            std::thread::sleep(Duration::from_micros(u64::from(part * part) * 8));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let found = files.map(read);
        for (at, name) in files.iter().enumerate() {
            assert!(found[at] == old[at] || found[at] == new[at], "kill {i}: {name} is torn");
        }
        let text = String::from_utf8(found[2].clone()).unwrap();
        let opens = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').find(|w| w.starts_with("net_open_"));
        let is_in = |library: &[u8]| library.windows(opens.unwrap().len()).any(|w| w == opens.unwrap().as_bytes());
        let pair = (found[0] == new[0]) == (found[2] == new[2]);
        assert_eq!(is_in(&found[0]), pair, "kill {i}: {}", opens.unwrap());
        match (found == old, found == new) {
            (true, _) => before += 1,
            (_, true) => after += 1,
            _ => mixed += 1,
        }
    }
    eprintln!("{} kills: {before} left the old files, {after} the new ones, {mixed} some of both", kills(12));
    folder.ok(&arguments("pair.keras"));
    assert!(files.map(read) == new && names().len() == usual, "{:?}", names());
}

/// Temporary files of a writer that was killed in the midst of its work, as no other test can be sure to leave them.
#[test]
fn stale_files_are_removed() {
    let folder = Folder::new();
    let before = folder.files();
    for name in [".out.keras.4000000-0.tmp", ".out.keras.1-7.tmp", ".h.json.4000000-1.tmp"] {
        fs::write(folder.path(name), "half").unwrap();
    }
    folder.ok(&TRAIN);
    let mut after = before;
    after.extend(["h.json".to_string(), "out.keras".to_string()]);
    after.sort();
    assert_eq!(folder.files(), after);
}

/// What a killed `compile` leaves among the system's temporary files and in its own folder, the next one removes; what
/// belongs to one that runs stays.
#[test]
fn a_killed_compile_leaves_nothing_for_long() {
    let folder = Folder::new();
    let temporary = folder.path("temporary");
    fs::create_dir(&temporary).unwrap();
    let compile = || {
        let mut command = folder.command(&["compile", "digits.keras", "-o", "lib", "-q"]);
        command.env("TMPDIR", &temporary);
        command
    };
    let left = || {
        let names = fs::read_dir(&temporary).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let start = Instant::now();
    assert!(compile().output().unwrap().status.success());
    let takes = start.elapsed();
    assert_eq!(left(), [""; 0]);
    let files = || {
        let mut names: Vec<_> = fs::read_dir(folder.path("lib")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let whole = files();
    for (name, held) in [("bakelite-cc-4000000-0", false), ("bakelite-cc-1-3", true), ("other-cc-1-3", false)] {
        fs::create_dir(temporary.join(name)).unwrap();
        let lock = fs::File::create(temporary.join(name).join("lock")).unwrap();
        fs::write(temporary.join(name).join("source.o"), "half").unwrap();
        if held {
            lock.lock().unwrap();
            assert!(compile().output().unwrap().status.success());
            assert_eq!(left(), [name], "those that nobody holds are removed");
        }
    }
    assert!(compile().output().unwrap().status.success());
    assert_eq!(left(), ["other-cc-1-3"]);
    let kills = 4;
    let mut stale = 0;
    for i in 0..kills {
        let mut child = compile().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(takes * (i + 1) / (kills + 1));
        child.kill().unwrap();
        child.wait().unwrap();
        stale += left().len() - 1;
    }
    eprintln!("{kills} kills left {stale} folders");
    // Compilers that the killed ones had started may be at work in their folders yet.
    let until = Instant::now() + Duration::from_secs(20);
    while {
        assert!(compile().output().unwrap().status.success());
        left() != ["other-cc-1-3"] && Instant::now() < until
    } {}
    assert_eq!(left(), ["other-cc-1-3"]);
    assert_eq!(files(), whole);
}

/// A limit on the size of files stands for a full disk: the write fails after a part of the file.
#[test]
fn a_full_disk_leaves_the_old_file() {
    let folder = Folder::new();
    folder.ok(&TRAIN);
    let old = fs::read(folder.path("out.keras")).unwrap();
    let before = folder.files();
    for (ignore, killed) in [("trap '' XFSZ; ", false), ("", true)] {
        let line = format!("{ignore}ulimit -f 4; exec \"$0\" \"$@\"");
        let program = env!("CARGO_BIN_EXE_bakelite");
        let mut command = Command::new("sh");
        command.args(["-c", &line, program]).args(TRAIN).current_dir(folder.path(""));
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if killed {
            assert_eq!(output.status.code(), None, "{told}");
        } else {
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.contains("out.keras") && told.contains("error["), "{told}");
            assert_eq!(folder.files(), before);
        }
        assert_eq!(fs::read(folder.path("out.keras")).unwrap(), old);
    }
    whole(&folder);
}

//! A training ends because it is done or because it was told to, and not because nobody looks on.
#![cfg(unix)]

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bakelite_compiler::import::KerasFile;
use serde_json::Value;

use crate::run::Folder;

const TRAIN: [&str; 8] = ["train", "digits.keras", "-d", "digits.npz", "-o", "out.keras", "--history", "h.json"];

/// Runs a line of shell in the folder, where `"$0" "$@"` is the command.
fn shell(folder: &Folder, line: &str, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new("bash");
    command.args(["-c", line, env!("CARGO_BIN_EXE_bakelite")]).args(arguments);
    command.current_dir(folder.path("")).output().unwrap()
}

#[test]
fn nobody_has_to_look_on() {
    let folder = Folder::new();
    for line in [
        r#"exec "$0" "$@" >&- 2>&-"#,
        r#"exec "$0" "$@" <&- >&- 2>&-"#,
        r#"exec "$0" "$@" >/dev/full 2>/dev/full"#,
        r#"set -o pipefail; "$0" "$@" 2>&1 | true"#,
        r#"set -o pipefail; "$0" "$@" 2>&1 | head -1"#,
    ] {
        let arguments: Vec<&str> = TRAIN.iter().copied().chain(["--epochs", "20"]).collect();
        let output = shell(&folder, line, &arguments);
        assert!(output.status.success(), "{line}: {output:?}");
        KerasFile::open(folder.path("out.keras")).unwrap_or_else(|d| panic!("{line}: {d}"));
        let history: Value = serde_json::from_str(&fs::read_to_string(folder.path("h.json")).unwrap()).unwrap();
        assert_eq!(history["loss"].as_array().unwrap().len(), 20, "{line}");
        fs::remove_file(folder.path("out.keras")).unwrap();
        fs::remove_file(folder.path("h.json")).unwrap();
    }
}

/// Where standard output is the result, losing it is an error; errors themselves may go unread.
#[test]
fn a_lost_result_is_an_error() {
    let folder = Folder::new();
    let output = shell(&folder, r#"exec "$0" "$@" >/dev/full"#, &["summary", "digits.keras"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"), "{output:?}");
    for (arguments, code) in [(["summary", "nobody.keras"], 1), (["summary", "--nobody"], 2)] {
        for line in [r#"exec "$0" "$@" 2>/dev/full"#, r#"exec "$0" "$@" 2>&-"#] {
            assert_eq!(shell(&folder, line, &arguments).status.code(), Some(code), "{line} {arguments:?}");
        }
    }
}

/// Starts a training that does not end by itself, and waits until its first epoch is over.
fn endless(folder: &Folder, more: &[&str]) -> Child {
    let errors = fs::File::create(folder.path("errors.txt")).unwrap();
    let mut command = folder.command(&TRAIN);
    let mut child = command.args(["--epochs", "100000000"]).args(more).stderr(errors).spawn().unwrap();
    let start = Instant::now();
    while !said(folder).contains("epoch") {
        assert!(start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(), "{}", said(folder));
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn said(folder: &Folder) -> String {
    fs::read_to_string(folder.path("errors.txt")).unwrap_or_default()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Whether whoever started the tests ignores a signal, as shells do for what they run in the background: the command then
/// ignores it too.
fn is_ignored(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    u64::from_str_radix(mask.trim(), 16).unwrap_or(0) >> (number - 1) & 1 == 1
}

/// The exit code of a command that was told to end.
fn ended(mut child: Child, folder: &Folder) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > Duration::from_secs(120) {
            let _ = child.kill();
            panic!("it goes on: {}", said(folder));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn signals_end_a_training_at_its_next_step() {
    for (name, number, code) in [("INT", 2, 130), ("TERM", 15, 143)] {
        if is_ignored(number) {
            eprintln!("skipped: the tests were started with SIG{name} ignored");
            continue;
        }
        let folder = Folder::new();
        folder.ok(&[&TRAIN[..], &["-q"]].concat());
        let (old, history) = (fs::read(folder.path("out.keras")).unwrap(), fs::read(folder.path("h.json")).unwrap());

        let child = endless(&folder, &[]);
        signal(&child, name);
        assert_eq!(ended(child, &folder), Some(code), "{}", said(&folder));
        assert!(said(&folder).contains("interrupted in epoch"), "{}", said(&folder));
        assert_eq!(fs::read(folder.path("out.keras")).unwrap(), old);
        assert_eq!(fs::read(folder.path("h.json")).unwrap(), history);

        let child = endless(&folder, &["--save-on-interrupt"]);
        signal(&child, name);
        assert_eq!(ended(child, &folder), Some(code), "{}", said(&folder));
        assert!(fs::read(folder.path("out.keras")).unwrap() != old, "{}", said(&folder));
        let history: Value = serde_json::from_str(&fs::read_to_string(folder.path("h.json")).unwrap()).unwrap();
        assert!(!history["loss"].as_array().unwrap().is_empty());
        // Training goes on from there, its optimizer too.
        fs::rename(folder.path("out.keras"), folder.path("digits.keras")).unwrap();
        folder.ok(&TRAIN);
        assert!(folder.files().iter().all(|file| !file.ends_with(".tmp")), "{:?}", folder.files());
    }
}

/// As for commands behind `nohup`, or in the background of a script.
#[test]
fn signals_that_are_ignored_stay_ignored() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let folder = Folder::new();
    let line =
        r#"trap '' INT; "$0" "$@" -e 200 -q & for i in 1 2 3 4 5 6 7 8; do kill -INT $!; sleep 0.05; done; wait $!"#;
    let output = shell(&folder, line, &TRAIN);
    assert!(output.status.success(), "{output:?}");
    KerasFile::open(folder.path("out.keras")).unwrap_or_else(|d| panic!("{d}"));
}

/// Files are where their names lead, with the permissions that they had, and what is full or no file is an error or
/// is written to.
#[test]
fn outputs_keep_links_and_permissions() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::new();
    fs::create_dir(folder.path("inner")).unwrap();
    symlink("inner/real.keras", folder.path("out.keras")).unwrap();
    folder.ok(&TRAIN);
    fs::set_permissions(folder.path("inner/real.keras"), fs::Permissions::from_mode(0o640)).unwrap();
    folder.ok(&TRAIN);
    assert!(fs::symlink_metadata(folder.path("out.keras")).unwrap().is_symlink());
    let mode = fs::metadata(folder.path("inner/real.keras")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    fs::remove_file(folder.path("out.keras")).unwrap();
    symlink("/dev/full", folder.path("out.keras")).unwrap();
    let output = folder.run(&TRAIN);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("out.keras") && (told.contains("disk is full") || told.contains("No space left")), "{told}");
}

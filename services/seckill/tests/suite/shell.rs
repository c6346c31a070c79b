//! What shells and `man` are told of this program.

use std::process::Command;

use crate::system::{run, text};

/// What a shell offers after these words, by the function that completes them.
fn offered(words: &[&str]) -> String {
    let script = tempfile::NamedTempFile::new().expect("a file");
    let completions = run("completions", &["bash".to_owned()]);
    assert!(completions.status.success(), "{}", text(&completions));
    std::fs::write(script.path(), completions.stdout).expect("it is written");
    let (last, count) = (words.last().expect("a word"), words.len() - 1);
    let asked = format!(
        "source {}; COMP_WORDS=({}); COMP_CWORD={count}; _seckill seckill '{last}' ''; echo \"${{COMPREPLY[@]}}\"",
        script.path().display(),
        words.join(" "),
    );
    let answered = Command::new("bash").args(["-c", &asked]).output().expect("bash runs");
    assert!(answered.status.success(), "{}", text(&answered));
    text(&answered)
}

#[test]
fn a_shell_completes_commands_and_flags() {
    assert!(offered(&["seckill", "qua"]).contains("quarantine"));
    let flags = offered(&["seckill", "up", "--kafka"]);
    assert!(flags.contains("--kafka-prefix") && flags.contains("--kafka-option"), "{flags}");
}

#[test]
fn every_command_has_a_man_page() {
    let folder = tempfile::tempdir().expect("a directory");
    let pages = folder.path().join("man1");
    let written = run("man", &[pages.display().to_string()]);
    assert!(written.status.success(), "{}", text(&written));
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).expect(name);
    assert!(page("seckill.1").contains("seckill\\-up(1)"), "{}", page("seckill.1"));
    assert!(page("seckill-up.1").contains("kafka\\-option"));
    assert!(
        page("seckill-load.1").contains("Poisson") || page("seckill-load.1").contains("poisson")
    );
}

//! What editors, shells and beginners get: `schema`, `completions`, `init`, `validate`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::workspace::Workspace;

#[test]
fn the_schema_is_data_on_standard_output() {
    let workspace = Workspace::new();
    let told = workspace.run("schema").with(0, &[]);
    let schema: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(schema["title"], "argd-pipe manifest");
    assert_eq!(told.stderr, "");
}

#[test]
fn completions_are_scripts_that_their_shells_read() {
    let workspace = Workspace::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = workspace.run(&format!("completions {shell}")).with(0, &[]).stdout;
        assert!(script.contains("cache") && script.contains("keep-days"), "{shell}");
        assert_eq!(
            script.matches("complete-targets").count(),
            1,
            "{shell} asks for it, and does not offer it"
        );
        workspace.write("script", &script);
        // What is not installed cannot be asked.
        let Ok(checked) = Command::new(shell).arg("-n").arg(workspace.path("script")).output() else {
            continue;
        };
        assert!(checked.status.success(), "{shell}: {}", String::from_utf8_lossy(&checked.stderr));
    }
    workspace.run("completions tcsh").with(2, &["tcsh"]);
}

#[test]
fn bash_completes_the_targets_of_the_manifest_on_the_line() {
    let workspace = Workspace::new();
    let told = workspace.run("complete-targets tiny.yaml").with(0, &[]);
    let stages = "images\npoisoned\ntrained\nafter\n";
    let tasks = ["trained@epochs=1", "trained@epochs=2", "after@epochs=1", "after@epochs=2"];
    assert!(told.stdout.starts_with(stages), "{}", told.stdout);
    assert_eq!(told.stdout.lines().count(), 8);
    assert!(tasks.iter().all(|task| told.stdout.lines().any(|line| line == *task)), "{}", told.stdout);
    workspace.run("complete-targets gone.yaml").with(66, &["gone.yaml"]);
    assert!(!workspace.path("cache").exists());

    workspace.write("script", &workspace.run("completions bash").stdout);
    // Words as bash divides them, then what is replaced and the word before.
    let cases = [
        ("run tiny.yaml ", "run tiny.yaml ''", "'' tiny.yaml", "images poisoned trained after "),
        ("run tiny.yaml tr", "run tiny.yaml tr", "tr tiny.yaml", "trained "),
        ("show tiny.yaml after@", "show tiny.yaml after @", "@ after", "@epochs=1 @epochs=2 "),
        ("run tiny.yaml after@epochs=", "run tiny.yaml after @ epochs =", "'' epochs", "1 2 "),
        ("run tiny.yaml --dry", "run tiny.yaml --dry", "--dry tiny.yaml", "--dry-run "),
        ("validate tiny.yaml im", "validate tiny.yaml im", "im tiny.yaml", ""),
    ];
    for (line, words, arguments, expected) in cases {
        let program = workspace.program();
        let program = program.get_program().display();
        let script = format!(
            "source ./script; COMP_LINE='argd-pipe {line}'; COMP_POINT=${{#COMP_LINE}}
            COMP_WORDS=('{program}' {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            _argd__pipe_targets '{program}' {arguments}
            for reply in \"${{COMPREPLY[@]}}\"; do printf '%s ' \"$reply\"; done"
        );
        // What is not installed cannot be asked.
        let Ok(told) = Command::new("bash").current_dir(workspace.root()).args(["-c", &script]).output()
        else {
            return;
        };
        assert_eq!(String::from_utf8_lossy(&told.stdout), expected, "{line}: {told:?}");
    }
}

#[test]
fn fish_completes_the_targets_of_the_manifest_on_the_line() {
    let workspace = Workspace::new();
    workspace.write("script.fish", &workspace.run("completions fish").stdout);
    let program = workspace.program();
    let folder = Path::new(program.get_program()).parent().unwrap().display();
    for (line, expected) in
        [("run tiny.yaml tr", "trained\n"), ("show tiny.yaml after@", "after@epochs=1\nafter@epochs=2\n")]
    {
        let script =
            format!("set -x PATH {folder} $PATH; source script.fish; complete -C 'argd-pipe {line}'");
        // What is not installed cannot be asked.
        let Ok(told) = Command::new("fish").current_dir(workspace.root()).args(["-c", &script]).output()
        else {
            return;
        };
        assert_eq!(String::from_utf8_lossy(&told.stdout), expected, "{line}: {told:?}");
    }
}

#[test]
fn zsh_completes_the_targets_of_the_manifest_on_the_line() {
    let workspace = Workspace::new();
    workspace.write("_argd-pipe", &workspace.run("completions zsh").stdout);
    let program = workspace.program();
    let folder = Path::new(program.get_program()).parent().unwrap().display();
    // The function by itself: `compadd` outside of a completion only can be one that prints.
    for (words, prefix, expected) in [
        ("run tiny.yaml tr", "tr", "images poisoned trained after"),
        (
            "show tiny.yaml after@",
            "after@",
            "trained@epochs=1 after@epochs=1 trained@epochs=2 after@epochs=2",
        ),
    ] {
        let script = format!(
            "path=({folder} $path); eval \"$(sed -n '/^_argd-pipe-targets/,/^}}/p' _argd-pipe)\"
            compadd() {{ shift; print -rn -- $* }}; words=({words}); PREFIX={prefix}; _argd-pipe-targets"
        );
        let Ok(told) = Command::new("zsh").current_dir(workspace.root()).args(["-f", "-c", &script]).output()
        else {
            return;
        };
        let offered = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(offered.ends_with(expected), "{words}: {told:?}");
    }
    let script = fs::read_to_string(workspace.path("_argd-pipe")).unwrap();
    assert_eq!(script.matches(":_argd-pipe-targets'").count(), 7);
}

#[test]
fn a_new_manifest_is_right_and_nothing_is_overwritten() {
    let workspace = Workspace::new();
    workspace.run("init").with(0, &["wrote experiment.yaml"]);
    workspace.run("init new/first.yaml").with(0, &["argd-pipe run new/first.yaml"]);
    let told = workspace.run("validate experiment.yaml new/first.yaml").with(0, &[]);
    assert_eq!(told.stdout.matches(": valid: 8 stages, 10 tasks").count(), 2, "{}", told.stdout);
    assert!(workspace.path("new/manifest.schema.json").exists());
    assert!(!workspace.path("cache").exists());

    workspace.write("experiment.yaml", "mine");
    workspace.write("manifest.schema.json", "mine too");
    workspace.run("init").with(2, &["`experiment.yaml` already exists", "help: name another file"]);
    fs::remove_file(workspace.path("experiment.yaml")).unwrap();
    workspace.run("init").with(0, &[]);
    assert_eq!(fs::read_to_string(workspace.path("manifest.schema.json")).unwrap(), "mine too");
}

#[test]
fn validate_tells_everything_about_every_manifest() {
    let workspace = Workspace::new();
    workspace.write("typo.yaml", "name: typo\nstages:\n  a: {kind: dataste}\n");
    workspace.write("empty.yaml", "");
    let told = workspace.run("validate typo.yaml tiny.yaml empty.yaml");
    assert_eq!(told.stdout, "tiny.yaml: valid: 4 stages, 6 tasks\n");
    told.with(3, &["did you mean `dataset`?", "the manifest is empty", "2 of 3 manifests cannot be used"]);
    let told = workspace.run("validate gone.yaml tiny.yaml");
    assert_eq!(told.stdout, "tiny.yaml: valid: 4 stages, 6 tasks\n");
    told.with(66, &["gone.yaml", "1 of 2 manifests cannot be read"]);
    workspace.run("validate gone.yaml empty.yaml").with(3, &["2 of 2 manifests cannot be used"]);
    workspace.run("validate").with(2, &["MANIFEST"]);
    assert!(!workspace.path("cache").exists());
}

//! The effective configuration, completions and manual pages of the real binary.

use std::process::Output;

use crate::server::statehouse;

fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_configuration_is_printed_with_where_it_comes_from() {
    let place = tempfile::tempdir().unwrap();
    let config = place.path().join("my.toml");
    let file = "create_stores = false\n[admin]\nlisten = \"127.0.0.1:1\"\n[limits]\nstores = 5\n";
    std::fs::write(&config, file).unwrap();
    let mut command = statehouse();
    command.args(["config", "print", "--data", "here", "--config"]).arg(&config);
    let told = lines(&command.env("STATEHOUSE_LIMITS__STORES", "6").output().unwrap());
    let path = config.display();
    for line in [
        "listen = \"127.0.0.1:4600\"  # default".to_owned(),
        "data = \"here\"  # flag".to_owned(),
        format!("create_stores = false  # file {path}"),
        format!("admin.listen = \"127.0.0.1:1\"  # file {path}"),
        "limits.stores = 6  # environment STATEHOUSE_LIMITS__STORES".to_owned(),
        "limits.drain_ms = 0  # default".to_owned(),
    ] {
        assert!(told.contains(&line), "{line}: {told:#?}");
    }
    // It is a configuration itself.
    let again = told.iter().filter(|line| !line.starts_with("insecure"));
    std::fs::write(&config, again.cloned().collect::<Vec<_>>().join("\n")).unwrap();
    let mut command = statehouse();
    let same = lines(&command.args(["config", "print", "--config"]).arg(&config).output().unwrap());
    let values = |lines: &[String]| -> Vec<String> {
        lines.iter().map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&same), values(&told));
    let mut command = statehouse();
    let wrong = command.args(["config", "print"]).env("STATEHOUSE_LIMITS__STORES", "0").output();
    assert_eq!(wrong.unwrap().status.code(), Some(2));
}

#[test]
fn shells_and_readers_are_helped() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = lines(&statehouse().args(["completions", shell]).output().unwrap()).join("\n");
        assert!(script.contains("statehouse") && script.contains("restore"), "{shell}");
    }
    let place = tempfile::tempdir().unwrap();
    lines(&statehouse().arg("man").arg(place.path()).output().unwrap());
    for (page, word) in [("statehouse", "backup"), ("statehouse-backup", "FILE")] {
        let page = std::fs::read_to_string(place.path().join(format!("{page}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains(word));
    }
}

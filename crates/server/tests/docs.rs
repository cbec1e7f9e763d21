//! The documents tell the truth: what they link to and the tests they name exist.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files of these kinds below a folder, without what is built or installed.
fn files(folder: &Path, kinds: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if path.is_dir() && !name.starts_with('.') && !["target", "node_modules"].contains(&name.as_str()) {
            found.extend(files(&path, kinds));
        } else if path.extension().is_some_and(|kind| kinds.contains(&kind.to_str().unwrap())) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_link_leads_somewhere() {
    let documents = files(&root(), &["md"]);
    assert!(documents.len() >= 9);
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.starts_with("http") {
                continue;
            }
            let target = document.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(target.exists(), "{}: {link} leads nowhere", document.display());
        }
    }
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let code: String =
        files(&root(), &["rs", "mjs"]).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let table = architecture.split("| invariant | test |").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: Vec<&str> = table.split('`').skip(1).step_by(2).collect();
    assert!(named.len() > 15);
    for name in named {
        let (file, test) = name.rsplit_once(": ").map_or(("", name), |(file, test)| (file, test));
        if Path::new(test).extension().is_some_and(|kind| kind == "mjs") {
            assert!(root().join(test).exists(), "{test}");
        } else {
            assert!(
                code.contains(&format!("fn {test}(")),
                "ARCHITECTURE.md names {test}, which is no test ({file})"
            );
        }
    }
}

/// The unit of the guide is one that systemd understands, and rates as hardened; on machines without systemd, it is read only.
#[test]
fn the_unit_of_the_guide_is_complete_and_hardened() {
    let unit = root().join("docs/hallpass.service");
    let text = fs::read_to_string(&unit).unwrap();
    for line in ["After=network-online.target", "Restart=always", "DynamicUser=yes", "LoadCredential="] {
        assert!(text.contains(line), "{line}");
    }
    let rated = Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(&unit).output();
    let Ok(rated) = rated else { return };
    let rated = String::from_utf8_lossy(&rated.stdout).into_owned();
    // "→ Overall exposure level for hallpass.service: 1.4 OK"
    let exposure = rated.split("hallpass.service: ").nth(1).and_then(|rest| rest.split(' ').next());
    if let Some(exposure) = exposure.and_then(|exposure| exposure.parse::<f64>().ok()) {
        assert!(exposure <= 2.0, "{rated}");
    }
}

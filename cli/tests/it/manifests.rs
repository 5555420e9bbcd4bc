//! `apply` and `delete`, and what they say to mistakes.

use crate::harness::{Machine, stderr, stdout};

#[test]
fn the_example_manifest_is_applied_once_and_deleted() {
    let Some(machine) = Machine::new() else { return };
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/demo.yaml");
    let first = stdout(&machine.run(&["apply", "-f", demo]));
    assert_eq!(first, "tenant/demo configured\nknowledgesource/docbrain configured\nchatbot/demo configured\n");
    let second = stdout(&machine.run(&["apply", "-f", demo, "--json"]));
    assert_eq!(second.matches("unchanged").count(), 3, "{second}");
    let deleted = stdout(&machine.run(&["delete", "-f", demo]));
    assert_eq!(deleted.lines().count(), 3);
}

#[test]
fn a_mistake_is_refused_with_its_place_before_anything_is_written() {
    let Some(machine) = Machine::new() else { return };
    let file = machine.write(
        "wrong.yaml",
        "apiVersion: docbrain.dev/v1alpha1\nkind: Tenant\nmetadata: {name: acme}\nspec: {displayName: Acme}\n---\n\
         apiVersion: docbrain.dev/v1alpha1\nkind: Chatbot\nmetadata: {name: bot, namespace: acme}\nspec: {displayname: Bot}\n",
    );
    let output = machine.run(&["apply", "-f", file.to_str().unwrap()]);
    assert!(!output.status.success());
    let message = stderr(&output);
    assert!(
        message.contains("wrong.yaml")
            && message.contains("document 2")
            && message.contains("spec.displayname: unknown field"),
        "{message}"
    );
    let output = machine.run(&["ask", "anything"]);
    assert!(stderr(&output).contains("there is no tenant yet"), "{}", stderr(&output));
}

#[test]
fn help_teaches_by_examples() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_docbrain")).arg("--help").output().unwrap();
    let help = stdout(&output);
    for command in ["docbrain up", "docbrain ingest", "docbrain ask", "docbrain apply"] {
        assert!(help.contains(command), "{help}");
    }
}

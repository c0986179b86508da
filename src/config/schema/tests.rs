use std::path::{Path, PathBuf};

use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::value_error::ValueError;
use crate::config::{Config, ConfigError, ConfigProblem};

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).expect("a schema")
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("a file")).expect("JSON")
}

#[test]
fn schema_is_valid() {
    assert!(jsonschema::meta::is_valid(&schema()));
}

#[test]
fn every_fixture_and_every_example_is_valid() {
    let validator = validator();
    let [seed, netra, examples] = ["fixtures", "fixtures/netra", "src/cli/examples"].map(files);
    assert!(seed.len() >= 12 && netra.len() == 6 && examples.len() == 6);
    for file in [seed, netra, examples].concat() {
        let errors: Vec<String> = validator.iter_errors(&read(&file)).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{}", file.display());
    }
}

#[test]
fn fixtures_with_missing_fields_are_invalid() {
    let validator = validator();
    let fixtures = files("fixtures/missing_fields");
    assert!(fixtures.len() >= 3);
    for file in fixtures {
        assert!(!validator.is_valid(&read(&file)), "{}", file.display());
    }
}

#[test]
fn every_field_is_described() {
    let schema = schema();
    let instance = &schema["properties"]["instances"]["items"]["properties"];
    for field in crate::config::instance_fields() {
        assert_eq!(instance[field.name]["description"], field.about.replace('`', ""), "{}", field.name);
        let is_default = schema["properties"]["defaults"]["properties"].get(field.name).is_some();
        assert_eq!(is_default, !NOT_IN_DEFAULTS.contains(&field.name), "{}", field.name);
    }
    for field in crate::config::budget_fields() {
        assert!(schema["properties"]["budget"]["properties"].get(field.name).is_some(), "{}", field.name);
    }
}

/// Generates values that are valid for some fields and invalid for others.
fn value() -> impl Strategy<Value = Value> {
    let fixed = [
        "null",
        "true",
        "0",
        "1",
        "2.5",
        "-1",
        "1e15",
        "1e16",
        "40000000",
        "\"\"",
        "\" \\t\"",
        "\"x\"",
        "\"plan\"",
        "\"json\"",
        "\"mixed\"",
        "\"warn\"",
        "\"uncached\"",
        "[]",
        "[\"x\"]",
        "[\"x\", \" \"]",
        "[\"x\", 1]",
        "{}",
        "{\"/a\": 5}",
        "{\"/a\": 2.5, \"b\": null}",
        "{\"//\": []}",
        "{\"_\": []}",
        "{\"$\": []}",
        "{\"A\": \"x\", \"B\": 1, \"C\": null}",
        "{\"A=\": \"x\"}",
        "{\"\": \"x\"}",
        "{\"A\": []}",
        "[{\"name\": \"y\"}]",
        "[{\"name\": \"y\", \"when\": \"done\"}]",
        "[{\"name\": \"y\", \"when\": null, \"_\": 1}]",
        "[{\"name\": \"y\", \"when\": \"never\"}]",
        "[{\"when\": \"done\"}]",
        "[{\"name\": null}]",
        "[{\"name\": \"y\", \"x\": 1}]",
        "[\"x\", \"x\"]",
        "{\"input\": 3, \"output\": 15}",
        "{\"m\": {\"input\": 3, \"output\": 15, \"cache_read\": null, \"_\": 1}}",
        "{\"m\": {\"input\": 3}}",
        "{\"m\": {\"input\": 3, \"output\": null}}",
        "{\"m\": {\"input\": 3, \"output\": 0}}",
        "{\"m\": null}",
        "{\"_\": null}",
        "\"\\u00a0\"",
        "\"é\"",
    ];
    prop::sample::select(fixed.to_vec()).prop_map(|text| serde_json::from_str(text).expect("JSON"))
}

/// Generates an object with some fields, mostly known ones, each with any value.
fn fields(known: Vec<&'static str>) -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        30 => prop::sample::select(known).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["// why", "_x", "$schema", "nmae", "overall_budget", "x//"]).prop_map(str::to_owned),
    ];
    prop::collection::btree_map(key, value(), 0..3)
        .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<String, Value>>()))
}

fn config() -> impl Strategy<Value = Value> {
    let all: Vec<_> = INSTANCE.iter().map(|row| row.field.name).collect();
    let budget = fields(BUDGET.iter().map(|row| row.field.name).collect());
    let instance = (fields(all.clone()), value()).prop_map(|(mut instance, command)| {
        // Most configs must be valid except for one field.
        let given = if command.is_string() { command } else { json!("x") };
        instance.as_object_mut().expect("an object").entry("command").or_insert(given);
        instance
    });
    let instances = prop_oneof![9 => prop::collection::vec(instance, 1..3).prop_map(Value::from), 1 => value()];
    let section = |section| prop::option::weighted(0.3, prop_oneof![9 => section, 1 => value().boxed()]);
    let pricing = prop::option::weighted(0.2, value());
    let words =
        prop::sample::select(vec!["soon,fail=1", "now,fail=07%", "now,fail=100%", "soon,fail=0", "x,fail=1", "soon"]);
    let halt = section(words.prop_map(Value::from).boxed());
    (instances, section(budget.boxed()), section(fields(all).boxed()), pricing, halt).prop_map(
        |(instances, budget, defaults, pricing, halt)| {
            let mut config = json!({ "instances": instances });
            for (name, section) in [("budget", budget), ("defaults", defaults), ("pricing", pricing), ("halt", halt)] {
                if let Some(section) = section {
                    config[name] = section;
                }
            }
            config
        },
    )
}

/// Returns true if the errors are ones that no schema can express: duplicate names.
fn is_beyond_a_schema(error: &ConfigError) -> bool {
    let ConfigError::Invalid(mistakes) = error else { return false };
    mistakes.iter().all(|mistake| match &mistake.problem {
        ConfigProblem::DuplicateName { .. } => true,
        ConfigProblem::Value(error) => has_duplicate(error),
        _ => false,
    })
}

fn has_duplicate(error: &ValueError) -> bool {
    match error {
        ValueError::DuplicateKey | ValueError::DuplicateEntry(_) => true,
        ValueError::Member { error, .. } | ValueError::Element { error, .. } => has_duplicate(error),
        ValueError::Several { errors, .. } => errors.iter().any(has_duplicate),
        _ => false,
    }
}

proptest! {
    // A case is cheap, and most configs of few fields are alike.
    #![proptest_config(ProptestConfig { cases: 4 * ProptestConfig::default().cases, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn schema_and_reader_agree(config in config()) {
        static VALIDATOR: std::sync::LazyLock<Validator> = std::sync::LazyLock::new(validator);
        let read = Config::read(&config.to_string());
        if read.as_ref().err().is_some_and(is_beyond_a_schema) {
            return Ok(());
        }
        let errors: Vec<String> = VALIDATOR.iter_errors(&config).map(|error| error.to_string()).collect();
        prop_assert_eq!(read.is_ok(), errors.is_empty(), "{}\n{:?}\n{:?}", config, errors, read.err());
    }
}

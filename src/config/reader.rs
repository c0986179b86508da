//! Reader of a config, driven by the tables of its fields. It collects all errors, each with its position.
//!
//! Keys that begin with `//`, `_` or `$` are comments. A `null` value is equivalent to a missing field.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::diagnostic::{ConfigProblem, FieldHome, Section, instance_label, push_bounded};
use super::fields::{BUDGET, FieldSpec, INSTANCE, NEEDED_IN_PRICE, NOT_IN_DEFAULTS, PRICE};
use super::json::{Document, Kind, Member, Node, Position};
use super::value_error::ValueError;
use super::{Config, Diagnostic, InstanceConfig, MAX_INSTANCES, PriceConfig};
use crate::base::text::{quote_input, sanitize_line};
use crate::claude::pricing::Price;
use crate::config::halt::{self, Halt};
use crate::config::values::is_comment;

/// Reader of a document, with the errors found so far.
pub(super) struct Reader<'a> {
    document: Document<'a>,
    found: Vec<RawDiagnostic>,
    warnings: Vec<String>,
}

/// Error with a byte offset. Positions are computed once for all errors, at the end.
struct RawDiagnostic {
    offset: usize,
    subject: String,
    field: String,
    problem: ConfigProblem,
}

/// Fields of a section: the table, and the names that are allowed in it.
struct Table<T: 'static> {
    section: Section,
    rows: &'static [FieldSpec<T>],
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: Document<'a>) -> Self {
        Reader { document, found: Vec::new(), warnings: Vec::new() }
    }

    /// Returns the config as read, and its errors in the order of the file.
    pub(super) fn finish(mut self, config: Config) -> (Config, Vec<Diagnostic>) {
        self.found.sort_by_key(|found| found.offset);
        let mut positions = PositionTracker::new(self.document);
        let mut mistakes = Vec::with_capacity(self.found.len());
        for RawDiagnostic { offset, subject, field, problem } in self.found {
            mistakes.push(Diagnostic { position: positions.at(offset), subject, field, problem });
        }
        (Config { warnings: self.warnings, ..config }, mistakes)
    }

    pub(super) fn config(&mut self) -> Config {
        let mut config = Config::default();
        let root = self.document.root();
        let Some(sections) = self.members(root, "", Section::Config) else {
            return config;
        };
        // The defaults apply to all instances, wherever in the file they are.
        if let Some(node) = section(&sections, "defaults") {
            self.fill(node, "defaults", &Table { section: Section::Defaults, rows: INSTANCE }, &mut config.defaults);
        }
        if let Some(node) = section(&sections, "budget") {
            self.fill(node, "budget", &Table { section: Section::Budget, rows: BUDGET }, &mut config.budget);
        }
        if let Some(node) = section(&sections, "pricing") {
            config.pricing = self.pricing(node);
        }
        if let Some(node) = section(&sections, "halt") {
            config.halt = self.halt(node);
        }
        match section(&sections, "instances") {
            Some(node) => config.instances = self.instances(node, &config.defaults),
            None => self.mistake(root, "", "instances", ConfigProblem::MissingInstances),
        }
        config
    }

    /// Reads `{"claude-opus": {"input": 5, "output": 25}}`, in dollars per million tokens.
    fn pricing(&mut self, node: Node<'a>) -> BTreeMap<String, Price> {
        let Some(members) = node.members() else {
            self.wrong_type(node, "pricing", "an object of models");
            return BTreeMap::new();
        };
        let mut prices = BTreeMap::new();
        let mut seen = HashSet::new();
        for Member { key, value } in members {
            if is_comment(&key) {
                continue;
            }
            let subject = format!("pricing of '{}'", quote_input(&key));
            if !seen.insert(key.clone()) {
                self.mistake(value, &subject, "", ConfigProblem::DuplicateKey);
            } else if let Some(price) = self.price(value, &subject) {
                prices.insert(key.into_owned(), price);
            }
        }
        prices
    }

    fn price(&mut self, node: Node<'a>, subject: &str) -> Option<Price> {
        let mut price = PriceConfig::default();
        let mistakes_before = self.found.len();
        self.fill(node, subject, &Table { section: Section::Price, rows: PRICE }, &mut price);
        if let (Some(input), Some(output)) = (price.input, price.output) {
            let usual = Price::from_base_prices(input, output);
            let cache_write = price.cache_write.unwrap_or(usual.cache_write);
            let cache_read = price.cache_read.unwrap_or(usual.cache_read);
            return Some(Price { cache_write, cache_read, ..usual });
        }
        if self.found.len() == mistakes_before {
            let mut missing = Vec::new();
            for (name, value) in NEEDED_IN_PRICE.iter().zip([price.input, price.output]) {
                if value.is_none() {
                    missing.push(*name);
                }
            }
            self.mistake(node, subject, "", ConfigProblem::MissingFields(missing));
        }
        None
    }

    fn halt(&mut self, node: Node<'a>) -> Option<Halt> {
        let Some(text) = node.string() else {
            self.wrong_type(node, "halt", halt::DESCRIPTION);
            return None;
        };
        match Halt::parse(&text) {
            Ok(halt) => Some(halt),
            Err(error) => {
                self.mistake(node, "", "halt", ValueError::Halt(error).into());
                None
            }
        }
    }

    fn instances(&mut self, node: Node<'a>, defaults: &InstanceConfig) -> Vec<InstanceConfig> {
        let Some(elements) = node.elements() else {
            self.wrong_type(node, "instances", "an array of instances");
            return Vec::new();
        };
        if elements.is_empty() {
            self.mistake(node, "", "instances", ConfigProblem::NoInstances);
        }
        if elements.len() > MAX_INSTANCES {
            self.mistake(node, "", "instances", ConfigProblem::TooManyInstances(elements.len()));
            return Vec::new();
        }
        let mut first_of_name: HashMap<String, usize> = HashMap::new();
        let mut instances: Vec<InstanceConfig> = Vec::with_capacity(elements.len());
        let mut positions = PositionTracker::new(self.document);
        for (i, element) in elements.into_iter().enumerate() {
            let mut instance =
                InstanceConfig { position: Some(positions.at(self.document.offset(element))), ..defaults.clone() };
            instance.places = self.field_positions(element, &mut positions);
            self.instance(i, element, &mut instance);
            if let Some(name) = &instance.name {
                let first = *first_of_name.entry(sanitize_line(name).into_owned()).or_insert(i);
                if first != i {
                    let is_equal = instances[first].name == instance.name;
                    let problem = ConfigProblem::DuplicateName { first, is_equal };
                    self.mistake(element, &instance_label(i, Some(name)), "name", problem);
                }
            }
            for (name, value) in &defaults.env {
                instance.env.entry(name.clone()).or_insert_with(|| value.clone());
            }
            instances.push(instance);
        }
        instances
    }

    /// Returns the positions of the values of an instance's fields.
    fn field_positions(&self, node: Node<'a>, positions: &mut PositionTracker) -> Vec<(&'static str, Position)> {
        let mut places = Vec::new();
        for member in node.members().into_iter().flatten() {
            if let Some(row) = INSTANCE.iter().find(|row| row.field.name == member.key) {
                places.push((row.field.name, positions.at(self.document.offset(member.value))));
            }
        }
        places
    }

    /// Reads an entry of `instances` into one with the defaults.
    fn instance(&mut self, index: usize, node: Node<'a>, instance: &mut InstanceConfig) {
        if node.kind() != Kind::Object {
            let error = ValueError::wrong_type(node, "an object");
            return self.mistake(node, &instance_label(index, None), "", error.into());
        }
        // The name is read first, wherever it is: all other errors are reported with it.
        let label = instance_label(index, name_of(node).as_deref());
        let found_before = self.found.len();
        self.fill(node, &label, &Table { section: Section::Instance, rows: INSTANCE }, instance);
        instance.command.take_if(|command| command.trim().is_empty());
        instance.prompt.take_if(|prompt| prompt.trim().is_empty());
        match (&instance.command, &instance.prompt) {
            // A command of the wrong type is already reported.
            (None, None) if !self.found[found_before..].iter().any(RawDiagnostic::is_about_command) => {
                self.mistake(node, &label, "command", ConfigProblem::NoCommand);
            }
            (Some(_), Some(_)) => {
                let line = instance.position.map_or(1, |position| position.line);
                self.warnings.push(format!("line {line}: {label}: 'command' is used and 'prompt' is ignored"));
            }
            _ => {}
        }
    }

    /// Reads the members of an object by a table into `target`, and reports the errors.
    fn fill<T>(&mut self, node: Node<'a>, subject: &str, table: &Table<T>, target: &mut T) {
        let Some(members) = self.members(node, subject, table.section) else {
            return;
        };
        for (name, value) in members {
            let row = table.rows.iter().find(|row| row.field.name == name);
            if let Some(row) = row
                && let Err(error) = (row.read)(target, value)
            {
                self.mistake(value, subject, name, error.into());
            }
        }
    }

    /// Returns the known members of an object, without nulls. Unknown and duplicate members are reported.
    fn members(&mut self, node: Node<'a>, subject: &str, section: Section) -> Option<Vec<(&'static str, Node<'a>)>> {
        let Some(members) = node.members() else {
            let subject = if section == Section::Config { "config" } else { subject };
            self.wrong_type(node, subject, "an object");
            return None;
        };
        let known = section.fields();
        let mut seen = vec![false; known.len()];
        let mut found = Vec::with_capacity(members.len().min(known.len()));
        for Member { key, value } in members {
            if is_comment(&key) {
                continue;
            }
            let Some(index) = known.iter().position(|name| *name == key) else {
                self.mistake(value, subject, &quote_input(&key), unknown_field(&key, section));
                continue;
            };
            if std::mem::replace(&mut seen[index], true) {
                self.mistake(value, subject, known[index], ConfigProblem::DuplicateKey);
            } else if value.kind() != Kind::Null {
                found.push((known[index], value));
            }
        }
        Some(found)
    }

    fn wrong_type(&mut self, node: Node, field: &str, expected: &'static str) {
        self.mistake(node, "", field, ValueError::wrong_type(node, expected).into());
    }

    fn mistake(&mut self, node: Node, subject: &str, field: &str, problem: ConfigProblem) {
        let offset = self.document.offset(node);
        push_bounded(&mut self.found, RawDiagnostic { offset, subject: subject.into(), field: field.into(), problem });
    }
}

impl RawDiagnostic {
    fn is_about_command(&self) -> bool {
        self.field == "command" || self.field == "prompt"
    }
}

/// Returns the value of a section.
fn section<'a>(sections: &[(&str, Node<'a>)], name: &str) -> Option<Node<'a>> {
    sections.iter().find(|(section, _)| *section == name).map(|(_, node)| *node)
}

/// Returns the name of an instance, if it is a string.
fn name_of(node: Node<'_>) -> Option<Cow<'_, str>> {
    node.members()?.into_iter().find(|member| member.key == "name")?.value.string()
}

/// Returns the problem of a key that is no field of this section.
fn unknown_field(key: &str, section: Section) -> ConfigProblem {
    if Section::Budget.fields().contains(&key) {
        ConfigProblem::MisplacedField(FieldHome::Budget)
    } else if NOT_IN_DEFAULTS.contains(&key) {
        ConfigProblem::MisplacedField(FieldHome::EachInstance)
    } else if Section::Instance.fields().contains(&key) {
        ConfigProblem::MisplacedField(FieldHome::InstanceOrDefaults)
    } else {
        ConfigProblem::UnknownField { key: key.to_owned(), section }
    }
}

/// Tracker of positions for increasing offsets. Each is counted from the one before, so that a config is scanned once,
/// even if it is a single line.
struct PositionTracker<'a> {
    document: Document<'a>,
    last: (usize, Position),
}

impl<'a> PositionTracker<'a> {
    fn new(document: Document<'a>) -> Self {
        PositionTracker { document, last: (0, Position { line: 1, column: 1 }) }
    }

    fn at(&mut self, offset: usize) -> Position {
        self.last = (offset, self.document.place_after(self.last.0, self.last.1, offset));
        self.last.1
    }
}

//! Reader of a config, driven by the tables of its fields. It collects all errors, each with its position.
//!
//! Keys that begin with `//`, `_` or `$` are comments. A `null` value is equivalent to a missing field.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::fields::{BUDGET, FieldSpec, INSTANCE, NEEDED_IN_PRICE, NOT_IN_DEFAULTS, PRICE, SECTIONS};
use super::json::{Document, Kind, Node, Position};
use super::{Config, Diagnostic, InstanceConfig, MAX_INSTANCES, MAX_MISTAKES, PriceConfig};
use crate::base::suggest::closest_match;
use crate::base::text::{quote_input, sanitize_line, thousands};
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
    instance: String,
    field: String,
    what: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: Document<'a>) -> Self {
        Reader { document, found: Vec::new(), warnings: Vec::new() }
    }

    /// Returns the config as read, and its errors in the order of the file.
    pub(super) fn finish(mut self, config: Config) -> (Config, Vec<Diagnostic>) {
        self.found.sort_by_key(|found| found.offset);
        let mut places = PositionTracker::new(self.document);
        let place = |RawDiagnostic { offset, instance, field, what }| Diagnostic {
            position: places.of(offset),
            instance,
            field,
            message: what,
        };
        let mistakes = self.found.into_iter().map(place).collect();
        (Config { warnings: self.warnings, ..config }, mistakes)
    }

    pub(super) fn config(&mut self) -> Config {
        let mut config = Config::default();
        let root = self.document.root();
        let names: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
        let Some(sections) = self.members(root, "", "the config", &names) else {
            return config;
        };
        let section = |name| names.iter().zip(&sections).find(|(section, _)| **section == name)?.1.as_ref().copied();
        // The defaults apply to all instances, wherever in the file they are.
        let mut defaults = InstanceConfig::default();
        if let Some(node) = section("defaults") {
            let allowed: Vec<_> = INSTANCE.iter().filter(|f| !NOT_IN_DEFAULTS.contains(&f.field.name)).collect();
            self.fill(node, "defaults", &allowed, &mut defaults);
        }
        if let Some(node) = section("budget") {
            self.fill(node, "budget", &BUDGET.iter().collect::<Vec<_>>(), &mut config.budget);
        }
        if let Some(node) = section("pricing") {
            config.pricing = self.pricing(node);
        }
        if let Some(node) = section("halt") {
            config.halt = self.halt(node);
        }
        config.defaults = defaults.clone();
        match section("instances") {
            Some(node) => config.instances = self.instances(node, &defaults),
            None => self.mistake(root, "", "instances", "missing: a config needs a list of instances".into()),
        }
        config
    }

    /// Reads `{"claude-opus": {"input": 5, "output": 25}}`, in dollars per million tokens.
    fn pricing(&mut self, node: Node<'a>) -> BTreeMap<String, Price> {
        let Some(members) = node.members() else {
            self.mistake(node, "", "pricing", format!("must be an object of models, and is {}", node.kind()));
            return BTreeMap::new();
        };
        let mut prices = BTreeMap::new();
        let mut seen = HashSet::new();
        for member in members.into_iter().filter(|m| !is_comment(&m.key)) {
            let whose = format!("pricing of '{}'", quote_input(&member.key));
            if !seen.insert(member.key.clone()) {
                self.mistake(member.value, &whose, "", "stands here a second time".into());
                continue;
            }
            let mut price = PriceConfig::default();
            let mistakes_before = self.found.len();
            self.fill(member.value, &whose, &PRICE.iter().collect::<Vec<_>>(), &mut price);
            match (price.input, price.output) {
                (Some(input), Some(output)) => {
                    let usual = Price::from_base_prices(input, output);
                    let cache_write = price.cache_write.unwrap_or(usual.cache_write);
                    let cache_read = price.cache_read.unwrap_or(usual.cache_read);
                    prices.insert(member.key.into_owned(), Price { cache_write, cache_read, ..usual });
                }
                _ if self.found.len() > mistakes_before => {}
                _ => {
                    let what = format!("needs an '{}'", NEEDED_IN_PRICE.join("' and an '"));
                    self.mistake(member.value, &whose, "", what);
                }
            }
        }
        prices
    }

    fn halt(&mut self, node: Node<'a>) -> Option<Halt> {
        match node.string().map(|text| Halt::parse(&text)) {
            Some(Ok(halt)) => return Some(halt),
            Some(Err(problem)) => self.mistake(node, "", "halt", problem),
            None => self.mistake(node, "", "halt", format!("must be {}, and is {}", halt::FORM, node.kind())),
        }
        None
    }

    fn instances(&mut self, node: Node<'a>, defaults: &InstanceConfig) -> Vec<InstanceConfig> {
        let Some(elements) = node.elements() else {
            self.mistake(node, "", "instances", format!("must be an array of instances, and is {}", node.kind()));
            return Vec::new();
        };
        if elements.is_empty() {
            self.mistake(node, "", "instances", "empty: there is nothing to run".into());
        }
        if elements.len() > MAX_INSTANCES {
            let (max, count) = (thousands(MAX_INSTANCES as u64), thousands(elements.len() as u64));
            self.mistake(node, "", "instances", format!("must be at most {max} instances, and are {count}"));
            return Vec::new();
        }
        let mut first_of_look: HashMap<String, usize> = HashMap::new();
        let mut instances = Vec::with_capacity(elements.len());
        let mut places = PositionTracker::new(self.document);
        for (i, element) in elements.into_iter().enumerate() {
            let instance = self.instance(i, element, defaults, &mut places);
            if let Some(name) = &instance.name {
                let first = *first_of_look.entry(sanitize_line(name).into_owned()).or_insert(i);
                if first != i {
                    let is_same =
                        instances.get(first).is_some_and(|first: &InstanceConfig| first.name == instance.name);
                    let what = if is_same { "is the name of" } else { "looks like the name of" };
                    let what = format!("{what} instances[{first}] too: names must be unique");
                    self.mistake(element, &label(i, Some(name)), "name", what);
                }
            }
            instances.push(instance);
        }
        instances
    }

    fn instance(
        &mut self,
        index: usize,
        node: Node<'a>,
        defaults: &InstanceConfig,
        places: &mut PositionTracker,
    ) -> InstanceConfig {
        let place = places.of(self.document.offset(node));
        let mut instance = InstanceConfig { position: Some(place), ..defaults.clone() };
        for member in node.members().into_iter().flatten() {
            if let Some(row) = INSTANCE.iter().find(|row| row.field.name == member.key) {
                instance.places.push((row.field.name, places.of(self.document.offset(member.value))));
            }
        }
        if node.kind() != Kind::Object {
            self.mistake(node, &label(index, None), "", format!("must be an object, and is {}", node.kind()));
            return instance;
        }
        // The name is read first, wherever it is: all other errors are reported with it.
        let name = node.members().and_then(|m| m.into_iter().find(|m| m.key == "name")?.value.string());
        let label = label(index, name.as_deref());
        let found_before = self.found.len();
        self.fill(node, &label, &INSTANCE.iter().collect::<Vec<_>>(), &mut instance);
        for (name, value) in &defaults.env {
            instance.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let given = |text: &Option<String>| text.as_deref().is_some_and(|t| !t.trim().is_empty());
        let of_command = |found: &RawDiagnostic| found.field == "command" || found.field == "prompt";
        if !given(&instance.command) && !given(&instance.prompt) {
            // A command of the wrong type is already reported.
            if !self.found[found_before..].iter().any(of_command) {
                let what = "Either 'command' or 'prompt' must be provided".to_owned();
                self.mistake(node, &label, "command", what);
            }
        } else if given(&instance.command) && given(&instance.prompt) {
            self.warnings.push(format!("line {}: {label}: 'command' is used and 'prompt' is ignored", place.line));
        }
        instance.command = instance.command.filter(|c| !c.trim().is_empty());
        instance.prompt = instance.prompt.filter(|p| !p.trim().is_empty());
        instance
    }

    /// Reads the members of an object by a table into `into`, and reports the errors.
    fn fill<T>(&mut self, node: Node<'a>, whose: &str, table: &[&FieldSpec<T>], into: &mut T) {
        let names: Vec<&str> = table.iter().map(|row| row.field.name).collect();
        let Some(members) = self.members(node, whose, whose, &names) else {
            return;
        };
        for (row, value) in table.iter().zip(members) {
            if let Some(value) = value
                && let Err(what) = (row.read)(into, value)
            {
                self.mistake(value, whose, row.field.name, what);
            }
        }
    }

    /// Returns the known members of an object, in the order of `known`, without nulls. Unknown and duplicate members
    /// are reported.
    fn members(
        &mut self,
        node: Node<'a>,
        whose: &str,
        what_it_is: &str,
        known: &[&'static str],
    ) -> Option<Vec<Option<Node<'a>>>> {
        let Some(members) = node.members() else {
            let field = if whose.is_empty() { "" } else { what_it_is };
            let what = format!(
                "{}must be an object, and is {}",
                if field.is_empty() { "the config " } else { "" },
                node.kind()
            );
            self.mistake(node, "", field, what);
            return None;
        };
        let mut found = vec![None; known.len()];
        let mut seen = vec![false; known.len()];
        for member in members {
            if is_comment(&member.key) {
                continue;
            }
            let Some(index) = known.iter().position(|k| *k == member.key) else {
                let what = unknown(&member.key, known);
                self.mistake(member.value, whose, &quote_input(&member.key), what);
                continue;
            };
            if std::mem::replace(&mut seen[index], true) {
                self.mistake(member.value, whose, known[index], "stands here a second time".into());
            } else if member.value.kind() != Kind::Null {
                found[index] = Some(member.value);
            }
        }
        Some(found)
    }

    fn mistake(&mut self, node: Node, instance: &str, field: &str, what: String) {
        if self.found.len() == MAX_MISTAKES {
            return;
        }
        let offset = self.document.offset(node);
        self.found.push(RawDiagnostic { offset, instance: instance.into(), field: field.into(), what });
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

    fn of(&mut self, offset: usize) -> Position {
        self.last = (offset, self.document.place_after(self.last.0, self.last.1, offset));
        self.last.1
    }
}

/// Returns the message about an unknown or misplaced field, with the likely name or the right section.
fn unknown(key: &str, known: &[&'static str]) -> String {
    let is_of_budget = BUDGET.iter().any(|row| row.field.name == key);
    let is_of_instance = INSTANCE.iter().any(|row| row.field.name == key);
    match closest_match(key, known.iter().copied()) {
        _ if is_of_budget => "does not belong here: it is a field of 'budget'".to_owned(),
        _ if is_of_instance && NOT_IN_DEFAULTS.contains(&key) => {
            "does not belong here: each instance has its own".to_owned()
        }
        _ if is_of_instance => "does not belong here: it is a field of an instance, or of 'defaults'".to_owned(),
        Some(name) => format!("unknown field, did you mean '{name}'?"),
        None => format!("unknown field; known are: {}", known.join(", ")),
    }
}

/// Returns the label of an instance in messages.
fn label(index: usize, name: Option<&str>) -> String {
    match name {
        Some(name) if !name.is_empty() => format!("instance '{}'", quote_input(name)),
        _ => format!("instances[{index}]"),
    }
}

//! The fields of a config, in one table a section: what each is called, what it must be, and where it goes.
//!
//! A field that is not in its table is a mistake, so that a mistyped budget is never ignored; keys that begin with `//`,
//! `_` or `$` are comments. `null` is the same as leaving a field out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::json::{Document, Kind, Node, Place};
use super::{
    BudgetConfig, BudgetType, Config, DependencyConfig, Enforcement, InstanceConfig, MAX_MISTAKES, Mistake,
    OUTPUT_FORMATS, PERMISSION_MODES, TokenBasis, When,
};
use crate::claude::prices::Price;
use crate::nearest::nearest;
use crate::text::thousands;

/// No wait, timeout or delay is longer than a year.
const MAX_SECONDS: f64 = 365.0 * 86_400.0;
/// A quadrillion tokens: far above any use, far below what sums could overflow.
const MAX_TOKENS: f64 = 1e15;
const MAX_DOLLARS: f64 = 1e9;

/// A field of a section read into a `T`: how it is called, and how it is read.
struct Field<T: 'static> {
    name: &'static str,
    read: fn(&mut T, Node) -> Result<(), String>,
}

/// A macro, because each row is the same sentence: this name, this reader, that place.
macro_rules! table {
    ($($name:literal => $target:ident: $read:expr),+ $(,)?) => {
        &[$(Field { name: $name, read: |into, node| { into.$target = $read(node)?; Ok(()) } }),+]
    };
}

const INSTANCE: &[Field<InstanceConfig>] = table![
    "name" => name: |n| filled(n).map(Some),
    "command" => command: |n| string(n).map(Some),
    "prompt" => prompt: |n| string(n).map(Some),
    "description" => description: |n| string(n).map(Some),
    "permission_mode" => permission_mode: |n| one_of(n, PERMISSION_MODES).map(Some),
    "output_format" => output_format: |n| one_of(n, OUTPUT_FORMATS).map(Some),
    "max_tokens_per_command" => max_tokens: |n| tokens(n).map(Some),
    "session_id" => session_id: |n| filled(n).map(Some),
    "clear_history" => clear_history: |n| boolean(n).map(Some),
    "compact_history" => compact_history: |n| boolean(n).map(Some),
    "allowed_tools" => allowed_tools: |n| strings(n).map(Some),
    "disallowed_tools" => disallowed_tools: |n| strings(n).map(Some),
    "pre_commands" => pre_commands: |n| strings(n).map(Some),
    "timeout" => timeout: |n| seconds(n).map(Some),
    "idle_timeout" => idle_timeout: |n| seconds(n).map(Some),
    "depends_on" => depends_on: |n| dependencies(n).map(Some),
    "model" => model: |n| filled(n).map(Some),
    "env" => env: variables,
    "cwd" => cwd: |n| filled(n).map(Some),
    "claude_args" => claude_args: |n| strings(n).map(Some),
];

pub(super) fn names_of_instance_fields() -> impl Iterator<Item = &'static str> {
    INSTANCE.iter().map(|field| field.name)
}

/// What makes no sense as a default for every instance.
const NOT_IN_DEFAULTS: &[&str] = &["name", "command", "prompt", "description", "depends_on"];

const BUDGET: &[Field<BudgetConfig>] = table![
    "overall_budget" => overall_tokens: |n| tokens(n).map(Some),
    "overall_cost_budget" => overall_micros: |n| dollars(n).map(Some),
    "command_budgets" => command_tokens: |n| per_command(n, tokens),
    "command_cost_budgets" => command_micros: |n| per_command(n, dollars),
    "budget_type" => budget_type: |n| named(n, &[
        ("tokens", BudgetType::Tokens),
        ("cost", BudgetType::Cost),
        ("mixed", BudgetType::Mixed),
    ]).map(Some),
    "enforcement_mode" => enforcement: |n| named(n, &[
        ("block", Enforcement::Block),
        ("warn", Enforcement::Warn),
    ]).map(Some),
    "disable_visuals" => disable_visuals: |n| boolean(n).map(Some),
    "token_basis" => token_basis: |n| named(n, &[
        ("total", TokenBasis::Total),
        ("uncached", TokenBasis::Uncached),
    ]).map(Some),
];

const PRICE: &[Field<PriceConfig>] = table![
    "input" => input: |n| dollars(n).map(Some),
    "output" => output: |n| dollars(n).map(Some),
    "cache_write" => cache_write: |n| dollars(n).map(Some),
    "cache_read" => cache_read: |n| dollars(n).map(Some),
];

/// An entry of `pricing`, in micro-dollars per million tokens.
#[derive(Default)]
struct PriceConfig {
    input: Option<u64>,
    output: Option<u64>,
    cache_write: Option<u64>,
    cache_read: Option<u64>,
}

const SECTIONS: &[&str] = &["instances", "budget", "pricing", "defaults"];

/// More instances than anybody starts, and few enough for any memory.
const MAX_INSTANCES: usize = 100_000;

/// Reads a document, and keeps what is wrong with it.
pub(super) struct Reader<'a> {
    document: Document<'a>,
    found: Vec<Found>,
    warnings: Vec<String>,
}

/// A mistake, by its offset: lines are counted once for all of them, at the end.
struct Found {
    offset: usize,
    instance: String,
    field: String,
    what: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: Document<'a>) -> Self {
        Reader { document, found: Vec::new(), warnings: Vec::new() }
    }

    /// The config as far as it could be read, and what is wrong with it, in the order of the file.
    pub(super) fn finish(mut self, config: Config) -> (Config, Vec<Mistake>) {
        self.found.sort_by_key(|found| found.offset);
        let mut places = Places::new(self.document);
        let place =
            |Found { offset, instance, field, what }| Mistake { place: places.of(offset), instance, field, what };
        let mistakes = self.found.into_iter().map(place).collect();
        (Config { warnings: self.warnings, ..config }, mistakes)
    }

    pub(super) fn config(&mut self) -> Config {
        let mut config = Config::default();
        let root = self.document.root();
        let Some(sections) = self.members(root, "", "the config", SECTIONS) else {
            return config;
        };
        let section = |name| SECTIONS.iter().zip(&sections).find(|(section, _)| **section == name)?.1.as_ref().copied();
        // The defaults hold for every instance, wherever in the file they stand.
        let mut defaults = InstanceConfig::default();
        if let Some(node) = section("defaults") {
            let allowed: Vec<_> = INSTANCE.iter().filter(|f| !NOT_IN_DEFAULTS.contains(&f.name)).collect();
            self.fill(node, "defaults", &allowed, &mut defaults);
        }
        if let Some(node) = section("budget") {
            self.fill(node, "budget", &BUDGET.iter().collect::<Vec<_>>(), &mut config.budget);
        }
        if let Some(node) = section("pricing") {
            config.pricing = self.pricing(node);
        }
        match section("instances") {
            Some(node) => config.instances = self.instances(node, &defaults),
            None => self.mistake(root, "", "instances", "missing: a config needs a list of instances".into()),
        }
        config
    }

    /// `{"claude-opus": {"input": 5, "output": 25}}`, in dollars per million tokens.
    fn pricing(&mut self, node: Node<'a>) -> BTreeMap<String, Price> {
        let Some(members) = node.members() else {
            self.mistake(node, "", "pricing", format!("must be an object of models, and is {}", node.kind()));
            return BTreeMap::new();
        };
        let mut prices = BTreeMap::new();
        for member in members.into_iter().filter(|m| !is_comment(&m.key)) {
            let whose = format!("pricing of '{}'", printable(&member.key));
            let mut price = PriceConfig::default();
            let mistakes_before = self.found.len();
            self.fill(member.value, &whose, &PRICE.iter().collect::<Vec<_>>(), &mut price);
            match (price.input, price.output) {
                (Some(input), Some(output)) => {
                    let usual = Price::of_input_and_output(input, output);
                    let cache_write = price.cache_write.unwrap_or(usual.cache_write);
                    let cache_read = price.cache_read.unwrap_or(usual.cache_read);
                    prices.insert(member.key.into_owned(), Price { cache_write, cache_read, ..usual });
                }
                _ if self.found.len() > mistakes_before => {}
                _ => self.mistake(member.value, &whose, "", "needs an 'input' and an 'output'".into()),
            }
        }
        prices
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
        let mut first_of_name: HashMap<String, usize> = HashMap::new();
        let mut instances = Vec::with_capacity(elements.len());
        let mut places = Places::new(self.document);
        for (i, element) in elements.into_iter().enumerate() {
            let instance = self.instance(i, element, defaults, &mut places);
            if let Some(name) = &instance.name {
                if let Some(first) = first_of_name.get(name) {
                    let what = format!("is the name of instances[{first}] too: names must be unique");
                    self.mistake(element, &label(i, Some(name)), "name", what);
                } else {
                    first_of_name.insert(name.clone(), i);
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
        places: &mut Places,
    ) -> InstanceConfig {
        let place = places.of(self.document.offset(node));
        let mut instance = InstanceConfig { place: Some(place), ..defaults.clone() };
        if node.kind() != Kind::Object {
            self.mistake(node, &label(index, None), "", format!("must be an object, and is {}", node.kind()));
            return instance;
        }
        // The name comes first, wherever it stands: every other mistake is told with it.
        let name = node.members().and_then(|m| m.into_iter().find(|m| m.key == "name")?.value.string());
        let label = label(index, name.as_deref());
        let found_before = self.found.len();
        self.fill(node, &label, &INSTANCE.iter().collect::<Vec<_>>(), &mut instance);
        for (name, value) in &defaults.env {
            instance.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let given = |text: &Option<String>| text.as_deref().is_some_and(|t| !t.trim().is_empty());
        let of_command = |found: &Found| found.field == "command" || found.field == "prompt";
        if !given(&instance.command) && !given(&instance.prompt) {
            // A command of the wrong type has been told already.
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

    /// Reads the members of an object by a table into `into`, and tells what does not fit.
    fn fill<T>(&mut self, node: Node<'a>, whose: &str, table: &[&Field<T>], into: &mut T) {
        let names: Vec<&str> = table.iter().map(|f| f.name).collect();
        let Some(members) = self.members(node, whose, whose, &names) else {
            return;
        };
        for (field, value) in table.iter().zip(members) {
            if let Some(value) = value
                && let Err(what) = (field.read)(into, value)
            {
                self.mistake(value, whose, field.name, what);
            }
        }
    }

    /// The members of an object that are known, in the order of `known`, null ones left out. What is unknown or there
    /// twice is told.
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
                self.mistake(member.value, whose, &printable(&member.key), what);
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
        self.found.push(Found { offset, instance: instance.into(), field: field.into(), what });
    }
}

/// The places of ever larger offsets, each counted on from the one before: a config of many instances is gone through
/// once, also when all of it is one line.
struct Places<'a> {
    document: Document<'a>,
    last: (usize, Place),
}

impl<'a> Places<'a> {
    fn new(document: Document<'a>) -> Self {
        Places { document, last: (0, Place { line: 1, column: 1 }) }
    }

    fn of(&mut self, offset: usize) -> Place {
        self.last = (offset, self.document.place_after(self.last.0, self.last.1, offset));
        self.last.1
    }
}

/// What to say of a field that is not known where it stands: the name that was meant, or the section.
fn unknown(key: &str, known: &[&'static str]) -> String {
    let is_of_budget = BUDGET.iter().any(|field| field.name == key);
    let is_of_instance = INSTANCE.iter().any(|field| field.name == key);
    match nearest(key, known.iter().copied()) {
        _ if is_of_budget => "does not belong here: it is a field of 'budget'".to_owned(),
        _ if is_of_instance && NOT_IN_DEFAULTS.contains(&key) => {
            "does not belong here: each instance has its own".to_owned()
        }
        _ if is_of_instance => "does not belong here: it is a field of an instance, or of 'defaults'".to_owned(),
        Some(name) => format!("unknown field, did you mean '{name}'?"),
        None => format!("unknown field; known are: {}", known.join(", ")),
    }
}

fn is_comment(key: &str) -> bool {
    key.starts_with("//") || key.starts_with('_') || key.starts_with('$')
}

/// How messages name an instance.
fn label(index: usize, name: Option<&str>) -> String {
    match name {
        Some(name) if !name.is_empty() => format!("instance '{}'", printable(name)),
        _ => format!("instances[{index}]"),
    }
}

fn printable(text: &str) -> String {
    crate::text::cut(&crate::text::clean(text), 60, "...").into_owned()
}

fn string(node: Node) -> Result<String, String> {
    let text = node.string().ok_or_else(|| format!("must be a string, and is {}", node.kind()))?;
    if text.contains('\0') {
        return Err("has a NUL character, which no process can be given".into());
    }
    Ok(text.into_owned())
}

fn filled(node: Node) -> Result<String, String> {
    let text = string(node)?;
    if text.trim().is_empty() { Err("is empty".into()) } else { Ok(text) }
}

fn boolean(node: Node) -> Result<bool, String> {
    node.boolean().ok_or_else(|| format!("must be true or false, and is {}", node.kind()))
}

fn strings(node: Node) -> Result<Vec<String>, String> {
    let elements = node.elements().ok_or_else(|| format!("must be an array of strings, and is {}", node.kind()))?;
    let read = |(i, element)| filled(element).map_err(|what| format!("element {} {what}", i + 1));
    all(elements.into_iter().enumerate().map(read))
}

/// All the values, or all that is wrong with them.
fn all<T, C: FromIterator<T>>(read: impl Iterator<Item = Result<T, String>>) -> Result<C, String> {
    const MAX_SHOWN: usize = 5;
    let (mut shown, mut more) = (Vec::new(), 0);
    let values = read.filter_map(|outcome| match outcome {
        Ok(value) => Some(value),
        Err(what) if shown.len() < MAX_SHOWN => {
            shown.push(what);
            None
        }
        Err(_) => {
            more += 1;
            None
        }
    });
    let values = values.collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    if shown.is_empty() { Ok(values) } else { Err(shown.join("; ")) }
}

fn one_of(node: Node, allowed: &[&str]) -> Result<String, String> {
    let text = string(node)?;
    if allowed.contains(&text.as_str()) {
        return Ok(text);
    }
    let typed = printable(&text);
    Err(match nearest(&text, allowed.iter().copied()) {
        Some(name) => format!("'{typed}' is not known, did you mean '{name}'?"),
        None => format!("'{typed}' is not known; known are: {}", allowed.join(", ")),
    })
}

fn named<T: Copy>(node: Node, values: &[(&str, T)]) -> Result<T, String> {
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    let text = one_of(node, &names)?;
    values.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| "is not known".into())
}

/// A number above 0 and at most `max`, which stands for `unit`.
fn positive(node: Node, max: f64, unit: &str) -> Result<f64, String> {
    if node.kind() != Kind::Number {
        return Err(format!("must be a number of {unit}, and is {}", node.kind()));
    }
    // A number that no double holds is above every bound.
    let number = node.number().filter(|&number| number > 0.0 && number <= max);
    number.ok_or_else(|| {
        format!("must be above 0 and at most {} {unit}, and is {}", thousands(max as u64), printable(node.text()))
    })
}

fn seconds(node: Node) -> Result<Duration, String> {
    // Below a millisecond the loop's clock would round it to nothing.
    positive(node, MAX_SECONDS, "seconds").map(|s| Duration::from_secs_f64(s.max(0.001)))
}

fn tokens(node: Node) -> Result<u64, String> {
    let number = positive(node, MAX_TOKENS, "tokens")?;
    if number.fract() != 0.0 {
        return Err(format!("must be a whole number of tokens, and is {}", printable(node.text())));
    }
    Ok(number as u64)
}

/// Dollars, as micro-dollars.
fn dollars(node: Node) -> Result<u64, String> {
    positive(node, MAX_DOLLARS, "dollars").map(|d| ((d * 1e6).round() as u64).max(1))
}

fn per_command(node: Node, read: fn(Node) -> Result<u64, String>) -> Result<BTreeMap<String, u64>, String> {
    let members = node.members().ok_or_else(|| format!("must be an object of commands, and is {}", node.kind()))?;
    let given = members.into_iter().filter(|m| !is_comment(&m.key) && m.value.kind() != Kind::Null);
    let mut seen = HashSet::new();
    all(given.map(|member| {
        let name = member.key.into_owned();
        let told = |what: &str| format!("'{}' {what}", printable(&name));
        if !seen.insert(name.clone()) {
            return Err(told("stands here twice"));
        }
        let limit = read(member.value).map_err(|what| told(&what))?;
        Ok((format!("/{}", name.trim_start_matches('/')), limit))
    }))
}

/// Names of variables are data, so of the comment marks only those count here that no variable can begin with.
fn variables(node: Node) -> Result<BTreeMap<String, Option<String>>, String> {
    let members = node.members().ok_or_else(|| format!("must be an object of strings, and is {}", node.kind()))?;
    let given = members.into_iter().filter(|m| !m.key.starts_with("//") && !m.key.starts_with('$'));
    let mut seen = HashSet::new();
    all(given.map(|member| {
        let name = member.key.into_owned();
        let told = |what: &str| format!("'{}' {what}", printable(&name));
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(told("cannot be the name of a variable"));
        }
        if !seen.insert(name.clone()) {
            return Err(told("stands here twice"));
        }
        let value = match member.value.kind() {
            Kind::Null => None,
            Kind::Number | Kind::Boolean => Some(member.value.text().to_owned()),
            _ => Some(string(member.value).map_err(|what| told(&what))?),
        };
        Ok((name, value))
    }))
}

fn dependencies(node: Node) -> Result<Vec<DependencyConfig>, String> {
    let elements = node.elements().ok_or_else(|| format!("must be an array of names, and is {}", node.kind()))?;
    let mut seen = HashSet::new();
    all(elements.into_iter().enumerate().map(|(i, element)| {
        let dependency = dependency(element).map_err(|what| format!("element {} {what}", i + 1))?;
        match seen.insert(dependency.name.clone()) {
            true => Ok(dependency),
            false => Err(format!("'{}' stands here twice", printable(&dependency.name))),
        }
    }))
}

/// `"name"`, or `{"name": "…", "when": "completed" | "done"}`.
fn dependency(node: Node) -> Result<DependencyConfig, String> {
    let Some(members) = node.members() else {
        return Ok(DependencyConfig { name: filled(node)?, when: When::default() });
    };
    let mut name = None;
    let mut when = When::default();
    for member in members.into_iter().filter(|m| !is_comment(&m.key) && m.value.kind() != Kind::Null) {
        match member.key.as_ref() {
            "name" => name = Some(filled(member.value).map_err(|what| format!("name {what}"))?),
            "when" => {
                let values = [("completed", When::Completed), ("done", When::Done)];
                when = named(member.value, &values).map_err(|what| format!("when {what}"))?;
            }
            other => return Err(format!("has an unknown field '{}'; known are: name, when", printable(other))),
        }
    }
    Ok(DependencyConfig { name: name.ok_or("has no 'name'")?, when })
}

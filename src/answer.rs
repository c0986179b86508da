//! Answers without a run: what slash commands there are, configs to start from, the schema of a config. Joins the pure
//! parts with what claude and the files say; an answer is a text and what is worth a word beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::catalogue::{self, Catalogue};
use crate::claude::command_line;
use crate::claude::{control, listing};
use crate::config;
use crate::edge::ask::{self, Query};
use crate::edge::{command_files, output};
use crate::examples;
use crate::flags::{Options, Question};
use crate::prepare::find_claude;
use crate::prompt_template::prompt_template;
use crate::workspace;

/// claude lists its commands in a second or two, and a machine may be busy.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// For standard error.
    pub notes: Vec<String>,
}

/// Answers a question, on this workspace and this claude where it is about them.
///
/// # Errors
/// Why there is no answer, each a message.
pub fn answer(question: &Question, options: &Options) -> Result<Answer, Vec<String>> {
    let plain = |text: String| Ok(Answer { text, notes: Vec::new() });
    match question {
        Question::Commands => {
            let (catalogue, notes) = catalogue(options)?;
            Ok(Answer { text: catalogue::text::list(&catalogue, output::columns()), notes })
        }
        Question::Command(called) => {
            let (catalogue, notes) = catalogue(options)?;
            match catalogue.find(called) {
                Ok(command) => Ok(Answer { text: catalogue::text::inspection(command, output::columns()), notes }),
                Err(problem) => Err(notes.into_iter().chain([problem]).collect()),
            }
        }
        Question::Examples => plain(examples::list()),
        Question::Example(example) => plain(example.config.to_owned()),
        Question::PromptTemplate => plain(prompt_template()),
        Question::Schema => plain(format!("{:#}\n", config::schema())),
    }
}

/// The workspace's slash commands, and a note where claude could not be asked.
fn catalogue(options: &Options) -> Result<(Catalogue, Vec<String>), Vec<String>> {
    let (workspace, remark) = workspace::of(options.workspace.as_deref());
    let note = remark.map(workspace::Remark::into_text);
    if let Some(problem) = workspace::problem(&workspace) {
        return Err(vec![problem]);
    }
    let listed = find_claude(options).and_then(|claude| {
        let arguments = command_line::arguments_to_ask();
        let (arguments, env, limit) = (&arguments, &BTreeMap::new(), LIST_LIMIT);
        let query = Query { claude: &claude, arguments, cwd: &workspace, env, limit };
        let asked = ask::answer_of(&query, &control::initialize(), listing::answer);
        asked
            .and_then(|listed| listed)
            .map_err(|why| format!("{} does not list its commands: {why}", workspace::shown(&claude)))
    });
    let mut notes: Vec<String> = note.into_iter().collect();
    let listed = listed.map_err(|why| {
        let what_is_left = "this is what the files say; commands of claude itself and of plugins are left out";
        notes.push(format!("{why}: {what_is_left}"));
    });
    Ok((Catalogue::new(listed.ok(), command_files::find(&workspace)), notes))
}

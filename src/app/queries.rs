//! Answers queries without a run: slash commands, example configs, the schema of a config. Each answer is a text for
//! standard output and notes for standard error.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::claude::argv;
use crate::claude::command_catalog::{self, CommandCatalog};
use crate::claude::protocol::{initialize_response, request};
use crate::cli::config_prompt::prompt_template;
use crate::cli::examples;
use crate::cli::flags::{Options, Query};
use crate::config;
use crate::preflight::command_scan;
use crate::preflight::find_claude;
use crate::preflight::query::{self, ProbeCommand};
use crate::preflight::workspace;
use crate::system::output;

/// Time limit of the query for commands. It takes a second or two on an idle machine.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// Answer to a query.
#[derive(Debug, PartialEq, Eq)]
pub struct QueryOutput {
    /// Text for standard output.
    pub text: String,
    /// Messages for standard error.
    pub notes: Vec<String>,
}

/// Answers a query; one about slash commands uses the workspace and the claude of `options`.
///
/// # Errors
///
/// The reasons why there is no answer, each a message.
pub fn answer(question: &Query, options: &Options) -> Result<QueryOutput, Vec<String>> {
    let plain = |text: String| Ok(QueryOutput { text, notes: Vec::new() });
    match question {
        Query::Commands => {
            let (catalogue, notes) = catalogue(options)?;
            Ok(QueryOutput { text: command_catalog::text::list(&catalogue, output::columns()), notes })
        }
        Query::Command(called) => {
            let (catalogue, notes) = catalogue(options)?;
            match catalogue.find(called) {
                Ok(command) => {
                    Ok(QueryOutput { text: command_catalog::text::inspection(command, output::columns()), notes })
                }
                Err(error) => Err(notes.into_iter().chain([error.to_string()]).collect()),
            }
        }
        Query::Examples => plain(examples::list()),
        Query::Example(example) => plain(example.config.to_owned()),
        Query::PromptTemplate => plain(prompt_template()),
        Query::Schema => plain(format!("{:#}\n", config::schema())),
    }
}

/// Returns the slash commands of the workspace, and a note if claude could not list its own.
fn catalogue(options: &Options) -> Result<(CommandCatalog, Vec<String>), Vec<String>> {
    let (workspace, remark) = workspace::resolve(options.workspace.as_deref());
    let note = remark.map(workspace::Remark::into_text);
    if let Some(problem) = workspace::validate(&workspace) {
        return Err(vec![problem]);
    }
    let listed = find_claude(options).and_then(|claude| {
        let arguments = argv::stream_args();
        let (arguments, env, limit) = (&arguments, &BTreeMap::new(), LIST_LIMIT);
        let command = ProbeCommand { claude: &claude, arguments, cwd: &workspace, env, limit };
        let asked = query::query(&command, &request::initialize(), initialize_response);
        asked
            .and_then(|commands| commands.map_err(|error| error.to_string()))
            .map(|commands| commands.listed().to_vec())
            .map_err(|why| format!("{} does not list its commands: {why}", workspace::display_path(&claude)))
    });
    let mut notes: Vec<String> = note.into_iter().collect();
    let listed = listed.map_err(|why| {
        let what_is_left = "this is what the files say; commands of claude itself and of plugins are left out";
        notes.push(format!("{why}: {what_is_left}"));
    });
    Ok((CommandCatalog::new(listed.ok(), command_scan::find(&workspace)), notes))
}

//! Answers queries without a run: slash commands, example configs, the schema of a config. Each answer is a text for
//! standard output and notes for standard error.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::claude::argv;
use crate::claude::command_catalog::{self, CommandCatalog};
use crate::claude::protocol::{initialize_response, request};
use crate::claude::slash_commands::ListedCommand;
use crate::cli::config_prompt::prompt_template;
use crate::cli::examples;
use crate::cli::flags::{Options, Query};
use crate::config;
use crate::preflight::claude_program::{ClaudeError, find_claude};
use crate::preflight::command_files::{self, Excess, Scan};
use crate::preflight::query::{self, ProbeCommand, QueryError};
use crate::preflight::workspace;
use crate::system::output;

/// Time limit of the query for commands. It takes a second or two on an idle machine.
const LIST_LIMIT: Duration = Duration::from_secs(30);

/// Maximum number of notes about files beyond a bound.
const MAX_NOTES: usize = 10;

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
pub fn answer(query: &Query, options: &Options) -> Result<QueryOutput, Vec<String>> {
    let text = match query {
        Query::Commands => {
            let (catalog, notes) = catalog(options)?;
            return Ok(QueryOutput { text: command_catalog::text::list(&catalog, output::columns()), notes });
        }
        Query::Command(name) => {
            let (catalog, mut notes) = catalog(options)?;
            return match catalog.find(name) {
                Ok(command) => {
                    Ok(QueryOutput { text: command_catalog::text::inspection(command, output::columns()), notes })
                }
                Err(error) => {
                    notes.push(error.to_string());
                    Err(notes)
                }
            };
        }
        Query::Examples => examples::list(),
        Query::Example(example) => example.config.to_owned(),
        Query::PromptTemplate => prompt_template(),
        Query::Schema => format!("{:#}\n", config::schema()),
    };
    Ok(QueryOutput { text, notes: Vec::new() })
}

/// Returns the slash commands of the workspace, and a note if claude could not list its own.
fn catalog(options: &Options) -> Result<(CommandCatalog, Vec<String>), Vec<String>> {
    let (workspace, remark) = workspace::resolve(options.workspace.as_deref());
    if let Some(error) = workspace::validate(&workspace) {
        return Err(vec![error.to_string()]);
    }
    let mut notes: Vec<String> = remark.iter().map(ToString::to_string).collect();
    let listed = match list_commands(options, &workspace) {
        Ok(listed) => Some(listed),
        Err(error) => {
            notes.push(format!(
                "{error}: the list is from files only, without the commands of claude itself and of plugins"
            ));
            None
        }
    };
    let Scan { files, excesses } = command_files::find(&workspace);
    for Excess { path, bound } in excesses.into_iter().take(MAX_NOTES) {
        notes.push(format!("{} {bound}", workspace::display_path(&path)));
    }
    Ok((CommandCatalog::new(listed, files), notes))
}

/// Reason why claude did not list its commands.
enum ListError {
    Claude(ClaudeError),
    Query { claude: PathBuf, error: QueryError },
}

impl Display for ListError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            ListError::Claude(error) => write!(f, "{error}"),
            ListError::Query { claude, error } => {
                write!(f, "{} did not list its commands: {error}", workspace::display_path(claude))
            }
        }
    }
}

fn list_commands(options: &Options, workspace: &Path) -> Result<Vec<ListedCommand>, ListError> {
    let claude = find_claude(options).map_err(ListError::Claude)?;
    let (arguments, env) = (argv::stream_args(), BTreeMap::new());
    let command = ProbeCommand { claude: &claude, arguments: &arguments, cwd: workspace, env: &env, limit: LIST_LIMIT };
    let error = match query::query(&command, &request::initialize(), initialize_response) {
        Ok(Ok(commands)) => return Ok(commands.listed().to_vec()),
        Ok(Err(error)) => QueryError::Rejected(error.to_string()),
        Err(error) => error,
    };
    Err(ListError::Query { claude, error })
}

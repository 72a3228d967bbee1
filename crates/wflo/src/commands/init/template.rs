//! The new project's files.

use super::model::Model;

/// The example database, in the project.
pub(super) const DATABASE: &str = "data/tickets.db";
/// What makes the example database.
pub(super) const TICKETS: &str = include_str!("../../../templates/init/tickets.sql");
/// What explains the project, and what does so where somebody's own is there already.
pub(super) const READMES: [&str; 2] = ["README.md", "WFLO.md"];
/// Made where there is none; somebody's own is as good.
pub(super) const GITIGNORE_NAME: &str = ".gitignore";

const WORKFLOW: &str = include_str!("../../../templates/init/workflow.py");
const SUMMARISE: &str = include_str!("../../../templates/init/summarise.py");
const SETTINGS: &str = include_str!("../../../templates/init/wflo.toml");
const README: &str = include_str!("../../../templates/init/README.md");
const ADD_MODEL: &str = include_str!("../../../templates/init/add_model.md");
const GITIGNORE: &str = include_str!("../../../templates/init/gitignore");

/// The text files, with the project's name and model put in, in the order in which a reader wants them.
pub(super) fn files(
    name: &str,
    model: Option<&Model>,
    readme_name: &'static str,
) -> [(&'static str, String); 4] {
    // A JSON string is a Python string too.
    let summarise = model.map_or(String::new(), |model| {
        SUMMARISE.replace("@MODEL@", &serde_json::Value::from(model.name.as_str()).to_string())
    });
    let workflow = WORKFLOW.replace("@NAME@", name).replace("@SUMMARISE@", &summarise);
    let settings =
        SETTINGS.replace("@NAME@", name).replace("@MODEL@", &model.map_or(String::new(), Model::settings));
    let readme = README
        .replace("@NAME@", name)
        .replace("@COUNT@", if model.is_some() { "three" } else { "two" })
        .replace("@STEPS@", &steps(model))
        .replace("@ADD_MODEL@", if model.is_some() { "" } else { ADD_MODEL });
    [
        ("workflow.py", workflow),
        ("wflo.toml", settings),
        (readme_name, readme),
        (GITIGNORE_NAME, GITIGNORE.to_owned()),
    ]
}

fn steps(model: Option<&Model>) -> String {
    let mut lines = vec!["`read_tickets` reads the open tickets that are older than 90 days".to_owned()];
    if let Some(model) = model {
        lines.push(format!("`summarise` asks the model `{}` for a summary, within the budget", model.name));
    }
    lines.push("`close_old_tickets` closes them: the one write, undone if it fails".to_owned());
    let numbered: Vec<String> =
        lines.iter().enumerate().map(|(index, line)| format!("{}. {line}", index + 1)).collect();
    numbered.join("\n")
}

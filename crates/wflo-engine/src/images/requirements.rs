//! What packages a project asks for: files of requirements, read as untrusted text.
//!
//! A build sees the lines that were read here and no file of the project. Names of files are resolved beneath
//! the project, as a program in a sandbox would find them; what is hidden there is hidden here. A line that is
//! no requirement of an index is refused with its place, instead of being left to the installer: addresses,
//! paths and the options that choose an index are the settings' to say.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use wflo_sandbox::workspace::{Hidden, RelPath, open_in_tree};

use super::error::ImageError;

/// How deep files may name one another.
const DEEPEST: usize = 8;
/// How many files.
const MOST_FILES: usize = 64;
/// How large all of them may be together, in bytes.
const LIMIT: u64 = 1 << 20;

/// The lines that an installer is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    named: Vec<String>,
    lines: Vec<String>,
    constraints: Vec<String>,
}

/// What a line is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Requirement,
    Constraint,
}

impl Requirements {
    /// Reads what the settings name: each entry is a file (it has a `/` in it or ends in `.txt` or `.in`), else a
    /// requirement as a line of such a file has it.
    ///
    /// # Errors
    /// The first line or file that is none.
    pub fn read(project: &Path, entries: &[String], hidden: &Hidden) -> Result<Requirements, ImageError> {
        let mut reader = Reader {
            project,
            hidden,
            seen: BTreeSet::new(),
            left: LIMIT,
            lines: Vec::new(),
            constraints: Vec::new(),
        };
        for entry in entries {
            if is_file(entry) {
                reader.file(Path::new(""), entry, "[sandbox] requirements", Kind::Requirement, 0)?;
            } else {
                reader.line(Path::new(""), entry, "[sandbox] requirements", Kind::Requirement, 0)?;
            }
        }
        let Reader { lines, constraints, .. } = reader;
        if !lines.iter().any(|line| !line.starts_with('-')) {
            let why = "no package is named".to_owned();
            let hint = "name packages, one a line, or leave `requirements` out";
            return Err(ImageError::Requirements { place: "[sandbox] requirements".to_owned(), why, hint });
        }
        Ok(Requirements { named: entries.to_vec(), lines, constraints })
    }

    /// What names them, for people.
    #[must_use]
    pub fn named(&self) -> String {
        match self.named.as_slice() {
            [only] => only.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            [] => String::new(),
        }
    }

    /// The requirements, and the options that are left to them.
    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// What bounds their versions.
    pub(super) fn constraints(&self) -> &[String] {
        &self.constraints
    }
}

fn is_file(entry: &str) -> bool {
    entry.contains('/') || entry.ends_with(".txt") || entry.ends_with(".in")
}

struct Reader<'a> {
    project: &'a Path,
    hidden: &'a Hidden,
    seen: BTreeSet<(PathBuf, bool)>,
    left: u64,
    lines: Vec<String>,
    constraints: Vec<String>,
}

impl Reader<'_> {
    fn file(
        &mut self,
        folder: &Path,
        name: &str,
        place: &str,
        kind: Kind,
        deep: usize,
    ) -> Result<(), ImageError> {
        let wrong = |why: String| {
            let hint = "name a file of the project, such as requirements.txt";
            ImageError::Requirements { place: place.to_owned(), why, hint }
        };
        let path = beneath(&folder.join(name))
            .ok_or_else(|| wrong(format!("`{name}` is no file of the project")))?;
        let shown = path.display().to_string();
        if !self.seen.insert((path.clone(), kind == Kind::Constraint)) {
            return Ok(());
        }
        if deep > DEEPEST || self.seen.len() > MOST_FILES {
            return Err(wrong(format!("`{shown}` is one file too many that another one includes")));
        }
        let within = RelPath::from_bytes(path.as_os_str().as_encoded_bytes())
            .map_err(|_| wrong(format!("`{name}` is no file of the project")))?;
        if self.hidden.by_path(&within).is_some() {
            return Err(wrong(format!("`{shown}` is hidden from sandboxes")));
        }
        let text =
            self.content(&within).map_err(|error| wrong(format!("`{shown}` cannot be read: {error}")))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        for (number, line) in logical(&text) {
            self.line(&folder, &line, &format!("{shown}:{number}"), kind, deep)?;
        }
        Ok(())
    }

    fn content(&mut self, path: &RelPath) -> std::io::Result<String> {
        use std::io::{Error, ErrorKind};
        use std::os::unix::fs::MetadataExt as _;
        let file = open_in_tree(self.project, path)?;
        let about = file.metadata()?;
        if self.hidden.by_inode(about.dev(), about.ino()) {
            return Err(Error::new(ErrorKind::PermissionDenied, "it is hidden from sandboxes"));
        }
        let mut text = String::new();
        file.take(self.left + 1).read_to_string(&mut text)?;
        self.left = self.left.checked_sub(text.len() as u64).ok_or_else(|| {
            Error::new(ErrorKind::FileTooLarge, "all requirements together are larger than 1 MiB")
        })?;
        Ok(text)
    }

    fn line(
        &mut self,
        folder: &Path,
        line: &str,
        place: &str,
        kind: Kind,
        deep: usize,
    ) -> Result<(), ImageError> {
        // What is judged is what the installer is given.
        let line = &*line.split([' ', '\t']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let wrong = |why: String, hint| ImageError::Requirements { place: place.to_owned(), why, hint };
        if line.chars().any(char::is_control) {
            return Err(wrong("a line has a control character".to_owned(), "take it out"));
        }
        if !line.is_ascii() {
            let why = "a line has a character that is no ASCII, which installers read in ways of their own";
            return Err(wrong(why.to_owned(), "take it out"));
        }
        if let Some(file) = option(line, "-r", "--requirement") {
            return self.file(folder, file, place, kind, deep + 1);
        }
        if let Some(file) = option(line, "-c", "--constraint") {
            return self.file(folder, file, place, Kind::Constraint, deep + 1);
        }
        if line.starts_with('-') {
            let word = line.split([' ', '=']).next().unwrap_or_default();
            return match word {
                "--pre" | "--prefer-binary" | "--require-hashes" if line == word => {
                    self.keep(kind, line);
                    Ok(())
                }
                "-i" | "--index-url" | "--extra-index-url" | "--pypi-url" => Err(wrong(
                    format!("`{word}` is not taken from a file of requirements"),
                    "say it in wflo.toml: index_url or extra_index_urls under [sandbox]",
                )),
                "--no-binary" => Err(wrong(
                    "`--no-binary` asks for code that is run while it is installed".to_owned(),
                    "leave it out; source_builds = true under [sandbox] builds what has no wheel",
                )),
                _ => Err(wrong(
                    format!("`{word}` is no option that an environment of steps is made with"),
                    "name packages of an index, one a line",
                )),
            };
        }
        // Whatever begins like that is an option to the installer, wherever it stands.
        if let Some(other) = line.split(' ').find(|word| word.starts_with('-') && !is_hash(word)) {
            return Err(wrong(
                format!("`{}` is no option of a requirement", other.split('=').next().unwrap_or(other)),
                "only --hash may follow a requirement",
            ));
        }
        let (requirement, hashes) = line.split_at(line.find(" --hash=").unwrap_or(line.len()));
        if let Some(other) = hashes.split_whitespace().find(|word| !is_hash(word)) {
            return Err(wrong(
                format!("`{}` is no hash", shortened(other)),
                "leave nothing after the hashes",
            ));
        }
        if !is_requirement(requirement) {
            return Err(wrong(
                format!("`{}` is no package of an index", shortened(requirement)),
                "name packages as `name`, `name==1.2` or `name[extra]>=1`; paths, addresses and repositories are not \
                 installed",
            ));
        }
        self.keep(kind, line);
        Ok(())
    }

    fn keep(&mut self, kind: Kind, line: &str) {
        match kind {
            Kind::Requirement => self.lines.push(line.to_owned()),
            Kind::Constraint => self.constraints.push(line.to_owned()),
        }
    }
}

/// `name`, extras, versions and a marker: nothing that names a place.
fn is_requirement(text: &str) -> bool {
    let (wanted, marker) = text.split_once(';').unwrap_or((text, ""));
    let is_one = |c: char| c.is_ascii_alphanumeric() || " .,-_[]()<>=!~*+".contains(c);
    // A line goes on, or takes a variable's value, by these.
    let is_none = |c: char| "\\$`@#".contains(c);
    wanted.starts_with(|c: char| c.is_ascii_alphanumeric())
        && wanted.chars().all(is_one)
        && !marker.contains(is_none)
}

fn is_hash(word: &str) -> bool {
    let hash = word.strip_prefix("--hash=").and_then(|hash| hash.split_once(':'));
    hash.is_some_and(|(kind, hex)| {
        matches!(kind, "sha256" | "sha384" | "sha512") && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The value of `-r FILE`, `-rFILE`, `--requirement FILE` or `--requirement=FILE`.
fn option<'a>(line: &'a str, short: &str, long: &str) -> Option<&'a str> {
    let long = line.strip_prefix(long).filter(|rest| rest.starts_with([' ', '\t', '=']));
    let short = || line.strip_prefix(short).filter(|rest| !rest.starts_with('-'));
    long.or_else(short).map(|rest| rest.trim_start_matches('=').trim()).filter(|name| !name.is_empty())
}

/// The path without `.` and `..`; `None` when it leads up and out.
fn beneath(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir => plain.pop().then_some(())?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (plain != Path::new("")).then_some(plain)
}

/// Lines as an installer reads them, each with the number of its first: continued ones joined, comments and
/// empty ones left out.
fn logical(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let (number, mut whole) = open.take().unwrap_or((index + 1, String::new()));
        let is_comment = line.trim_start().starts_with('#');
        match line.strip_suffix('\\').filter(|_| !is_comment) {
            Some(part) => {
                whole.push_str(part);
                open = Some((number, whole));
            }
            None => {
                whole.push_str(line);
                lines.push((number, whole));
            }
        }
    }
    lines.extend(open);
    let bare = lines.into_iter().map(|(number, line)| {
        let line =
            if line.trim_start().starts_with('#') { "" } else { line.split(" #").next().unwrap_or("") };
        (number, line.trim().to_owned())
    });
    bare.filter(|(_, line)| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wflo_sandbox::workspace::HideRules;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new(files: &[(&str, &str)]) -> Files {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("p")).unwrap();
            for (name, text) in files {
                std::fs::create_dir_all(folder.path().join("p").join(name).parent().unwrap()).unwrap();
                std::fs::write(folder.path().join("p").join(name), text).unwrap();
            }
            Files(folder)
        }

        fn read(&self, entries: &[&str]) -> Result<Requirements, String> {
            let project = self.0.path().join("p");
            let rules = HideRules::default().with_globs(["private/**".to_owned()]);
            let hidden = Hidden::new(&project, &rules).unwrap();
            let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
            Requirements::read(&project, &entries, &hidden).map_err(|error| error.to_string())
        }
    }

    #[test]
    fn files_and_what_they_include_are_one_list_of_lines() {
        let hash = format!("--hash=sha256:{}", "ab".repeat(32));
        let main = format!(
            "# tools\n-r base/common.txt\n-c bounds.txt\nrequests[socks] >= 2.0 ; python_version > '3.8'  # web\n\
             pinned==1.0 \\\n    {hash}\n--pre\n"
        );
        let files = Files::new(&[
            ("requirements.txt", &main),
            ("base/common.txt", "-r ../requirements.txt\nidna\r\n"),
            ("bounds.txt", "idna<4\n"),
        ]);
        let read = files.read(&["requirements.txt", "rich==13"]).unwrap();
        let web = "requests[socks] >= 2.0 ; python_version > '3.8'".to_owned();
        let pinned = format!("pinned==1.0 {hash}");
        assert_eq!(read.lines(), ["idna".to_owned(), web, pinned, "--pre".to_owned(), "rich==13".to_owned()]);
        assert_eq!(read.constraints(), ["idna<4"]);
        assert_eq!(read.named(), "requirements.txt and 1 more");
    }

    #[test]
    fn what_is_no_package_of_an_index_is_refused_with_its_place() {
        for line in [
            "-e .",
            "./wheels/x.whl",
            "/etc/x",
            "x @ https://evil.example/x.whl",
            "git+https://evil.example/x",
            "https://evil.example/x.whl",
            "--index-url https://evil.example/simple",
            "--extra-index-url=https://evil.example",
            "-f /tmp",
            "--find-links x",
            "--trusted-host evil.example",
            "--no-binary :all:",
            "--only-binary :none:",
            "x --global-option=--evil",
            "x --config-settings=a=b",
            "x --hash=md5:00",
            "-r /etc/passwd",
            "-r ../outside.txt",
            "-r private/x.txt",
            "-r .env",
            "$(x)",
            "x ; python_version > '3'\u{a0}--global-option=--x",
            "x\u{2003}--global-option=y",
            "x ; python_version > '3' -C a=b",
            "x -C a=b",
            "x ; a -e .",
            "x ; a\t--global-option=y",
            "x --hash=sha256:00 ; a",
            "x ; a ${HOME}",
            "x\u{e9}",
            "--pre\u{a0}-i https://evil.example",
        ] {
            let files = Files::new(&[
                ("requirements.txt", &format!("idna\n\n{line}\n")),
                ("private/x.txt", "idna\n"),
                (".env", "idna\n"),
            ]);
            std::fs::write(files.0.path().join("outside.txt"), "idna\n").unwrap();
            let said = files.read(&["requirements.txt"]).unwrap_err();
            assert!(said.starts_with("requirements.txt:3: "), "{line}: {said}");
        }
        assert!(Files::new(&[]).read(&["../outside.txt"]).unwrap_err().contains("no file of the project"));
        assert!(Files::new(&[("a.txt", "# nothing\n")]).read(&["a.txt"]).unwrap_err().contains("no package"));
    }

    #[test]
    fn a_link_leads_nobody_out_and_there_is_an_end_to_everything() {
        let files = Files::new(&[("big.txt", &"idna\n".repeat(300_000))]);
        let project = files.0.path().join("p");
        std::fs::write(files.0.path().join("secret.txt"), "idna\n").unwrap();
        std::os::unix::fs::symlink("../secret.txt", project.join("link.txt")).unwrap();
        std::os::unix::fs::symlink("..", project.join("up")).unwrap();
        assert!(files.read(&["link.txt"]).is_err());
        assert!(files.read(&["up/secret.txt"]).is_err());
        assert!(files.read(&["big.txt"]).unwrap_err().contains("1 MiB"));
        for number in 0..20 {
            std::fs::write(project.join(format!("{number}.txt")), format!("-r {}.txt\nx\n", number + 1))
                .unwrap();
        }
        assert!(files.read(&["0.txt"]).unwrap_err().contains("too many"));
    }
}

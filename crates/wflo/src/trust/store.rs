//! Whose a store is that lies in the project: this user's, made on this machine, or one that the project brought along.
//!
//! Runs, budgets, approvals and answers in a store that somebody else filled are somebody else's word. A store that is
//! made here gets a mark beside it, a random id, and a record in the user's state folder: the store's path, the id, and
//! the number of the file. What has not all three is asked about before it is opened. So is a copy, and one that was
//! moved: a file that a `git pull` puts into the place of this machine's own must not pass for it. Nor must a log that it
//! puts beside it, which SQLite would take for the store's.
//!
//! Only what lies in the project is judged: a store elsewhere is one that the operator named, or that `wflo.toml` was
//! trusted with.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};
use wflo_core::error::Failure;
use wflo_core::ports::clock::Clock;
use wflo_engine::clock::SystemClock;
use wflo_sandbox::workspace::{Digest, state_root};

use super::own::{self, Unkept};
use super::{Asked, NOT_TRUSTED, VARIABLE};
use crate::commands::{Context, Terminal};
use crate::failure::CommandError;
use crate::plain;
use crate::settings::Settings;

/// What the mark's name adds to the store's (`workspace/hidden/beside.rs` hides it).
const MARK: &str = "-owner";
/// The most of a mark that is read, in bytes.
const LONGEST: u64 = 64;
/// What a store that is not this machine's does.
const DOES: &str = "its runs, budgets and approvals count, and it was not made here";

/// What the user's state folder says of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    store: PathBuf,
    /// Empty for one that was used without being this machine's.
    id: String,
    /// The number of its file; none while it is being made, or taken over.
    inode: Option<u64>,
}

/// Where a store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// There is none yet.
    New,
    /// It is being made, or was just accepted.
    Begun,
    /// Made by this user, here.
    Own,
    /// By an earlier wflo of this user, which made no marks: it has said which store it works with.
    Earlier,
    /// Somebody else's, as far as anybody knows.
    Brought,
}

/// A store in a project.
#[derive(Debug)]
struct Place {
    store: PathBuf,
    /// The user's record of it.
    record: PathBuf,
    /// What an earlier wflo has said of it.
    claim: PathBuf,
}

/// A store that is about to be opened.
#[must_use = "what becomes of it is to be told"]
pub(crate) struct Opening(Option<(Place, Standing)>);

/// Asks whoever sits at the terminal about a store that was not made here, before it is opened.
///
/// # Errors
/// `WFLO-8016` when nobody is there or the answer is not yes; when the record cannot be kept.
pub(crate) fn settle(
    context: &Context<'_>,
    settings: &Settings,
    stdin_taken: bool,
) -> Result<Opening, CommandError> {
    let Some(place) = Place::of(settings) else { return Ok(Opening(None)) };
    let standing = place.standing();
    match standing {
        Standing::Own => return Ok(Opening(None)),
        Standing::New | Standing::Begun | Standing::Earlier => {}
        Standing::Brought if context.environment.get(VARIABLE) == Some("1") => {
            // For this command, and no later one.
            place.disown();
            return Ok(Opening(None));
        }
        Standing::Brought => ask(context, &place, stdin_taken)?,
    }
    place.begin().map_err(CommandError::from)?;
    Ok(Opening(Some((place, standing))))
}

/// Asks now about a store that another process of this command will open, where nobody can be asked.
///
/// # Errors
/// As for [`settle`].
pub(crate) fn settle_ahead(
    context: &Context<'_>,
    settings: &Settings,
    stdin_taken: bool,
) -> Result<(), CommandError> {
    let Some(place) = Place::of(settings) else { return Ok(()) };
    if place.standing() != Standing::Brought || context.environment.get(VARIABLE) == Some("1") {
        return Ok(());
    }
    ask(context, &place, stdin_taken)?;
    place.begin().map_err(CommandError::from)
}

/// The store as something to be trusted, where it is not this machine's.
pub(crate) fn brought(settings: &Settings) -> Option<Asked> {
    let place = Place::of(settings).filter(|place| place.standing() == Standing::Brought)?;
    Some(Asked::new("storage", place.store.display().to_string(), DOES))
}

/// Takes a store that was brought along for this machine's own.
///
/// # Errors
/// When the record cannot be kept.
pub(crate) fn take(settings: &Settings) -> Result<(), CommandError> {
    let Some(place) = Place::of(settings) else { return Ok(()) };
    if place.standing() == Standing::Brought {
        place.begin().and_then(|()| place.finish())?;
    }
    Ok(())
}

impl Opening {
    /// The store is open: from now on it is known by its file.
    ///
    /// # Errors
    /// When the record cannot be kept.
    pub(crate) fn opened(self) -> Result<(), CommandError> {
        match self.0 {
            Some((place, _)) => place.finish().map_err(CommandError::from),
            None => Ok(()),
        }
    }

    /// It could not be opened: what was said of it is said again next time.
    pub(crate) fn failed(self) {
        match self.0 {
            Some((place, Standing::Brought)) => place.disown(),
            Some((place, _)) => place.forget(),
            None => {}
        }
    }
}

fn ask(context: &Context<'_>, place: &Place, stdin_taken: bool) -> Result<(), CommandError> {
    let shown = plain::line(&place.store.display().to_string());
    let terminal = if context.printer.json_wanted() { None } else { Terminal::find(stdin_taken) };
    let Some(mut terminal) = terminal else {
        let message = format!("{shown} is not trusted: it was not made by you on this machine");
        let hint = "accept its runs, budgets and approvals with `wflo trust`, or move it away to start afresh; \
                    WFLO_TRUST=1 accepts them for one command";
        return Err(CommandError::usage(vec![Failure::new(NOT_TRUSTED, message).with_hint(hint)]));
    };
    let printer = context.printer;
    printer.aside(format_args!("{shown} was not made by you on this machine, or was moved or copied here."));
    printer.aside(
        "Its runs go on as they stand there, what they have spent counts, and so do answers to approvals.",
    );
    let question = printer.beside().strong("Do you trust this store? [y/N]");
    terminal.forget();
    printer.prompt(format_args!("{question} "));
    if terminal.says_yes() {
        printer.aside("");
        return Ok(());
    }
    let failure = Failure::new(NOT_TRUSTED, format!("nothing was done: {shown} is not trusted"))
        .with_hint("move it away to start afresh");
    Err(CommandError::usage(vec![failure]))
}

impl Place {
    /// The store of a project, if it lies in it.
    fn of(settings: &Settings) -> Option<Place> {
        Place::at(&settings.project.root, &settings.storage, &settings.data_dir)
    }

    fn at(root: &Path, storage: &Path, data_dir: &Path) -> Option<Place> {
        let storage = std::path::absolute(storage).ok()?;
        let in_folder = || Some(storage.parent()?.canonicalize().ok()?.join(storage.file_name()?));
        let store = storage.canonicalize().ok().or_else(in_folder).unwrap_or_else(|| storage.clone());
        if !store.starts_with(root) {
            return None;
        }
        let own = Digest::of(store.as_os_str().as_bytes()).to_string();
        let record = own::beside(root, "stores").with_file_name(format!("{own}.json"));
        // As `workspace::Store::claim_for` has it.
        let claim = Digest::of(storage.as_os_str().as_bytes()).to_string();
        let claim = state_root(root, data_dir).join("owners").join(claim);
        Some(Place { store, record, claim })
    }

    fn standing(&self) -> Standing {
        let inode = match self.store.metadata() {
            Ok(about) if about.len() > 0 => about.ino(),
            _ => return Standing::New,
        };
        match self.recorded() {
            Some(Record { inode: None, .. }) => Standing::Begun,
            _ if wflo_store::has_brought_log(&self.store) => Standing::Brought,
            Some(record) if record.inode == Some(inode) && self.marked().as_ref() == Some(&record.id) => {
                Standing::Own
            }
            Some(_) => Standing::Brought,
            None if self.is_claimed() => Standing::Earlier,
            None => Standing::Brought,
        }
    }

    fn recorded(&self) -> Option<Record> {
        own::read(&self.record).ok().flatten().filter(|record: &Record| record.store == self.store)
    }

    fn mark(&self) -> PathBuf {
        let mut name = self.store.clone().into_os_string();
        name.push(MARK);
        PathBuf::from(name)
    }

    /// The id beside the store; only a file of this user's own says one.
    fn marked(&self) -> Option<String> {
        let me = rustix::process::geteuid().as_raw();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(self.mark(), flags, Mode::empty()).ok()?);
        let about = file.metadata().ok().filter(|about| about.is_file() && about.uid() == me)?;
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).ok()?;
        (about.mode() & 0o022 == 0).then(|| text.trim().to_owned()).filter(|id| !id.is_empty())
    }

    /// Whether the user's own state folder says that a wflo has worked with this store before there were marks.
    fn is_claimed(&self) -> bool {
        let me = rustix::process::geteuid().as_raw();
        let own = |path: &Path| {
            path.symlink_metadata().is_ok_and(|about| about.uid() == me && about.mode() & 0o022 == 0)
        };
        own(&self.claim) && self.claim.parent().is_some_and(own)
    }

    /// Says that the store is this machine's, before there is one: nobody else who comes meanwhile takes it for
    /// somebody else's.
    fn begin(&self) -> Result<(), Unkept> {
        self.alone(|| {
            let is_known = self.standing() == Standing::Own
                || self.recorded().is_some_and(|record| record.inode.is_none());
            if is_known { Ok(()) } else { self.write(&self.record_of(None)) }
        })
    }

    /// Marks the store that is there now.
    fn finish(&self) -> Result<(), Unkept> {
        self.alone(|| {
            if self.standing() == Standing::Own {
                return Ok(());
            }
            let begun = self.recorded().filter(|record| record.inode.is_none());
            let id = begun.map_or_else(|| self.record_of(None).id, |record| record.id);
            let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
            let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits();
            let mut mark = options.clone().custom_flags(flags.cast_signed()).open(self.mark())?;
            mark.write_all(id.as_bytes())?;
            let inode = Some(self.store.metadata()?.ino());
            self.write(&Record { store: self.store.clone(), id, inode })
        })
    }

    /// Says that it was used and is not this machine's own: what an earlier wflo said counts no more.
    fn disown(&self) {
        let stranger = Record { store: self.store.clone(), id: String::new(), inode: Some(0) };
        if let Err(error) = self.alone(|| self.write(&stranger)) {
            tracing::debug!(error = %error.source, "that a store is somebody else's is not kept");
        }
    }

    /// Takes back what [`Place::begin`] has said.
    fn forget(&self) {
        let forgotten = self.alone(|| match self.recorded() {
            Some(Record { inode: None, .. }) => std::fs::remove_file(&self.record),
            _ => Ok(()),
        });
        if let Err(error) = forgotten {
            tracing::debug!(error = %error.source, "the record of a store that cannot be opened stays");
        }
    }

    fn record_of(&self, inode: Option<u64>) -> Record {
        let id = SystemClock::default().uuid().simple().to_string();
        Record { store: self.store.clone(), id, inode }
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        own::write(&self.record, record)
    }

    /// One process after another: a store has one id.
    fn alone(&self, work: impl FnOnce() -> io::Result<()>) -> Result<(), Unkept> {
        let locked = || {
            let folder = self.record.parent().ok_or(io::ErrorKind::NotFound)?;
            own::folder_of(&self.record)?;
            let folder = File::open(folder)?;
            rustix::fs::flock(&folder, FlockOperation::LockExclusive)?;
            work()
        };
        locked().map_err(|source| Unkept { path: self.record.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::DirBuilderExt as _;

    use super::*;

    struct Here {
        folder: tempfile::TempDir,
    }

    impl Here {
        fn new() -> Here {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(folder.path().join("project/.wflo")).unwrap();
            Here { folder }
        }

        /// With the user's state folder in this one.
        fn place(&self) -> Place {
            let root = self.folder.path().canonicalize().unwrap();
            let store = root.join("project/.wflo/wflo.db");
            let place = Place::at(&root.join("project"), &store, &root.join("project/.wflo")).unwrap();
            let state = root.join("state");
            Place { record: state.join("stores/x.json"), claim: state.join("owners/x"), ..place }
        }

        fn fill(&self) -> Place {
            let place = self.place();
            std::fs::write(&place.store, "a store").unwrap();
            place
        }

        fn made() -> (Here, Place) {
            let here = Here::new();
            let place = here.place();
            assert_eq!(place.standing(), Standing::New);
            place.begin().unwrap();
            let place = here.fill();
            assert_eq!(place.standing(), Standing::Begun, "nobody who comes now is asked");
            place.finish().unwrap();
            assert_eq!(place.standing(), Standing::Own);
            (here, place)
        }
    }

    /// What an earlier wflo says when it drives runs.
    fn claim(place: &Place) {
        let folder = place.claim.parent().unwrap();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).unwrap();
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
        options.open(&place.claim).unwrap();
    }

    #[test]
    fn a_store_that_was_made_here_is_this_machines_own() {
        let (_here, place) = Here::made();
        let id = place.marked().unwrap();
        assert_eq!(id.len(), 32);
        for path in [place.mark(), place.record.clone()] {
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600, "{}", path.display());
        }
        place.begin().and_then(|()| place.finish()).unwrap();
        assert_eq!(place.marked(), Some(id), "it has one id");
    }

    #[test]
    fn a_store_that_somebody_brought_is_not() {
        let here = Here::new();
        let place = here.fill();
        assert_eq!(place.standing(), Standing::Brought);
        std::fs::write(place.mark(), "0".repeat(32)).unwrap();
        assert_eq!(place.standing(), Standing::Brought, "whatever mark it brings");
        place.begin().and_then(|()| place.finish()).unwrap();
        assert_eq!(place.standing(), Standing::Own, "once it was accepted");
    }

    #[test]
    fn a_file_in_the_place_of_the_own_one_is_not_either() {
        let (here, place) = Here::made();
        let other = here.folder.path().join("other");
        std::fs::write(&other, "a store").unwrap();
        std::fs::rename(&other, &place.store).unwrap();
        assert_eq!(place.standing(), Standing::Brought, "as `git pull` replaces files");

        let (_here, place) = Here::made();
        std::fs::write(place.mark(), "0".repeat(32)).unwrap();
        assert_eq!(place.standing(), Standing::Brought);
        std::fs::remove_file(place.mark()).unwrap();
        assert_eq!(place.standing(), Standing::Brought);
    }

    #[test]
    fn a_log_in_the_place_of_the_own_one_is_not_either() {
        let (_here, place) = Here::made();
        let mut log = place.store.clone().into_os_string();
        log.push("-wal");
        std::fs::write(&log, [0; 32]).unwrap();
        assert_eq!(place.standing(), Standing::Own, "there is nothing in it");
        std::fs::write(&log, [1; 5_000]).unwrap();
        assert_eq!(place.standing(), Standing::Brought);
        place.begin().unwrap();
        assert_eq!(place.standing(), Standing::Begun, "once it was accepted");
    }

    #[test]
    fn a_record_counts_for_its_path_and_from_its_user_alone() {
        let (_here, place) = Here::made();
        let elsewhere = Here::new();
        let copy = Place { record: place.record.clone(), ..elsewhere.fill() };
        std::fs::copy(place.mark(), copy.mark()).unwrap();
        assert_eq!(copy.standing(), Standing::Brought, "a copy");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&place.record, open).unwrap();
        assert_eq!(place.standing(), Standing::Brought, "others could have written it");
    }

    #[test]
    fn a_store_of_an_earlier_wflo_is_taken_over_once() {
        let here = Here::new();
        let place = here.fill();
        claim(&place);
        assert_eq!(place.standing(), Standing::Earlier);
        place.begin().and_then(|()| place.finish()).unwrap();
        assert_eq!(place.standing(), Standing::Own);
        std::fs::remove_file(place.mark()).unwrap();
        assert_eq!(place.standing(), Standing::Brought, "and not again");
    }

    #[test]
    fn one_that_was_used_for_one_command_is_asked_about_by_the_next() {
        let here = Here::new();
        let place = here.fill();
        place.disown();
        claim(&place);
        assert_eq!(place.standing(), Standing::Brought, "although it was worked with");
        std::fs::write(place.mark(), "").unwrap();
        assert_eq!(place.standing(), Standing::Brought);
    }

    #[test]
    fn a_store_that_could_not_be_opened_is_nobodys_yet() {
        let here = Here::new();
        let place = here.place();
        place.begin().unwrap();
        Opening(Some((here.place(), Standing::New))).failed();
        assert_eq!(here.fill().standing(), Standing::Brought);
        place.begin().unwrap();
        Opening(Some((here.place(), Standing::Brought))).failed();
        assert_eq!(place.standing(), Standing::Brought);
    }

    #[test]
    fn only_what_lies_in_the_project_is_judged() {
        let here = Here::new();
        let root = here.folder.path().canonicalize().unwrap();
        let project = root.join("project");
        assert!(Place::at(&project, &root.join("elsewhere/wflo.db"), &root.join("elsewhere")).is_none());
        assert!(Place::at(&project, &project.join("data/wflo.db"), &project.join(".wflo")).is_some());
        std::fs::create_dir(root.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(root.join("elsewhere"), project.join("data")).unwrap();
        assert!(Place::at(&project, &project.join("data/wflo.db"), &project.join(".wflo")).is_none());
    }
}

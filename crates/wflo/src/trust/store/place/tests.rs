use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};

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
        assert_eq!(place.standing(), Standing::New, "there is nothing in it");
        let place = here.fill();
        assert_eq!(place.standing(), Standing::Own, "nobody who comes now is asked");
        (here, place)
    }

    /// As `git pull` puts another file into the store's place.
    fn replace(&self, place: &Place) {
        let other = self.folder.path().join("other");
        std::fs::write(&other, "another store").unwrap();
        std::fs::rename(&other, &place.store).unwrap();
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
    place.claim().unwrap();
    assert_eq!(place.marked(), Some(id), "it has one id");
}

#[test]
fn a_store_that_somebody_brought_is_not() {
    let here = Here::new();
    let place = here.fill();
    assert_eq!(place.standing(), Standing::Brought);
    std::fs::write(place.mark(), "0".repeat(32)).unwrap();
    assert_eq!(place.standing(), Standing::Brought, "whatever mark it brings");
    place.accept().unwrap();
    assert_eq!(place.standing(), Standing::Own, "once it was accepted");
}

#[test]
fn a_file_in_the_place_of_the_own_one_is_not_either() {
    let (here, place) = Here::made();
    here.replace(&place);
    assert_eq!(place.standing(), Standing::Brought, "as `git pull` replaces files");

    let (_here, place) = Here::made();
    let record = place.recorded().unwrap();
    if let Some(born) = record.born {
        let earlier = Record { born: Some(born - 1), ..record };
        own::write(&place.record, &earlier).unwrap();
        assert_eq!(place.standing(), Standing::Brought, "another file with the same number");
    }

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
    place.accept().unwrap();
    assert_eq!(place.standing(), Standing::Own, "once it was accepted");
}

#[test]
fn a_record_counts_for_its_path_and_from_its_user_alone() {
    let (_here, place) = Here::made();
    let elsewhere = Here::new();
    let copy = Place { record: place.record.clone(), ..elsewhere.fill() };
    std::fs::copy(place.mark(), copy.mark()).unwrap();
    assert_eq!(copy.standing(), Standing::Brought, "a copy");
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&place.record, open).unwrap();
    assert_eq!(place.standing(), Standing::Brought, "others could have written it");
}

#[test]
fn a_store_of_an_earlier_wflo_is_taken_over_once() {
    let here = Here::new();
    let place = here.fill();
    claim(&place);
    assert_eq!(place.standing(), Standing::Earlier);
    place.claim().unwrap();
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
fn a_command_that_was_killed_leaves_no_trust_for_what_comes_next() {
    let here = Here::new();
    let place = here.place();
    place.begin().unwrap();
    here.replace(&place);
    assert_eq!(place.standing(), Standing::Brought);
    // As an earlier wflo left it.
    let begun = Record { store: place.store.clone(), id: "x".to_owned(), inode: None, born: None };
    own::write(&place.record, &begun).unwrap();
    assert_eq!(place.standing(), Standing::Brought);
}

#[test]
fn a_mark_that_cannot_be_written_is_named_and_leaves_no_trust() {
    let here = Here::new();
    let place = here.place();
    std::fs::create_dir(place.mark()).unwrap();
    let failed = place.begin().unwrap_err();
    let message = &failed.failures[0].message;
    assert!(message.starts_with(&place.mark().display().to_string()), "{message}");
    assert_eq!(place.recorded(), None);
    assert_eq!(here.fill().standing(), Standing::Brought);
}

#[test]
fn an_accepted_store_that_cannot_be_opened_is_asked_about_again() {
    let here = Here::new();
    let place = here.fill();
    place.accept().unwrap();
    super::super::Opening(Some(here.place())).failed();
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

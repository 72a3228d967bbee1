//! A tree of programs that is seen beneath the toolchain: what the host has at a path stays what it is.
//!
//! The tree is laid out as a root. Its `usr` (and `bin`, `lib`, … where the host has folders of these names)
//! and its `etc` are merged with the host's by overlays in which the host's are on top, so that it adds files
//! and replaces none, and no whiteout in it hides anything. What else programs bring, `opt` and `var/lib`, is
//! shown beside them.

use super::super::plan::{Beneath, Plan};
use super::super::sys::mount::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use super::super::sys::{At, Fault};
use super::super::template::Template;
use super::overlay::own_marks;
use super::{Ground, STAGE, make_folder};
use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The template's `/etc` in the launcher's root.
const ETC: &str = "/tpl/etc";
/// Folders of which each entry is shown by itself: the host's are in no sandbox.
const BESIDE: [&str; 2] = ["opt", "var/lib"];
/// The most of those: each is a mount.
const MOST: usize = 64;
/// Folders of `/etc` that say whom to trust: the host's alone, if it has any.
const TRUST: [&str; 2] = ["ssl", "pki"];

/// Lays `tree` beneath the toolchain of the root that is being built.
///
/// # Errors
/// The step that failed; that a new file belongs into a folder of the host in which a file system is mounted.
pub(super) fn lay(template: &Template, plan: &Plan, ground: &Ground, tree: &Beneath) -> Result<(), Fault> {
    let place = Path::new(STAGE).join("beneath");
    make_folder(&place)?;
    let at = super::super::template::open(&place).step("showing packages")?;
    mount::attach(tree.mount.as_fd(), at.as_fd()).step("showing packages")?;
    let layer = Layer { plan, ground, place, apart: &tree.apart };
    for (name, own) in &template.folders {
        layer.folder(Path::new(name), Path::new(std::ffi::OsStr::from_bytes(own.to_bytes())))?;
    }
    layer.etc()?;
    BESIDE.iter().try_for_each(|folder| layer.beside(Path::new(folder)))
}

struct Layer<'a> {
    plan: &'a Plan,
    ground: &'a Ground,
    /// Where the tree is.
    place: PathBuf,
    /// Where file systems are mounted in the template.
    apart: &'a [PathBuf],
}

impl Layer<'_> {
    /// Merges the tree's folder `name` with the host's, which is at `own`. An overlay shows nothing that is mounted in
    /// a lower layer, so each of its folders is merged where something is.
    fn folder(&self, name: &Path, own: &Path) -> Result<(), Fault> {
        let step = "showing packages";
        let Some(added) = self.added(name) else { return Ok(()) };
        if !self.is_parted(own) {
            return self.merge(name, own, 0);
        }
        let named = || name.display().to_string();
        for entry in std::fs::read_dir(&added).at(step, named)? {
            let entry = entry.at(step, named)?.file_name();
            let (own, name) = (own.join(&entry), name.join(&entry));
            match std::fs::symlink_metadata(&own) {
                Ok(found) if found.is_dir() => self.folder(&name, &own)?,
                Ok(_) => {}
                Err(error) => {
                    let step = "showing packages in a folder in which another file system is mounted";
                    return Err(error).at(step, || name.display().to_string());
                }
            }
        }
        Ok(())
    }

    /// A folder of the tree. A link, wherever on its way, would be followed here, in the launcher's own root.
    fn added(&self, name: &Path) -> Option<PathBuf> {
        let mut place = self.place.clone();
        for part in name {
            place.push(part);
            if !is_folder(&place) {
                return None;
            }
        }
        Some(place)
    }

    fn is_parted(&self, own: &Path) -> bool {
        self.apart.iter().any(|apart| apart != own && apart.starts_with(own))
    }

    /// The made-up `/etc` stays on top; the folders of the host that are shown in it are laid on it again.
    fn etc(&self) -> Result<(), Fault> {
        if self.added(Path::new("etc")).is_none() {
            return Ok(());
        }
        self.merge(Path::new("etc"), Path::new(ETC), NOEXEC)?;
        for own in self.apart.iter().filter(|apart| apart.parent() == Some(Path::new(ETC))) {
            let name = Path::new("etc").join(own.file_name().unwrap_or_default());
            let is_trust = TRUST.iter().any(|trust| name.ends_with(trust));
            if self.added(&name).is_some() && !is_trust && !self.is_parted(own) {
                self.merge(&name, own, NOEXEC)?;
            } else {
                let detail = || name.display().to_string();
                let source = mount::c_path(own).at("showing /etc", detail)?;
                let copy = mount::copy_tree(rustix::fs::CWD, &source, true).at("showing /etc", detail)?;
                self.ground.attach(&copy, &Path::new("/").join(&name), true)?;
            }
        }
        Ok(())
    }

    fn merge(&self, name: &Path, own: &Path, more: u64) -> Result<(), Fault> {
        self.lay([own, &self.place.join(name)], name, more)
    }

    /// Each by an overlay: through a bind, locks would be shared among sandboxes, and its place on the host be said.
    fn beside(&self, folder: &Path) -> Result<(), Fault> {
        let step = "showing packages";
        let named = || folder.display().to_string();
        let Some(place) = self.added(folder) else { return Ok(()) };
        let mut shown = 0;
        for entry in std::fs::read_dir(&place).at(step, named)? {
            let entry = entry.at(step, named)?;
            if !is_folder(&entry.path()) {
                continue;
            }
            shown += 1;
            if shown > MOST {
                return Err(Fault::new(
                    "showing packages that bring more than 64 folders",
                    libc::E2BIG,
                    named(),
                ));
            }
            self.lay([&entry.path(), Path::new("/tpl/void")], &folder.join(entry.file_name()), 0)?;
        }
        Ok(())
    }

    /// Shows folders of the launcher's root as one, the topmost first.
    fn lay(&self, lowers: [&Path; 2], name: &Path, more: u64) -> Result<(), Fault> {
        let lowers = CString::new(lowers.map(lower).join(&b':')).unwrap_or_default();
        let mut options: Vec<(&CStr, &CStr)> =
            vec![(c"lowerdir", &lowers), (c"source", c"packages"), (c"xino", c"off")];
        options.extend(own_marks(self.plan));
        let view = mount::new_fs(c"overlay", &options, RDONLY | NOSUID | NODEV | more)
            .at("showing packages", || name.display().to_string())?;
        self.ground.attach(&view, &Path::new("/").join(name), true)
    }
}

/// A folder, and no link to one.
fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// A path as an overlay's option has it.
fn lower(path: &Path) -> Vec<u8> {
    let escaped = |byte: &u8| if matches!(byte, b':' | b'\\') { vec![b'\\', *byte] } else { vec![*byte] };
    path.as_os_str().as_bytes().iter().flat_map(escaped).collect()
}

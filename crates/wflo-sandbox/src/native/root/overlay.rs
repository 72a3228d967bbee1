//! Layers shown as one folder, by the kernel's overlays.

use super::super::plan::Plan;
use super::super::sys::mount::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use super::super::sys::{At, Fault};
use super::super::template;
use super::{Ground, make_folder};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A folder of the launcher's own that nothing is ever in.
const VOID: &CStr = c"/tpl/void";

const SHOWING: &str = "showing a folder";

/// Attaches a folder of what [`Overlay::beside`] has mounted.
pub(super) fn show_part(ground: &Ground, view: &OwnedFd, name: &Path, target: &Path) -> Result<(), Fault> {
    let named = || target.display().to_string();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let folder = rustix::fs::openat2(view, name, flags, Mode::empty(), resolve).at(SHOWING, named)?;
    let copy = mount::copy_tree(folder.as_fd(), c"", false).at(SHOWING, named)?;
    ground.attach(&copy, target, true)
}

/// Layers to be shown as one folder.
pub(super) struct Overlay<'a> {
    /// The topmost first.
    pub(super) lowers: &'a [OwnedFd],
    pub(super) target: &'a Path,
    /// Where each is attached to be named, outside of the root, so that only the merged view can be reached
    /// from inside: the beginning of a path.
    pub(super) stage: &'a Path,
    pub(super) plan: &'a Plan,
}

impl Overlay<'_> {
    /// Attaches the layers; their places.
    fn place(&self, step: &'static str) -> Result<Vec<CString>, Fault> {
        let place = |(index, lower): (usize, &OwnedFd)| {
            let mut place = self.stage.as_os_str().to_owned();
            place.push(index.to_string());
            let place = Path::new(&place);
            make_folder(place)?;
            let at = template::open(place).step(step)?;
            mount::attach(lower.as_fd(), at.as_fd()).at(step, || self.named())?;
            mount::c_path(place).step(step)
        };
        self.lowers.iter().enumerate().map(place).collect()
    }

    fn named(&self) -> String {
        self.target.display().to_string()
    }

    /// Shows a folder to be read.
    pub(super) fn read_only(&self, ground: &Ground) -> Result<(), Fault> {
        ground.attach(&self.without_upper()?, self.target, true)
    }

    /// Mounts a folder outside of the root, from where parts of it can be attached inside.
    pub(super) fn beside(&self) -> Result<OwnedFd, Fault> {
        let made = self.without_upper()?;
        let mut place = self.stage.as_os_str().to_owned();
        place.push("view");
        make_folder(Path::new(&place))?;
        let at = template::open(Path::new(&place)).step(SHOWING)?;
        mount::attach(made.as_fd(), at.as_fd()).at(SHOWING, || self.named())?;
        Ok(made)
    }

    /// An overlay without an upper layer, which needs two lower ones.
    fn without_upper(&self) -> Result<OwnedFd, Fault> {
        let mut places = self.place(SHOWING)?;
        if places.len() == 1 {
            places.push(VOID.to_owned());
        }
        let lowers = joined(&places);
        let mut options: Vec<(&CStr, &CStr)> =
            vec![(c"lowerdir", &lowers), (c"source", c"folder"), (c"xino", c"off")];
        options.extend(own_marks(self.plan));
        mount::new_fs(c"overlay", &options, RDONLY | NOSUID | NODEV).at(SHOWING, || self.named())
    }

    /// Mounts the copy-on-write view: its upper layer and itself.
    pub(super) fn workspace(
        &self,
        ground: &Ground,
        scratch: &OwnedFd,
        inert: bool,
    ) -> Result<(OwnedFd, OwnedFd), Fault> {
        let step = "mounting the workspace";
        let mut places = self.place(step)?;
        if places.is_empty() {
            places.push(VOID.to_owned());
        }
        // One option holds 255 bytes; more layers than fit are added one by one (Linux 6.8).
        let lowers = joined(&places);
        let layers: Vec<(&CStr, &CStr)> = if lowers.count_bytes() < 256 {
            vec![(c"lowerdir", &lowers)]
        } else {
            places.iter().map(|place| (c"lowerdir+", place.as_c_str())).collect()
        };
        let mut options = layers;
        options.extend([
            (c"source", c"workspace"),
            (c"upperdir", c"/stage/scratch/upper"),
            (c"workdir", c"/stage/scratch/index"),
            (c"index", c"off"),
            (c"xino", c"off"),
        ]);
        options.extend(own_marks(self.plan));
        let inert = if inert { NOEXEC } else { 0 };
        let made = mount::new_fs(c"overlay", &options, NOSUID | NODEV | inert).step(step)?;
        ground.attach(&made, self.target, true)?;
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let upper = rustix::fs::openat(scratch, "upper", folder, Mode::empty()).step(step)?;
        let merged = rustix::fs::openat(&made, ".", folder, Mode::empty()).step(step)?;
        Ok((upper, merged))
    }
}

/// A layer's own marks never lead to another path.
pub(super) fn own_marks(plan: &Plan) -> &'static [(&'static CStr, &'static CStr)] {
    if plan.privileged {
        &[(c"metacopy", c"off"), (c"redirect_dir", c"nofollow")]
    } else {
        // Marks that a user may set; it implies the two above, and refuses to be told.
        &[(c"userxattr", c"")]
    }
}

fn joined(places: &[CString]) -> CString {
    CString::new(places.iter().map(|place| place.to_bytes()).collect::<Vec<_>>().join(&b':'))
        .unwrap_or_default()
}

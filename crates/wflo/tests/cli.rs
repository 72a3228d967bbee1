//! The real binary, as a user meets it: exit code, standard output, standard error.

mod cli {
    mod documents;
    mod errors;
    mod init;
    #[cfg(target_os = "linux")]
    mod sandbox;
    pub mod wflo;
}

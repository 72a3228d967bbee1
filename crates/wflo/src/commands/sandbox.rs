//! `wflo sandbox …`.

pub(crate) mod doctor;

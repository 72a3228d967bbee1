//! `wflo sandbox …`.

mod doctor;
mod exec;

pub(crate) use self::{doctor::run as doctor, doctor::summary, exec::run as exec};

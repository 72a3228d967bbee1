//! `wflo sandbox …`.

mod doctor;
mod exec;

pub(crate) use self::{doctor::run as doctor, doctor::summary, doctor::this_program, exec::run as exec};

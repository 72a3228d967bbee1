//! `wflo sandbox …`.

mod doctor;
mod exec;
mod profile;

pub(crate) use self::{
    doctor::run as doctor, doctor::summary, doctor::this_program, exec::run as exec, profile::run as profile,
};
